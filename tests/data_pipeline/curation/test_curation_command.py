from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from data_pipeline.cli import _ended_by_sigterm_as_by_a_key, main
from data_pipeline.curation import page
from data_pipeline.curation.server import is_loopback
from tests.data_pipeline.curation.desk import PROGRAM, ROOT, Person, built_page, program, row_of, write_rows

if TYPE_CHECKING:
    from pathlib import Path


ANYWHERE = "0.0.0.0"  # noqa: S104 - what it takes is what is tested


@pytest.fixture(autouse=True)
def _page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "STATIC", built_page(tmp_path / "page"))


def test_import_only_ends_with_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_rows(tmp_path / "in.jsonl", [row_of(1), row_of(2), "no json"])
    assert main(["curate", str(tmp_path / "c"), str(source), "--import-only"]) == 0
    shown = capsys.readouterr().out
    assert [line.split() for line in shown.splitlines()[1:]] == [["kept", "2"], ["dropped:", "not_json", "1"]]
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["c"], "bring some in, as in `gtx-data curate c runs/data/ocr`"),
        (["c", "--import-only"], "c holds no texts yet"),
        (["c", "none"], "none is not there"),
        (["c", "good.jsonl", "none"], "none is not there"),
        (["c", "posts.jsonl"], "posts.jsonl holds no text rows"),
        (["good.jsonl", "good.jsonl"], "good.jsonl is a file"),
        ([".", "good.jsonl"], "holds what `curate` did not write"),
        (["c", "good.jsonl", "--images", "none"], "--images: none is no folder"),
        (["c", "good.jsonl", "--host", ANYWHERE], "takes a password"),
        (["c", "good.jsonl", "--host", "example.org"], "takes a password"),
        (["c", "good.jsonl", "--behind-proxy"], "takes a password"),
        (["c", "good.jsonl", "--password-from", "GTX_NOT_SET"], "GTX_NOT_SET is not set"),
        (["c", "good.jsonl", "--password-file", "none"], "none cannot be read"),
        (["c", "good.jsonl", "--password-file", "short"], "at least 8 characters"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    write_rows(work / "good.jsonl", [row_of(1)])
    (work / "posts.jsonl").write_text('{"id": "1"}\n', encoding="utf-8")
    (work / "short").write_text("1234567\n", encoding="utf-8")
    before = sorted(path.name for path in work.iterdir())
    assert main(["curate", *arguments]) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("gtx-data curate: ")
    assert said.out == ""
    assert sorted(path.name for path in work.iterdir()) == before


def test_without_its_page_it_says_how_to_build_it(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page, "STATIC", tmp_path / "none")
    assert main(["curate", str(texts), "--no-open"]) == 1
    assert "run `make frontend`" in capsys.readouterr().err


def test_a_taken_port_is_said_to_be_taken(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        assert main(["curate", str(texts), "--no-open", "--port", str(port)]) == 1
    assert f"127.0.0.1:{port} is taken" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["c", "--port", "x"], ["c", "--port", "70000"], ["c", "--lease-s", "0"], []])
def test_wrong_arguments_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["curate", *arguments])
    assert ended.value.code == 2
    assert "usage: gtx-data curate" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_within_seconds_and_says_where_it_was(texts: Path, number: signal.Signals) -> None:
    with program(texts) as (process, url):
        ann = Person(url, "Ann")
        row = ann.next()
        assert row is not None
        ann.decided(row, "accept")
        began_s = time.monotonic()
        process.send_signal(number)  # with a connection still open
        output, errors = process.communicate(timeout=10)
        assert time.monotonic() - began_s < 5
        assert (process.returncode, errors) == (0, "")
        assert output == ""
        ann.http.close()
        with pytest.raises(httpx.TransportError):
            httpx.get(url)


def test_a_script_in_the_background_can_end_it_too(texts: Path, tmp_path: Path) -> None:
    """A shell without job control makes what it puts behind `&` deaf to SIGINT."""
    script = '"$@" > out & until grep -q http out; do sleep 0.1; done; kill $!; wait $!'
    arguments = [sys.executable, "-c", PROGRAM, str(tmp_path / "page"), str(texts), "--port", "0", "--no-open"]
    ended = subprocess.run(
        ["sh", "-c", script, "sh", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "20 texts, 20 to do" in (tmp_path / "out").read_text(encoding="utf-8")


def test_with_a_password_it_listens_elsewhere(texts: Path, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("long enough\n", encoding="utf-8")
    with program(texts, "--host", ANYWHERE, "--password-file", str(secret)) as (_, url):
        ann = Person(url, "Ann", "long enough")
        assert ann.get("/api/progress")["todo"] == 20
        ann.http.close()
    with program(texts, "--password-from", "GTX_TEST_PASSWORD", env={"GTX_TEST_PASSWORD": "another one"}) as (_, url):
        ann = Person(url)
        assert ann.get("/api/session")["password_needed"]
        assert ann.ask("POST", "/api/session", {"person": "Ann", "password": "long enough"}).status_code == 401
        assert ann.ask("POST", "/api/session", {"person": "Ann", "password": "another one"}).status_code == 200
        ann.http.close()


def test_loopback_is_what_only_this_machine_reaches() -> None:
    assert [
        host for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LOCALHOST") if not is_loopback(host)
    ] == []
    assert [
        host for host in (ANYWHERE, "::", "10.0.0.1", "localhost.evil", "example.org", "") if is_loopback(host)
    ] == []


def test_the_help_does_not_pay_for_the_server() -> None:
    code = (
        "import sys\nfrom data_pipeline.cli import main\n"
        "try:\n main(['curate', '--help'])\n"
        "finally:\n assert not {'flask', 'numpy', 'PIL', 'waitress'} & set(sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=dict(os.environ),
    )
    assert ended.returncode == 0, ended.stderr
    assert "gtx-data curated runs/curation" in ended.stdout


def test_sigterm_ends_a_stage_that_cannot_hear_sigint() -> None:
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), _ended_by_sigterm_as_by_a_key():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, heard)
