r"""One run of a stage: what it keeps, what it drops and why, written so that it can be stopped anywhere.

A stage takes items one by one (a record of a dump, a picture, a request) and says of each what became of it. Every
answer goes into a journal at once. When all items are through, the journal becomes the stage's files, each written
whole or not at all:

    kept.jsonl      the rows for the next stage, in the items' order
    dropped.jsonl   {"reason", "detail", "row"}: what was dropped, kept aside
    summary.json    what it was made from, and the counts; written last, so its presence says that all is there

A killed run goes on from its journal: an item is in it whole or not at all. A run over a finished folder does nothing
and answers the old summary. A folder that was made from something else is refused, never overwritten unasked.

What it raises is in `data_pipeline.errors`, and can be imported from here too.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import time
import weakref
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import orjson
from pydantic import BaseModel
from tqdm import tqdm

from data_pipeline.atomic import atomic_file, sync
from data_pipeline.errors import FolderInUseError, ForeignFolderError, JournalError, OtherSettingsError, StageError
from data_pipeline.journal import Journal, Json, to_line
from data_pipeline.results import JOURNAL, KEPT, SUMMARY, Summary, by_count, read_rows, read_summary, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from data_pipeline.rows import Row

__all__ = [
    "DROPPED",
    "JOURNAL",
    "KEPT",
    "LOCK",
    "SUMMARY",
    "Drop",
    "FolderInUseError",
    "ForeignFolderError",
    "JournalError",
    "OtherSettingsError",
    "StageError",
    "StageRun",
    "Summary",
    "progress_bar",
    "read_rows",
    "read_summary",
    "sha256_of",
]

DROPPED: Final = "dropped.jsonl"
LOCK: Final = ".lock"
LOG_EVERY_S: Final = 10.0
"""How often progress is told where nobody watches."""
SYNC_EVERY_S: Final = 1.0
"""The journal reaches the disk that often; until then a power cut, but no killed process, can lose an item."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Something dropped: the reason is a name that is counted, the detail is for people."""

    reason: str
    row: Row | Json
    detail: str = ""


@dataclass(slots=True)
class _Counts:
    items: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)

    def add(self, entry: Json) -> None:
        self.items += 1
        self.kept += len(entry["kept"])
        self.dropped.update(drop["reason"] for drop in entry["dropped"])
        self.counted.update(entry["counted"])


class StageRun:
    """A run in a folder, to be used in a `with`: takes what became of each item, and finishes.

    ```python
    with StageRun(folder, "posts", made_from={"input": sha, "min_score": 1}) as run:
        if run.summary is None:
            for position, item in enumerate(items):
                if not run.is_done(item.id):
                    run.record(position, item.id, kept=[...], dropped=[Drop("removed", item)])
            run.finish()
    ```

    `made_from` is JSON and names all that the result depends on; `StageRun` compares it with what the folder was made
    from. Not thread-safe: one thread records. A run holds its folder's lock until it is closed or its process is gone;
    processes forked from it do not.
    """

    def __init__(self, folder: Path, stage: str, made_from: Json, *, restart: bool = False) -> None:
        """Opens or resumes a run; with `restart` what the folder holds goes first, but for hidden files.

        Raises:
            StageError: The folder is in use, was made otherwise, holds files that no stage wrote, or is damaged.
            OSError: The folder cannot be written.
        """
        self.folder = folder
        self.stage = stage
        self.made_from: Json = orjson.loads(
            orjson.dumps(dict(made_from), option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
        )
        self.summary: Summary | None = None
        """Of the finished run; None until then."""
        self._counts = _Counts()
        self._places: dict[str, tuple[int, int]] = {}
        """Of each recorded item: its position and its line's offset in the journal."""
        self._seconds_before = 0.0
        self._opened_s = self._synced_s = time.monotonic()
        self._journal: Journal | None = None
        """None in a finished run."""
        _refuse_foreign(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        _open_runs.add(self)
        try:
            self._take_lock()
            if restart:
                self._clear()
            self._open()
        except BaseException:
            self._let_go()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the folder. What is recorded stays. Raises OSError where it cannot reach the disk."""
        try:
            if self._journal is not None and not self._journal.closed:
                with contextlib.suppress(OSError):  # a full disk has been reported by what filled it
                    self._write_seconds()
                self._journal.sync()
        finally:
            self._let_go()

    @property
    def done(self) -> int:
        """How many items are recorded."""
        return len(self._places)

    def is_done(self, key: str) -> bool:
        """Whether an item is recorded."""
        return key in self._places

    def keys(self) -> Iterator[str]:
        """The keys of all recorded items."""
        return iter(self._places)

    def entries(self) -> Iterator[tuple[str, list[Json], list[Json]]]:
        """Key, kept rows and drops of each item recorded so far, in the items' order.

        Raises:
            ValueError: The run is finished; its files are there to be read.
        """
        journal = self._running()
        places = sorted(self._places.values())
        for entry in journal.read(offset for _, offset in places):
            yield entry["key"], entry["kept"], entry["dropped"]

    def record(
        self,
        position: int,
        key: str,
        *,
        kept: Sequence[Row | Json] = (),
        dropped: Sequence[Drop] = (),
        counted: Mapping[str, int] | None = None,
    ) -> None:
        """Writes down what became of an item, all of it or nothing. `position` orders the items in the results.

        Raises:
            ValueError: The item is recorded already, or the run is finished.
            OSError: The disk is full, or fails; the item counts as not recorded.
        """
        journal = self._running()
        if key in self._places:
            raise ValueError(f"{key!r} is recorded already")
        entry = {
            "position": position,
            "key": key,
            "kept": [_plain(row) for row in kept],
            # Plain strings, for members of an enumeration are no keys of JSON.
            "dropped": [
                {"reason": str(drop.reason), "detail": drop.detail, "row": _plain(drop.row)} for drop in dropped
            ],
            "counted": {str(name): count for name, count in (counted or {}).items()},
        }
        # Into the journal first: what it could not take is neither done nor counted.
        offset = journal.append(entry)
        self._places[key] = (position, offset)
        self._counts.add(entry)
        now_s = time.monotonic()
        if now_s - self._synced_s >= SYNC_EVERY_S:
            self._write_seconds()  # here too, so that a killed run's time counts
            journal.sync()
            self._synced_s = now_s

    def finish(self) -> Summary:
        """Writes the stage's files from the journal, and removes it; of a finished run, answers the summary.

        Raises:
            OSError: The disk is full, or fails. The journal is still there: run again to go on.
        """
        if self.summary is not None:
            return self.summary
        journal = self._running()
        hasher = hashlib.sha256()
        with atomic_file(self.folder / KEPT) as kept, atomic_file(self.folder / DROPPED) as dropped:
            for _, rows, drops in self.entries():
                for row in rows:
                    line = to_line(row)
                    hasher.update(line)
                    kept.write(line)
                dropped.writelines(map(to_line, drops))
        record: dict[str, Any] = {
            "stage": self.stage,
            "made_from": self.made_from,
            "items": self._counts.items,
            "kept": self._counts.kept,
            "dropped": dict(by_count(self._counts.dropped)),
            "counted": dict(by_count(self._counts.counted)),
            "seconds": round(self._elapsed_s(), 3),
            "kept_sha256": hasher.hexdigest(),
        }
        # The new names must be on the disk before a summary says so, and it before the journal goes.
        sync(self.folder)
        with atomic_file(self.folder / SUMMARY) as file:
            file.write(orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        sync(self.folder)
        self.summary = Summary(folder=self.folder, **record)
        self._journal = None
        journal.close()
        (self.folder / JOURNAL).unlink()
        return self.summary

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FolderInUseError(f"another process works in {self.folder}: wait for it, or stop it") from error

    def _let_go(self) -> None:
        if self._journal is not None:
            self._journal.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def _running(self) -> Journal:
        if self._journal is None:
            raise ValueError(f"{self.stage} is finished in {self.folder}")
        return self._journal

    def _clear(self) -> None:
        """Empties the folder. Killed within it, the next run begins anew: an empty journal says whose folder it is."""
        with (self.folder / JOURNAL).open("wb"):
            pass
        (self.folder / SUMMARY).unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if path.name == JOURNAL or path.name.startswith("."):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _open(self) -> None:
        path = self.folder / JOURNAL
        summary = read_summary(self.folder)
        if summary is not None:
            self._check(summary.stage, summary.made_from)
            if not summary.kept_path.exists():
                raise StageError(f"{summary.kept_path} is gone, though its stage has finished: --restart to make it")
            self.summary = summary
            path.unlink(missing_ok=True)
            return
        self._journal = Journal(path)
        if not self._replay(self._journal):
            self._journal.append({"stage": self.stage, "made_from": self.made_from})
            self._journal.sync()
            sync(self.folder)

    def _replay(self, journal: Journal) -> int:
        """Takes in what an earlier run recorded, and returns how many entries there are."""
        number = 0
        for number, (offset, entry) in enumerate(journal.replay(), start=1):
            try:
                if number == 1:
                    self._check(entry["stage"], entry["made_from"])
                elif "seconds" in entry:
                    self._seconds_before = float(entry["seconds"])
                elif entry["key"] not in self._places:
                    self._counts.add(entry)
                    self._places[entry["key"]] = (int(entry["position"]), offset)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise journal.damaged(number) from error
        return number

    def _check(self, stage: str, made_from: Json) -> None:
        if (stage, made_from) == (self.stage, self.made_from):
            return
        names = sorted({*made_from, *self.made_from})
        changed = [
            f"{name} was {made_from.get(name)!r}, is {self.made_from.get(name)!r}"
            for name in names
            if made_from.get(name) != self.made_from.get(name)
        ] or [f"it holds {stage}, not {self.stage}"]
        raise OtherSettingsError(
            f"{self.folder} was made otherwise ({'; '.join(changed)}): "
            "give another folder, or --restart to throw away what it holds"
        )

    def _write_seconds(self) -> None:
        self._running().append({"seconds": self._elapsed_s()})

    def _elapsed_s(self) -> float:
        return self._seconds_before + time.monotonic() - self._opened_s


_open_runs: weakref.WeakSet[StageRun] = weakref.WeakSet()


def _forget_locks() -> None:
    """A forked worker shares its parent's lock, and would hold the folder when the parent is killed."""
    for run in _open_runs:
        run._let_go()  # noqa: SLF001 - the module's own


os.register_at_fork(after_in_child=_forget_locks)


def _refuse_foreign(folder: Path) -> None:
    """Leaves alone what is not a stage's: `--out .` must neither mix with a person's files nor `--restart` them away.

    Hidden files do not count, for nothing touches them.
    """
    try:
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        raise StageError(f"{folder} is a file: name a folder") from error
    if names and not names & {JOURNAL, SUMMARY}:
        some = ", ".join(sorted(names)[:3])
        raise ForeignFolderError(f"{folder} holds what no stage wrote ({some}): name a new or an empty folder")


def progress_bar(stage: str, total: int | None, unit: str, *, done: int = 0) -> tqdm[Any]:
    """A bar on stderr, to be used in a `with`; where nobody watches, a line every ten seconds."""
    watched = sys.stderr.isatty()
    interval_s = 0.2 if watched else LOG_EVERY_S
    return tqdm(
        total=total,
        initial=done,
        desc=stage,
        unit=unit,
        mininterval=interval_s,
        maxinterval=interval_s,
        delay=0 if watched else interval_s,
        file=sys.stderr if watched else _Lines(),
        dynamic_ncols=watched,
    )


class _Lines:
    """A log instead of a terminal: where a bar would be drawn over, it goes on a line of its own."""

    def write(self, text: str) -> None:
        if line := text.strip("\r\n "):
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def _plain(row: Row | Json) -> Json:
    return row.model_dump(mode="json") if isinstance(row, BaseModel) else row
