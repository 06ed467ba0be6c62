r"""One run of a stage: what it keeps, what it drops and why, written so that it can be stopped anywhere.

A stage takes items one by one (a record of a dump, a picture, a request) and says of each what became of it. Every
answer goes into a journal at once. When all items are through, the journal becomes the stage's files, each written
whole or not at all:

    kept.jsonl      the rows for the next stage, in the items' order
    dropped.jsonl   {"reason", "detail", "row"}: what was dropped, kept aside
    summary.json    what it was made from, and the counts; written last, so its presence says that all is there

A killed run goes on from its journal: an item is in it whole or not at all. A run over a finished folder does nothing
and answers the old summary. A folder that was made from something else is refused, never overwritten unasked.

    StageError
    ├── FolderInUseError     another process works in the folder
    ├── OtherSettingsError   the folder was made from other inputs or settings
    └── JournalError         the journal is damaged in its midst
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self, TypeAlias, TypeVar

import orjson
from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from data_pipeline.rows import Row

KEPT: Final = "kept.jsonl"
DROPPED: Final = "dropped.jsonl"
SUMMARY: Final = "summary.json"
JOURNAL: Final = "journal.jsonl"
LOCK: Final = ".lock"
SYNC_EVERY_S: Final = 1.0
"""The journal reaches the disk that often; until then a power cut, but no killed process, can lose an item."""

Json: TypeAlias = "Mapping[str, Any]"
R = TypeVar("R", bound="Row")


class StageError(Exception):
    """A stage cannot run; the message says what to do."""


class FolderInUseError(StageError):
    """Another process works in the folder."""


class OtherSettingsError(StageError):
    """The folder was made from other inputs or settings."""


class JournalError(StageError):
    """The journal is damaged in its midst."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Something dropped: the reason is a name that is counted, the detail is for people."""

    reason: str
    row: Row | Json
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a finished stage did."""

    stage: str
    folder: Path
    made_from: Json
    items: int
    kept: int
    dropped: dict[str, int]
    """Rows dropped, by reason, and set aside."""
    counted: dict[str, int]
    """What was only counted: too many, or too little, to set aside."""
    seconds: float
    """Time spent, over all runs that it took."""
    kept_sha256: str
    """Of `kept.jsonl`: what the next stage is made from."""

    @property
    def kept_path(self) -> Path:
        """The rows for the next stage."""
        return self.folder / KEPT

    def table(self) -> str:
        """For people, a line a reason."""
        rows = [("kept", self.kept), *((f"dropped: {name}", count) for name, count in _by_count(self.dropped))]
        rows += [(f"counted: {name}", count) for name, count in _by_count(self.counted)]
        width = max(len(name) for name, _ in rows)
        head = f"{self.stage}: {self.items:,} items in {self.seconds:,.1f} s → {self.folder}"
        return "\n".join([head, *(f"  {name:<{width}}  {count:>9,}" for name, count in rows)])


def _by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


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
    from. Not thread-safe: one thread records.
    """

    def __init__(self, folder: Path, stage: str, made_from: Json, *, restart: bool = False) -> None:
        """Opens or resumes a run. Raises StageError and OSError."""
        self.folder = folder
        self.stage = stage
        self.made_from = orjson.loads(orjson.dumps(dict(made_from), option=orjson.OPT_SORT_KEYS))
        self.summary: Summary | None = None
        """Of the finished run; None until then."""
        self._counts = _Counts()
        self._places: dict[str, tuple[int, int]] = {}
        """Of each recorded item: its position and its line's offset in the journal."""
        self._seconds_before = 0.0
        self._opened_s = self._synced_s = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._take_lock()
            if restart:
                self._clear()
            self._open()
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the folder. What is recorded stays."""
        if not self._journal.closed:
            if self.summary is None:
                self._write({"seconds": self._elapsed_s()})
            self._sync()
            self._journal.close()
        with contextlib.suppress(OSError):
            os.close(self._lock)

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
        """Key, kept rows and drops of each item recorded so far, in the items' order."""
        self._journal.flush()
        with (self.folder / JOURNAL).open("rb") as file:
            for key, (_, offset) in sorted(self._places.items(), key=lambda item: item[1]):
                file.seek(offset)
                entry = orjson.loads(file.readline())
                yield key, entry["kept"], entry["dropped"]

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
        """
        if self.summary is not None:
            raise ValueError(f"{self.stage} is finished in {self.folder}")
        if key in self._places:
            raise ValueError(f"{key!r} is recorded already")
        entry = {
            "position": position,
            "key": key,
            "kept": [_plain(row) for row in kept],
            "dropped": [{"reason": drop.reason, "detail": drop.detail, "row": _plain(drop.row)} for drop in dropped],
            "counted": dict(counted or {}),
        }
        self._places[key] = (position, self._journal.tell())
        self._counts.add(entry)
        self._write(entry)
        now_s = time.monotonic()
        if now_s - self._synced_s >= SYNC_EVERY_S:
            self._sync()
            self._synced_s = now_s

    def finish(self) -> Summary:
        """Writes the stage's files from the journal, and removes it."""
        hasher = hashlib.sha256()
        with _atomic(self.folder / KEPT) as kept, _atomic(self.folder / DROPPED) as dropped:
            for _, rows, drops in self.entries():
                for row in rows:
                    line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
                    hasher.update(line)
                    kept.write(line)
                dropped.writelines(orjson.dumps(drop, option=orjson.OPT_APPEND_NEWLINE) for drop in drops)
        record = {
            "stage": self.stage,
            "made_from": self.made_from,
            "items": self._counts.items,
            "kept": self._counts.kept,
            "dropped": dict(_by_count(self._counts.dropped)),
            "counted": dict(_by_count(self._counts.counted)),
            "seconds": round(self._elapsed_s(), 3),
            "kept_sha256": hasher.hexdigest(),
        }
        with _atomic(self.folder / SUMMARY) as file:
            file.write(orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        self.summary = Summary(folder=self.folder, **record)
        self._journal.close()
        (self.folder / JOURNAL).unlink()
        return self.summary

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FolderInUseError(f"another process works in {self.folder}: wait for it, or stop it") from error

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if path.name == LOCK:
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
            self.summary = summary
            path.unlink(missing_ok=True)
            self._journal: BinaryIO = open(os.devnull, "wb")  # noqa: PTH123, SIM115
            return
        end = self._read_journal(path)
        self._journal = path.open("r+b" if path.exists() else "w+b")
        self._journal.truncate(end)
        self._journal.seek(end)
        if end == 0:
            self._write({"stage": self.stage, "made_from": self.made_from})
            self._sync()

    def _read_journal(self, path: Path) -> int:
        """Takes in what an earlier run recorded, and returns where its last whole line ends."""
        if not path.exists():
            return 0
        end = 0
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break  # the run was killed within it
                try:
                    entry = orjson.loads(line)
                    if number == 1:
                        self._check(entry["stage"], entry["made_from"])
                    elif "seconds" in entry:
                        self._seconds_before = entry["seconds"]
                    else:
                        self._places[entry["key"]] = (entry["position"], end)
                        self._counts.add(entry)
                except (KeyError, TypeError, ValueError) as error:
                    msg = f"{path}, line {number}, is damaged: delete the file (or --restart) to begin anew"
                    raise JournalError(msg) from error
                end += len(line)
        return end

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

    def _write(self, entry: Json) -> None:
        self._journal.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
        self._journal.flush()

    def _sync(self) -> None:
        self._journal.flush()
        with contextlib.suppress(OSError):  # what the journal of a finished run is cannot be synchronised
            os.fsync(self._journal.fileno())

    def _elapsed_s(self) -> float:
        return self._seconds_before + time.monotonic() - self._opened_s


def read_summary(folder: Path) -> Summary | None:
    """The summary of a finished stage; None where none has finished.

    Raises:
        StageError: There is one, but it is not what `StageRun` writes.
    """
    path = folder / SUMMARY
    try:
        record = orjson.loads(path.read_bytes())
        return Summary(folder=folder, **record)
    except FileNotFoundError:
        return None
    except (TypeError, ValueError) as error:
        raise StageError(f"{path} is damaged: delete it, or --restart to begin anew") from error


def read_rows(path: Path, kind: type[R]) -> Iterator[R]:
    """The rows of a `kept.jsonl`, or of any file of such rows, one by one; of a folder, those of its `kept.jsonl`.

    Raises:
        StageError: There is no such file, the stage has not finished, or a line is not such a row.
    """
    if path.is_dir():
        path /= KEPT
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        unfinished = (path.parent / JOURNAL).exists()
        hint = "its stage has not finished: run it again first" if unfinished else "is the path right?"
        raise StageError(f"{path} is not there; {hint}") from error
    with file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield kind.model_validate_json(line)
            except ValueError as error:
                first = str(error).split("\n", 2)
                raise StageError(f"{path}, line {number}, is no {kind.__name__}: {' '.join(first[1:])}") from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; of a folder, that of its `kept.jsonl`.

    Raises:
        StageError: It cannot be read.
    """
    if path.is_dir():
        path /= KEPT
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StageError(f"{path} cannot be read: {error.strerror}") from error


def progress_bar(stage: str, total: int | None, unit: str, *, done: int = 0) -> tqdm[Any]:
    """A bar on stderr, to be used in a `with`; where nobody watches, a line every ten seconds."""
    interval_s = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(
        total=total, initial=done, desc=stage, unit=unit, mininterval=interval_s, file=sys.stderr, dynamic_ncols=True
    )


def _plain(row: Row | Json) -> Json:
    return row if isinstance(row, dict) else row.model_dump(mode="json")  # type: ignore[union-attr]


@contextlib.contextmanager
def _atomic(path: Path) -> Iterator[Any]:
    """A file that appears under its name when it is whole."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
