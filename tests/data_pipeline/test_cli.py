from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.cli import main
from data_pipeline.settings import Settings
from data_pipeline.stages import BY_NAME, STAGES

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (*BY_NAME, "run", "curate", "ocr-report")
RESERVED = {"inputs", "after", "out", "restart", "help"}


def texts(path: Path, count: int = 6) -> Path:
    rows = [{"text": f">be me\n>find {number} red balls\n>give them to the dog next door"} for number in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"usage: gtx-data {command}" in shown
    if command in BY_NAME:
        assert " ".join(BY_NAME[command].summary.split()) in shown
        for name, field in BY_NAME[command].settings_kind().model_fields.items():
            assert f"--{name.replace('_', '-')}" in shown
            assert field.description


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_settings_are_frozen_have_defaults_and_no_name_that_is_taken(stage: Any) -> None:
    kind = stage.settings_kind()
    assert issubclass(kind, Settings)
    assert kind.model_config["frozen"]
    assert kind() == kind()
    assert not RESERVED & set(kind.model_fields)


def test_stages_come_after_those_that_they_read() -> None:
    names = list(BY_NAME)
    for stage in STAGES:
        assert all(names.index(before) < names.index(stage.name) for before in stage.after)
        assert stage.inputs or not stage.after


def test_help_teaches_and_answers_at_once() -> None:
    code = (
        "import sys; from data_pipeline.cli import main\n"
        "try:\n main(['--help'])\n"
        "finally:\n assert not {'pydantic', 'numpy', 'httpx', 'PIL'} & set(sys.modules), sys.modules"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    assert all(f"\n    {command}" in run.stdout for command in COMMANDS)
    assert "gtx-data dumps RS_2024-01.zst --out runs/data/dumps" in run.stdout


def test_a_stages_help_does_not_pay_for_what_only_its_work_needs() -> None:
    code = (
        "import sys; from data_pipeline.stages import STAGES\n"
        "kinds = [stage.settings_kind() for stage in STAGES]\n"
        "heavy = {'datasets', 'matplotlib', 'pyarrow', 'PIL', 'openai', 'datasketch', 'huggingface_hub'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["written"],
        ["written", "x"],
        ["written", "--out", "x"],
        ["written", "x", "--out", "y", "--speed", "9"],
        ["dataset", "x", "--out", "y", "--previo", "z"],
        ["filters", "x", "--out", "y", "--vocabulary", "huge"],
        ["run"],
        ["run", "x.toml", "--until", "dawn"],
    ],
)
def test_wrong_arguments_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: gtx-data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["written", "none.jsonl", "--out", "out"], "none.jsonl is not there; is the path right?"),
        (["dataset", "none", "--out", "out"], "none is not there"),
        (["dataset", "good.jsonl", "--out", "out", "--test", "2"], "--test: Input should be less than 1"),
        (["dataset", "good.jsonl", "--out", "out", "--test", "0.6", "--validation", "0.6"], "nothing to train on"),
        (["dataset", "good.jsonl", "--out", "out"], "good.jsonl, line 1, is no TextRow (id: Field required)"),
        (["written", "good.jsonl", "--out", "good.jsonl"], "good.jsonl is a file: name a folder"),
        (["written", "good.jsonl", "--out", "."], "holds what no stage wrote"),
        (["written", "good.jsonl", "--out", "/proc/none"], "No such file or directory"),
        (["run", "none.toml"], "none.toml cannot be read"),
    ],
)
def test_what_cannot_be_done_ends_with_1_and_says_why(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    texts(tmp_path / "good.jsonl")
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith(f"gtx-data {arguments[0]}: ")
    assert said.out == ""


def test_a_stage_prints_its_table_and_does_nothing_the_second_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = texts(tmp_path / "mine.jsonl")
    with source.open("a", encoding="utf-8") as file:
        file.write("no json\n" + '{"text": "be me"}\n' * 2)
    arguments = ["written", str(source), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert [line.split() for line in shown.splitlines()[1:]] == [
        ["kept", "6"],
        ["dropped:", "not_a_greentext", "2"],
        ["dropped:", "not_an_object", "1"],
    ]
    assert main(arguments) == 0
    assert capsys.readouterr().out == shown


def test_other_inputs_want_another_folder_or_a_restart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main(["written", str(texts(tmp_path / "a.jsonl")), *out]) == 0
    other = str(texts(tmp_path / "b.jsonl", 3))
    assert main(["written", other, *out]) == 1
    assert "--restart" in capsys.readouterr().err
    assert main(["written", other, *out, "--restart"]) == 0
    assert capsys.readouterr().out.split()[-2:] == ["kept", "3"]


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    for name in [name for name in sys.modules if name.startswith("data_pipeline.") and name != "data_pipeline.cli"]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["written", "x", "--out", "y"]) == 1
    assert "tqdm is not installed: pip install 'wholesome-greentext[data]'" in capsys.readouterr().err


def test_our_own_mistakes_show_where_they_happened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from data_pipeline import written

    def broken(*_: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(written, "read_texts", broken)
    with pytest.raises(KeyError):
        main(["written", str(texts(tmp_path / "a.jsonl")), "--out", str(tmp_path / "out")])


def test_an_interrupted_stage_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from data_pipeline import written

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    source = str(texts(tmp_path / "a.jsonl"))
    with monkeypatch.context() as patched:
        patched.setattr(written, "_judge", interrupted)
        assert main(["written", source, "--out", str(tmp_path / "out")]) == 1
    assert "start it again to go on" in capsys.readouterr().err
    assert main(["written", source, "--out", str(tmp_path / "out")]) == 0


def test_sigterm_ends_a_stage_in_order_and_leaves_the_handler_as_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from data_pipeline import written

    def slow(*_: object) -> None:
        time.sleep(30)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(written, "_judge", slow)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert main(["written", str(texts(tmp_path / "a.jsonl")), "--out", str(tmp_path / "out")]) == 1
    assert "interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before
    assert (tmp_path / "out" / "journal.jsonl").exists()
