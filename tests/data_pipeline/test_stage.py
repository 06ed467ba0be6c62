from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.rows import Source, TextRow
from data_pipeline.stage import (
    DROPPED,
    JOURNAL,
    KEPT,
    SUMMARY,
    Drop,
    FolderInUseError,
    ForeignFolderError,
    JournalError,
    OtherSettingsError,
    StageError,
    StageRun,
    Summary,
    read_rows,
    read_summary,
    sha256_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
MADE_FROM = {"input": "abc", "min_score": 1}


def row(number: int) -> TextRow:
    return TextRow(id=f"written:{number}", text=f">be {number}", source=Source.WRITTEN)


def record(run: StageRun, number: int) -> None:
    """Items whose number divides by 3 are dropped, the others kept; every fifth is counted besides."""
    counted = {"fifth": 1} if number % 5 == 0 else {}
    if number % 3 == 0:
        run.record(number, f"item {number}", dropped=[Drop("third", row(number), "divides by 3")], counted=counted)
    else:
        run.record(number, f"item {number}", kept=[row(number)], counted=counted)


def complete(folder: Path, count: int = 10, *, restart: bool = False) -> Summary:
    with StageRun(folder, "test", MADE_FROM, restart=restart) as run:
        for number in range(count):
            if run.summary is None and not run.is_done(f"item {number}"):
                record(run, number)
        return run.finish()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name in (KEPT, DROPPED)}


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def test_a_run_leaves_what_it_kept_what_it_dropped_and_a_summary(tmp_path: Path) -> None:
    summary = complete(tmp_path)
    assert (summary.items, summary.kept, summary.dropped, summary.counted) == (10, 6, {"third": 4}, {"fifth": 2})
    assert list(read_rows(tmp_path, TextRow)) == [row(number) for number in (1, 2, 4, 5, 7, 8)]
    dropped = lines(tmp_path / DROPPED)
    assert [entry["row"]["id"] for entry in dropped] == ["written:0", "written:3", "written:6", "written:9"]
    assert all(entry["reason"] == "third" and entry["detail"] == "divides by 3" for entry in dropped)
    assert summary.kept_sha256 == sha256_of(tmp_path) == hashlib.sha256(summary.kept_path.read_bytes()).hexdigest()
    assert read_summary(tmp_path) == summary
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", DROPPED, KEPT, SUMMARY]


def test_the_table_says_everything_in_order_of_weight(tmp_path: Path) -> None:
    shown = complete(tmp_path).table()
    assert [line.split() for line in shown.split("\n")[1:]] == [
        ["kept", "6"],
        ["dropped:", "third", "4"],
        ["counted:", "fifth", "2"],
    ]


def test_a_finished_folder_is_left_alone_and_answers_the_same(tmp_path: Path) -> None:
    summary = complete(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    with StageRun(tmp_path, "test", MADE_FROM) as run:
        assert run.summary == summary
        assert run.finish() == summary
        with pytest.raises(ValueError, match="finished"):
            record(run, 99)
        with pytest.raises(ValueError, match="finished"):
            list(run.entries())
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_rows_come_in_the_items_order_whatever_the_order_of_recording(tmp_path: Path) -> None:
    with StageRun(tmp_path, "test", MADE_FROM) as run:
        for number in (4, 1, 8, 2, 7, 5):
            record(run, number)
        assert [key for key, _, _ in run.entries()] == [f"item {number}" for number in (1, 2, 4, 5, 7, 8)]
        run.finish()
    assert [kept.id for kept in read_rows(tmp_path, TextRow)] == [f"written:{number}" for number in (1, 2, 4, 5, 7, 8)]


def test_an_item_is_recorded_once(tmp_path: Path) -> None:
    with StageRun(tmp_path, "test", MADE_FROM) as run:
        record(run, 1)
        with pytest.raises(ValueError, match="'item 1' is recorded already"):
            record(run, 1)
        assert run.finish().items == 1


@settings(max_examples=60)
@given(
    recorded=st.integers(0, 10),
    kept_share=st.floats(0, 1),
    # What a power cut leaves behind the last whole line may be anything, zeros above all.
    tail=st.sampled_from([b"", b"\0" * 40, b'{"position": 3', b"\xff\xfe", b'{"seconds": 1.0}']),
)
def test_a_run_cut_off_at_any_byte_goes_on_to_the_same_result(
    tmp_path_factory: pytest.TempPathFactory, recorded: int, kept_share: float, tail: bytes
) -> None:
    whole, cut = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("cut")
    complete(whole)
    with StageRun(cut, "test", MADE_FROM) as run:
        for number in range(recorded):
            record(run, number)
    journal = (cut / JOURNAL).read_bytes()
    journal = journal[: round(kept_share * len(journal))]
    if tail:
        journal = journal[: journal.rfind(b"\n") + 1] + tail
    (cut / JOURNAL).write_bytes(journal)
    summary = complete(cut)
    assert files(cut) == files(whole)
    assert (summary.items, summary.kept) == (10, 6)


def test_damage_in_the_midst_is_named_and_a_restart_mends_it(tmp_path: Path) -> None:
    with StageRun(tmp_path, "test", MADE_FROM) as run:
        for number in range(4):
            record(run, number)
    journal = (tmp_path / JOURNAL).read_bytes().split(b"\n")
    for bad in (b"\0" * 20, b"[]", b"7", b'"seconds"', b"{}", b'{"key": "x"}', b'{"seconds": "x"}'):
        journal[2] = bad
        (tmp_path / JOURNAL).write_bytes(b"\n".join(journal))
        with pytest.raises(JournalError, match=r"journal\.jsonl, line 3, is damaged: .*--restart"):
            StageRun(tmp_path, "test", MADE_FROM)
    assert complete(tmp_path, restart=True).items == 10


@pytest.mark.parametrize("first", [b"[]", b'{"stage": "test"}', b'{"stage": "test", "made_from": []}', b'{"stage": 1}'])
def test_a_damaged_first_line_is_named(tmp_path: Path, first: bytes) -> None:
    (tmp_path / JOURNAL).write_bytes(first + b"\n")
    with pytest.raises(JournalError, match="line 1, is damaged"):
        StageRun(tmp_path, "test", MADE_FROM)


def test_an_entry_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    with StageRun(tmp_path, "test", MADE_FROM) as run:
        record(run, 1)
    whole = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join([whole[0], whole[1], whole[1]]))
    assert complete(tmp_path, 2).items == 2
    assert [kept.id for kept in read_rows(tmp_path, TextRow)] == ["written:1"]


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_stage import complete, record, MADE_FROM
from data_pipeline.stage import StageRun
with StageRun(Path(sys.argv[1]), "test", MADE_FROM) as run:
    for number in range(100_000):
        if not run.is_done(f"item {number}"):
            record(run, number)
            print(number, flush=True)
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments, str(Path(__file__).parent)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_nothing_that_was_recorded_is_lost_to_kill_9(tmp_path: Path) -> None:
    recorded = 0
    for _ in range(3):
        process = start(KILLED, str(tmp_path))
        assert process.stdout is not None
        for _ in range(300):
            recorded = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")
        process.stdout.close()
        process.wait()
        recorded = max([recorded, *(int(line) for line in rest[:-1] if line)])
    with StageRun(tmp_path, "test", MADE_FROM) as run:
        assert run.done >= recorded + 1
        keys = set(run.keys())
        assert keys == {f"item {number}" for number in range(len(keys))}
        assert run.finish().seconds >= 0


HOLDER = """
import sys, time
from pathlib import Path
from data_pipeline.stage import StageRun
with StageRun(Path(sys.argv[1]), "test", {"input": "abc", "min_score": 1}) as run:
    print("open", flush=True)
    time.sleep(60)
"""


def test_two_processes_never_share_a_folder(tmp_path: Path) -> None:
    with start(HOLDER, str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        for restart in (False, True):
            with pytest.raises(FolderInUseError, match="another process works in"):
                StageRun(tmp_path, "test", MADE_FROM, restart=restart)
        process.kill()
        process.wait()
    assert complete(tmp_path).items == 10


FORKING = """
import os, sys, time
from pathlib import Path
from data_pipeline.stage import StageRun
run = StageRun(Path(sys.argv[1]), "test", {"input": "abc", "min_score": 1})
child = os.fork()
if child == 0:
    print(os.getpid(), flush=True)  # from the child: now it runs
time.sleep(60)
"""


def test_a_worker_that_outlives_its_killed_parent_does_not_hold_the_folder(tmp_path: Path) -> None:
    with start(FORKING, str(tmp_path)) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        try:
            process.kill()
            process.wait()
            os.kill(worker, 0)  # it is still there
            assert complete(tmp_path).items == 10
        finally:
            os.kill(worker, signal.SIGKILL)


def test_other_settings_are_refused_and_named_and_nothing_changes(tmp_path: Path) -> None:
    complete(tmp_path)
    before = files(tmp_path)
    for stage, made_from, message in (
        ("test", {"input": "abc", "min_score": 2}, "min_score was 1, is 2"),
        ("test", {"input": "abc"}, "min_score was 1, is None"),
        ("test", {**MADE_FROM, "workers": 2}, "workers was None, is 2"),
        ("other", MADE_FROM, "it holds test, not other"),
    ):
        with pytest.raises(OtherSettingsError, match=message):
            StageRun(tmp_path, stage, made_from)
    assert files(tmp_path) == before


def test_other_settings_are_refused_in_an_unfinished_folder_too(tmp_path: Path) -> None:
    with StageRun(tmp_path, "test", MADE_FROM) as run:
        record(run, 1)
    with pytest.raises(OtherSettingsError, match="input was 'abc', is 'abd'"):
        StageRun(tmp_path, "test", {**MADE_FROM, "input": "abd"})
    with StageRun(tmp_path, "test", MADE_FROM) as run:
        assert run.done == 1


def test_a_restart_empties_the_folder_but_for_hidden_files(tmp_path: Path) -> None:
    complete(tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"x")
    (tmp_path / ".cache").mkdir()
    summary = complete(tmp_path, 4, restart=True)
    assert summary.items == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [".cache", ".lock", DROPPED, KEPT, SUMMARY]


def test_a_restart_that_was_killed_in_its_midst_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with StageRun(tmp_path, "test", MADE_FROM) as run:
        record(run, 1)
    (tmp_path / "pictures").mkdir()

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            StageRun(tmp_path, "test", MADE_FROM, restart=True)
    with StageRun(tmp_path, "test", MADE_FROM) as run:
        assert run.done == 0  # and not the items whose files may be gone


@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_with_somebodys_files_is_left_alone(tmp_path: Path, restart: bool) -> None:
    (tmp_path / "thesis.tex").write_text("ten years", encoding="utf-8")
    with pytest.raises(ForeignFolderError, match=r"holds what no stage wrote \(thesis\.tex\)"):
        StageRun(tmp_path, "test", MADE_FROM, restart=restart)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("", encoding="utf-8")
    with pytest.raises(StageError, match="out is a file: name a folder"):
        StageRun(path, "test", MADE_FROM)


class FullDisk:
    """Lets so many bytes through, then says that the disk is full; a write may end half-way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room_bytes: int) -> None:
        self.room_bytes = room_bytes
        self._pwrite = os.pwrite
        monkeypatch.setattr(os, "pwrite", self)

    def __call__(self, file: int, data: bytes, offset: int) -> int:
        taken = min(len(data), self.room_bytes)
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room_bytes -= taken
        return self._pwrite(file, data[:taken], offset)


@pytest.mark.parametrize("room_bytes", [0, 1, 200, 700, 1500])
def test_a_full_disk_loses_nothing_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room_bytes: int
) -> None:
    with StageRun(tmp_path / "whole", "test", MADE_FROM) as run:
        for number in range(10):
            record(run, number)
        run.finish()
    done: list[int] = []
    with monkeypatch.context() as patched:
        FullDisk(patched, room_bytes)
        with pytest.raises(OSError, match="No space left") as raised:  # noqa: PT012, SIM117
            with StageRun(tmp_path / "full", "test", MADE_FROM) as run:
                for number in range(10):
                    record(run, number)
                    done.append(number)
    assert str(raised.value.filename).endswith(JOURNAL)
    with StageRun(tmp_path / "full", "test", MADE_FROM) as run:
        assert set(run.keys()) == {f"item {number}" for number in done}
    complete(tmp_path / "full")
    assert files(tmp_path / "full") == files(tmp_path / "whole")


def test_an_item_that_found_no_room_can_be_recorded_again_by_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StageRun(tmp_path, "test", MADE_FROM) as run:
        record(run, 1)
        with monkeypatch.context() as patched:
            FullDisk(patched, 20)
            with pytest.raises(OSError, match="No space left"):
                record(run, 2)
        assert not run.is_done("item 2")
        record(run, 2)
        assert run.finish().kept == 2
    assert [kept.id for kept in read_rows(tmp_path, TextRow)] == ["written:1", "written:2"]


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_stage import complete
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    complete(Path(sys.argv[1]))
except OSError as error:
    print(error.strerror)
"""


def test_a_real_limit_of_the_system_stops_a_run_and_leaves_it_resumable(tmp_path: Path) -> None:
    assert resource.RLIMIT_FSIZE  # Python ignores SIGXFSZ, so the call fails with EFBIG
    with start(LIMITED, str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "File too large\n"
    with StageRun(tmp_path, "test", MADE_FROM) as run:
        assert 0 < run.done < 10
    assert complete(tmp_path).items == 10


def test_an_interrupt_in_the_midst_of_a_write_leaves_no_half_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.pwrite

    def interrupted(file: int, data: bytes, offset: int) -> int:
        whole(file, data, offset)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), StageRun(tmp_path, "test", MADE_FROM) as run:  # noqa: PT012
        record(run, 1)
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", interrupted)
            record(run, 2)
    assert complete(tmp_path, 3).items == 3


def test_a_disk_that_fills_up_at_the_end_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with StageRun(tmp_path, "test", MADE_FROM) as run:
        for number in range(10):
            record(run, number)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left"):
                run.finish()
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", JOURNAL]
        assert run.finish().items == 10


def test_killed_behind_the_summary_it_is_finished(tmp_path: Path) -> None:
    with StageRun(tmp_path, "test", MADE_FROM) as run:
        record(run, 1)
        journal = (tmp_path / JOURNAL).read_bytes()
        summary = run.finish()
    (tmp_path / JOURNAL).write_bytes(journal)
    with StageRun(tmp_path, "test", MADE_FROM) as run:
        assert run.summary == summary
    assert not (tmp_path / JOURNAL).exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"stage": 1}', b'{"stage": "test", "items": "9"}'])
def test_a_damaged_summary_is_named_and_a_restart_mends_it(tmp_path: Path, content: bytes) -> None:
    complete(tmp_path)
    (tmp_path / SUMMARY).write_bytes(content)
    with pytest.raises(StageError, match=r"summary\.json is damaged"):
        StageRun(tmp_path, "test", MADE_FROM)
    assert complete(tmp_path, restart=True).items == 10


def test_rows_that_are_gone_are_missed(tmp_path: Path) -> None:
    complete(tmp_path)
    (tmp_path / KEPT).unlink()
    with pytest.raises(StageError, match=r"kept\.jsonl is gone"):
        StageRun(tmp_path, "test", MADE_FROM)


def test_closing_twice_closes_nothing_of_others(tmp_path: Path) -> None:
    run = StageRun(tmp_path / "out", "test", MADE_FROM)
    run.close()
    with (tmp_path / "other").open("wb") as other:  # takes the number of the lock's descriptor
        run.close()
        other.write(b"x")


def test_time_adds_up_over_runs_and_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    run = StageRun(tmp_path, "test", MADE_FROM)
    now[0] += 5
    record(run, 1)
    now[0] += 0.1
    record(run, 2)
    run._let_go()  # killed: it could not say how long it took in the end
    now[0] += 1000
    with StageRun(tmp_path, "test", MADE_FROM) as run:
        now[0] += 2
        assert run.finish().seconds == pytest.approx(7, abs=0.11)


class Reason(StrEnum):
    SHORT = "short"


def test_members_of_an_enumeration_are_reasons_and_names(tmp_path: Path) -> None:
    with StageRun(tmp_path, "test", {Reason.SHORT: Reason.SHORT}) as run:
        run.record(0, "a", dropped=[Drop(Reason.SHORT, row(1))], counted={Reason.SHORT: 2})
        summary = run.finish()
    assert (summary.dropped, summary.counted) == ({"short": 1}, {"short": 2})


@settings(max_examples=50)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
        max_leaves=8,
    )
)
def test_a_dropped_row_may_be_any_json_hostile_or_not(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    with StageRun(folder, "test", {}) as run:
        run.record(0, "a", dropped=[Drop("bad", {"value": value})])
        run.finish()
    (entry,) = lines(folder / DROPPED)
    if isinstance(value, str):
        assert entry["row"]["value"] == value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def test_rows_are_checked_as_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(row(1).model_dump_json() + "\n\n" + row(2).model_dump_json() + '\n{"id": "x"}\n', encoding="utf-8")
    rows = read_rows(path, TextRow)
    assert [next(rows), next(rows)] == [row(1), row(2)]
    with pytest.raises(StageError, match=r"rows\.jsonl, line 4, is no TextRow \(text: Field required\)"):
        next(rows)
    path.write_bytes(b"\0\xff\n")
    with pytest.raises(StageError, match=r"line 1, is no TextRow \(Invalid JSON"):
        list(read_rows(path, TextRow))


@pytest.mark.parametrize("watched", [True, False])
def test_progress_is_a_bar_for_people_and_lines_for_logs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    from data_pipeline import stage

    monkeypatch.setattr(sys.stderr, "isatty", lambda: watched, raising=False)
    monkeypatch.setattr(stage, "LOG_EVERY_S", 0.05)
    with stage.progress_bar("test", 3, "row", done=1) as bar:
        time.sleep(0.3)
        bar.update()
        time.sleep(0.3)
        bar.update()
    said = capsys.readouterr().err
    assert "test: 100%" in said
    assert ("\r" in said) is watched
    if not watched:
        assert [line.startswith("test: ") for line in said.splitlines()] == [True] * len(said.splitlines())


def test_a_short_run_leaves_no_bar_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    from data_pipeline.stage import progress_bar

    with progress_bar("test", 3, "row") as bar:
        bar.update(3)
    assert capsys.readouterr().err == ""


def unreadable(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    (tmp_path / "empty").mkdir()
    yield tmp_path / "empty", "is the path right"
    yield tmp_path / "nowhere", "is the path right"
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / JOURNAL).write_bytes(b"")
    yield tmp_path / "unfinished", "its stage has not finished"


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    for path, message in unreadable(tmp_path):
        with pytest.raises(StageError, match=message):
            list(read_rows(path, TextRow))
        with pytest.raises(StageError, match=message):
            sha256_of(path)
