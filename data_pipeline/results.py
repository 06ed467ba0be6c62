"""What a finished stage left behind, and how the next one reads it. Knows nothing of how a stage gets there."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson
from pydantic import ConfigDict, TypeAdapter, ValidationError

from data_pipeline.errors import StageError
from data_pipeline.rows import Row

KEPT: Final = "kept.jsonl"
SUMMARY: Final = "summary.json"
JOURNAL: Final = "journal.jsonl"

R = TypeVar("R", bound=Row)


def by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The largest first, equal ones by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


@dataclass(frozen=True, slots=True)
class Summary:
    """What a finished stage did."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    stage: str
    folder: Path
    made_from: Mapping[str, Any]
    items: int
    """What the stage took as one: a record, a picture, or a block of a large file."""
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
        rows = [("kept", self.kept), *((f"dropped: {name}", count) for name, count in by_count(self.dropped))]
        rows += [(f"counted: {name}", count) for name, count in by_count(self.counted)]
        width = max(len(name) for name, _ in rows)
        head = f"{self.stage}: {self.seconds:,.1f} s → {self.folder}"
        return "\n".join([head, *(f"  {name:<{width}}  {count:>9,}" for name, count in rows)])


_SUMMARY: Final = TypeAdapter(Summary)


def read_summary(folder: Path) -> Summary | None:
    """The summary of a finished stage; None where none has finished.

    Raises:
        StageError: There is one, but it is not what `StageRun` writes.
    """
    path = folder / SUMMARY
    try:
        record = orjson.loads(path.read_bytes())
        return _SUMMARY.validate_python({**record, "folder": folder})
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
        raise _missing(path) from error
    with file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield kind.model_validate_json(line)
            except ValidationError as error:
                problem = error.errors(include_url=False, include_input=False)[0]
                place = ".".join(map(str, problem["loc"]))
                what = f"{place}: {problem['msg']}" if place else problem["msg"]
                raise StageError(
                    f"{path}, line {number}, is no {kind.__name__} ({what}): is it what the right stage wrote?"
                ) from error


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
    except FileNotFoundError as error:
        raise _missing(path) from error
    except OSError as error:
        raise StageError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


def _missing(path: Path) -> StageError:
    unfinished = (path.parent / JOURNAL).exists()
    hint = "its stage has not finished: run it again first" if unfinished else "is the path right?"
    return StageError(f"{path} is not there; {hint}")
