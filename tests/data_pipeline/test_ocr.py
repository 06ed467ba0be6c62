"""The stage: folders of pictures to texts, with a real Tesseract and with ones that hang, die or are not there."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from data_pipeline import images
from data_pipeline.ocr import OcrSettings, run, workers
from data_pipeline.rendered import Layout, PageSpec, render
from data_pipeline.results import read_rows
from data_pipeline.rows import Screenshot, Source, TextRow
from data_pipeline.stage import OtherSettingsError, StageError
from greentext.text import normalise
from tests.data_pipeline.picture_server import png_bomb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import ProcessPoolExecutor

REPOSITORY = Path(__file__).parents[2]
STORIES = (
    ("be me", "find a frog", "it is a good frog"),
    ("be cat", "sit on the warm box", "human needs the box", "human takes another box", "thank you, human"),
    ("late for the bus", "run with one shoe on", "bus waits for me", "best driver in town"),
)
ONE = OcrSettings(workers=1)


def page(number: int, layout: Layout = Layout.REPLY) -> bytes:
    return render(PageSpec(STORIES[number], layout=layout, font_px=18, seed=number)).content


def story(number: int) -> str:
    return "\n".join(f">{line}" for line in STORIES[number])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(len(STORIES)):
        (folder / f"{number}.png").write_bytes(page(number))
    return folder


@pytest.fixture(scope="module")
def _reader() -> Iterator[ProcessPoolExecutor]:
    with workers._pool(1) as pool:
        yield pool


@pytest.fixture
def _one_reader_for_all(_reader: ProcessPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process that reads, started once: for tests of what becomes of pages, not of who reads them."""
    monkeypatch.setattr(workers, "_pool", lambda _workers: contextlib.nullcontext(_reader))


def kept(folder: Path) -> list[TextRow]:
    return list(read_rows(folder, TextRow))


def drops(folder: Path) -> dict[str, tuple[str, str]]:
    """Reason and detail of what was dropped, by id."""
    lines = (folder / "dropped.jsonl").read_text(encoding="utf-8").splitlines()
    return {drop["row"]["id"]: (drop["reason"], drop["detail"]) for drop in map(json.loads, lines)}


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a script in Tesseract's place; what it does not do itself, `real` does. `$1` is the list of lines."""
    real = shutil.which("tesseract")

    def install(script: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        path = folder / "tesseract"
        path.write_text(
            f'#!/bin/bash\nreal() {{ exec {real} "$@"; }}\ncase "$1" in --*) real "$@";; esac\n{script}\nreal "$@"\n'
        )
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return folder

    return install


def test_a_folder_of_pictures_becomes_texts(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = run([pictures], out, OcrSettings())
    assert (summary.items, summary.kept, summary.dropped) == (3, 3, {})
    assert summary.counted == {"lines": sum(map(len, STORIES))}
    rows = kept(out)
    assert [row.text for row in rows] == [story(number) for number in range(3)]
    for number, row in enumerate(rows):
        assert (row.id, row.source, row.origin) == (f"reddit-ocr:{number}", Source.REDDIT_OCR, "")
        assert (out / row.image).read_bytes() == page(number)
        assert len(row.line_confidences) == len(STORIES[number])
        assert all(0.5 < confidence <= 1 for confidence in row.line_confidences)
        assert row.raw_text
        assert normalise(row.text) == row.text


@pytest.mark.usefixtures("_one_reader_for_all")
def test_what_images_kept_is_read_with_the_post_that_it_is_from(pictures: Path, tmp_path: Path) -> None:
    found = tmp_path / "images"
    images.run([pictures], found, images.ImagesSettings(near_duplicate_distance=-1))
    rows = [row.model_copy(update={"origin": f"post{row.id}"}) for row in read_rows(found, Screenshot)]
    (found / "kept.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    out = tmp_path / "out"
    run([found], out, OcrSettings())
    assert [(row.id, row.origin, row.text) for row in kept(out)] == [
        (f"reddit-ocr:{number}", f"post{number}", story(number)) for number in range(3)
    ]
    assert all((out / row.image).exists() for row in kept(out))


@pytest.mark.usefixtures("_one_reader_for_all")
def test_what_is_no_page_is_dropped_with_its_reason(pictures: Path, tmp_path: Path) -> None:
    white = io.BytesIO()
    picture = Image.new("RGB", (300, 200), "white")
    picture.paste((0, 0, 200), (100, 50, 250, 150))
    picture.save(white, "PNG")
    two_lines = render(PageSpec(STORIES[0][:2], font_px=18, seed=1)).content
    for name, content in {
        "bomb.png": png_bomb(20_000, 20_000), "cut.png": page(0)[:2000], "empty.png": b"", "notes.txt": b"be me",
        "blue.png": white.getvalue(), "short.png": two_lines,
    }.items():  # fmt: skip
        (pictures / name).write_bytes(content)
    out = tmp_path / "out"
    summary = run([pictures], out, OcrSettings())
    assert summary.kept == 3
    reasons = {name: reason for name, (reason, _) in drops(out).items()}
    assert reasons == {
        "bomb": "too_large", "cut": "damaged", "empty": "not_a_picture", "notes": "not_a_picture",
        "blue": "no_story", "short": "too_few_lines",
    }  # fmt: skip
    assert drops(out)["short"][1] == "2 of at least 3"
    aside = [json.loads(line)["row"] for line in (out / "dropped.jsonl").read_text().splitlines()]
    assert next(row["lines"] for row in aside if row["id"] == "short") == list(STORIES[0][:2])


@pytest.mark.usefixtures("_one_reader_for_all")
def test_an_unsure_reading_is_dropped(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = run([pictures / "0.png"], out, OcrSettings(min_confidence=0.999))
    assert summary.dropped == {"low_confidence": 1}
    assert "on average" in drops(out)["0"][1]


@pytest.mark.usefixtures("_one_reader_for_all")
def test_a_transparent_picture_is_read_on_white(tmp_path: Path) -> None:
    image = Image.open(io.BytesIO(page(1))).convert("RGB")
    paper = image.getpixel((image.width - 20, image.height - 8))
    clear = image.convert("RGBA")
    # What cannot be seen is black, as programs leave it: whoever forgets how clear it is reads on black.
    clear.putdata([(0, 0, 0, 0) if rgb == paper else (*rgb, 255) for rgb in image.get_flattened_data()])
    clear.save(tmp_path / "clear.png")
    out = tmp_path / "out"
    run([tmp_path / "clear.png"], out, ONE)
    assert [row.text for row in kept(out)] == [story(1)]


@pytest.mark.usefixtures("_one_reader_for_all")
def test_a_finished_run_is_not_done_again_and_other_settings_are_refused(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run([pictures], out, ONE)
    assert run([pictures], out, OcrSettings(workers=2, page_timeout_s=5)) == first
    with pytest.raises(OtherSettingsError, match="min_lines was 3, is 4"):
        run([pictures], out, OcrSettings(min_lines=4))
    assert run([pictures], out, OcrSettings(min_lines=4), restart=True).kept == 2


@pytest.mark.usefixtures("_one_reader_for_all")
def test_inputs_of_one_name_are_kept_apart(pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "0.png").write_bytes(page(1))
    out = tmp_path / "out"
    run([pictures, other], out, OcrSettings())
    assert {row.id: row.text for row in kept(out)}["reddit-ocr:0~2"] == story(1)


@pytest.mark.parametrize("name", ["nothing", "nothing.jsonl"])
def test_an_input_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(StageError, match=f"{name} is not there"):
        run([tmp_path / name], tmp_path / "out", ONE)


def test_rows_of_another_kind_are_named(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "x"}\n', encoding="utf-8")
    with pytest.raises(StageError, match="is no Screenshot"):
        run([rows], tmp_path / "out", ONE)


def test_without_tesseract_it_says_what_to_install(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StageError, match="apt-get install tesseract-ocr"):
        run([pictures], tmp_path / "out", ONE)


def test_each_tesseract_has_one_thread(pictures: Path, tmp_path: Path, engine: Callable[[str], Path]) -> None:
    log = engine('echo "$OMP_THREAD_LIMIT" >> "${BASH_SOURCE[0]%/*}/threads"') / "threads"
    run([pictures / "0.png"], tmp_path / "out", ONE)
    assert set(log.read_text().split()) == {"1"}


def test_as_many_pages_are_read_at_a_time_as_there_are_workers(
    pictures: Path, tmp_path: Path, engine: Callable[[str], Path]
) -> None:
    # Each waits for another and says whether it has met one: one at a time, none would.
    folder = engine(
        'here="${BASH_SOURCE[0]%/*}"; touch "$here/running.$$"\n'
        'for _ in {1..600}; do [ $(ls "$here" | grep -c running) -ge 2 ] && touch "$here/met.$$" && break; sleep 0.05; '
        "done"
    )
    (pictures / "2.png").unlink()
    assert run([pictures], tmp_path / "out", OcrSettings(workers=2)).kept == 2
    assert len(list(folder.glob("met.*"))) >= 2


def test_a_page_that_hangs_is_given_up_and_its_reader_killed(
    pictures: Path, tmp_path: Path, engine: Callable[[str], Path]
) -> None:
    # The page with three lines hangs.
    folder = engine('[ $(wc -l < "$1") = 3 ] && { echo $$ > "${BASH_SOURCE[0]%/*}/pid"; exec sleep 600; }')
    out = tmp_path / "out"
    summary = run([pictures], out, OcrSettings(workers=1, page_timeout_s=4))
    assert summary.dropped == {"timeout": 1}
    assert drops(out)["0"] == ("timeout", "not done after 4 s")
    assert [row.text for row in kept(out)] == [story(1), story(2)]
    pid = int((folder / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_page_over_which_tesseract_fails_is_dropped(
    pictures: Path, tmp_path: Path, engine: Callable[[str], Path]
) -> None:
    engine('[ $(wc -l < "$1") = 3 ] && { echo "cannot do this" >&2; exit 3; }')
    out = tmp_path / "out"
    assert run([pictures], out, ONE).kept == 2
    reason, detail = drops(out)["0"]
    assert reason == "engine_failed"
    assert "cannot do this" in detail


def test_a_page_that_takes_its_process_down_takes_no_other(
    pictures: Path, tmp_path: Path, engine: Callable[[str], Path]
) -> None:
    engine('[ $(wc -l < "$1") = 3 ] && kill -9 $PPID')
    out = tmp_path / "out"
    summary = run([pictures], out, OcrSettings(workers=2))
    assert drops(out) == {"0": ("reader_crashed", "the process that read it ended")}
    assert summary.kept == 2


PROGRAM = """
import sys
from pathlib import Path
from data_pipeline.ocr import OcrSettings, run
if __name__ == "__main__":
    run([Path(sys.argv[1])], Path(sys.argv[2]), OcrSettings(workers=1))
"""


@pytest.mark.slow
def test_killed_at_any_time_it_goes_on_and_ends_with_the_same_rows(
    tmp_path: Path, engine: Callable[[str], Path]
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(8):
        (pictures / f"{number}.png").write_bytes(page(number % 3))
    log = engine('echo x >> "${BASH_SOURCE[0]%/*}/calls"') / "calls"
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    out = tmp_path / "out"
    journal = out / "journal.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    for wanted in (2, 5):
        process = subprocess.Popen(
            [sys.executable, str(program), str(pictures), str(out)], env=environment, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s and process.poll() is None:
            if journal.exists() and journal.read_bytes().count(b'"key"') >= wanted:
                break
            time.sleep(0.02)
        assert process.poll() is None, "it ended before it was killed"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.2)  # its readers notice that it is gone
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    done_before = journal.read_bytes().count(b'"key"')
    calls_before = log.read_text().count("x")
    summary = run([pictures], out, ONE)
    assert summary.kept == 8
    assert [row.text for row in kept(out)] == [story(number % 3) for number in range(8)]
    # A page takes one call or two; those that were done take none.
    assert log.read_text().count("x") - calls_before <= 2 * (8 - done_before)
    fresh = run([pictures], tmp_path / "fresh", ONE)
    assert fresh.kept_sha256 == summary.kept_sha256
