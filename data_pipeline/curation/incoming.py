"""What can be brought in: folders and files that stages wrote, the original app's `db.json`, rated generations.

What an input is, its content says; it is looked at before anything is written.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_pipeline.curation.original_app import OriginalEntry, entries_of
from data_pipeline.curation.reasons import RATED_BAD
from data_pipeline.curation.row_filter import Queue
from data_pipeline.errors import StageError
from data_pipeline.results import JOURNAL, KEPT
from data_pipeline.rows import Source, TextRow, UnsureWord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_LINE_BYTES: Final = 1_000_000
MAX_TEXT_CHARACTERS: Final = 20_000
DB_JSON: Final = "db.json"


class InputKind(StrEnum):
    """What an input is."""

    TEXT_ROWS = "text rows"
    ORIGINAL_APP = "the original app's db.json"
    RATINGS = "rated generations"


@dataclass(frozen=True, slots=True)
class Input:
    """A file to be brought in."""

    kind: InputKind
    path: Path

    @property
    def folder(self) -> Path:
        """What pictures' paths are relative to; links on the way to it are the person's own, and resolved."""
        return self.path.parent.resolve()


@dataclass(frozen=True, slots=True)
class Incoming:
    """A row on its way in."""

    key: str
    text: str
    source: Source
    kind: str = ""
    theme: str = ""
    genre: str = ""
    origin: str = ""
    image: str = ""
    """Relative to the input's folder."""
    raw_text: str = ""
    confidences: tuple[float, ...] = ()
    unsure_words: tuple[UnsureWord, ...] = ()
    source_fields: str = ""
    decided: tuple[Queue, str, str] | None = None
    """Queue, text and reason, where it was decided before it came."""

    @property
    def sha256(self) -> str:
        """Of the text: what tells a newer import from the same one."""
        parts = [self.text, self.raw_text, list(self.decided or ())]
        return hashlib.sha256(orjson.dumps(parts)).hexdigest()


@dataclass(frozen=True, slots=True)
class Refused:
    """A line or an entry that is no row."""

    reason: str
    detail: str


class RatedGeneration(BaseModel):
    """What the service's users rated, one a line. Other keys are left aside."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    id: Annotated[str, Field(min_length=1, max_length=200)]
    text: str
    model: str
    rating: Literal["good", "bad"]
    rated_at_s: float


def recognised(path: Path) -> Input:
    """What an input is.

    Raises:
        StageError: It is not there, or nothing that can be brought in; the message says what can.
    """
    if path.is_dir():
        for name, kind in ((KEPT, InputKind.TEXT_ROWS), (DB_JSON, InputKind.ORIGINAL_APP)):
            if (path / name).is_file():
                _look_at(Input(kind, path / name))
                return Input(kind, path / name)
        hint = "its stage has not finished" if (path / JOURNAL).exists() else f"it holds neither {KEPT} nor {DB_JSON}"
        raise StageError(f"{path} cannot be brought in: {hint}; {_WHAT_CAN_BE}")
    if not path.is_file():
        raise StageError(f"{path} is not there; is the path right?")
    if path.suffix == ".json":
        given = Input(InputKind.ORIGINAL_APP, path)
    else:
        fields = _first_object(path)
        given = Input(InputKind.RATINGS if "rating" in fields else InputKind.TEXT_ROWS, path)
    _look_at(given)
    return given


_WHAT_CAN_BE: Final = (
    "give a folder that ocr, synthesis, selftext, written or filters wrote, a db.json of the original app, or a "
    ".jsonl file of rated generations"
)


def _look_at(given: Input) -> None:
    """Raises StageError where the first row is none of its kind."""
    try:
        first = next(iter(read(given)), None)
    except OSError as error:
        raise StageError(f"{given.path} cannot be read ({error.strerror}): check its permissions") from error
    if isinstance(first, Refused):
        raise StageError(f"{given.path} holds no {given.kind} ({first.detail}): {_WHAT_CAN_BE}")


def _first_object(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            line = next((line for line in iter(lambda: file.readline(MAX_LINE_BYTES), b"") if line.strip()), b"{}")
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        fields = None
    except OSError as error:
        raise StageError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    return fields if isinstance(fields, dict) else {}


def read(given: Input) -> Iterator[Incoming | Refused]:
    """The rows of an input, in its order. Raises StageError where it is not what it was taken for, and OSError."""
    match given.kind:
        case InputKind.ORIGINAL_APP:
            for entry in entries_of(given.path):
                yield _of_original_app(entry) if isinstance(entry, OriginalEntry) else Refused("not_an_entry", entry)
        case InputKind.RATINGS:
            yield from _of_lines(given.path, _of_rating)
        case InputKind.TEXT_ROWS:
            yield from _of_lines(given.path, _of_text_row)


def _of_lines(path: Path, make: Any) -> Iterator[Incoming | Refused]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                    pass
                yield Refused("line_too_long", f"line {number} has more than {MAX_LINE_BYTES} bytes")
            elif line.strip():
                yield _checked(make, line, number)


def _checked(make: Any, line: bytes, number: int) -> Incoming | Refused:
    try:
        row: Incoming = make(line)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        reason = "not_json" if problem["type"] == "json_invalid" else "not_a_row"
        return Refused(reason, f"line {number}: {place}: {problem['msg']}" if place else problem["msg"])
    return _sized(row, f"line {number}")


def _sized(row: Incoming, where: str) -> Incoming | Refused:
    if not row.text.strip():
        return Refused("no_text", where)
    if max(len(row.text), len(row.raw_text)) > MAX_TEXT_CHARACTERS:
        return Refused("text_too_long", f"{where}: more than {MAX_TEXT_CHARACTERS} characters")
    return row


def _of_text_row(line: bytes) -> Incoming:
    row = TextRow.model_validate_json(line)
    return Incoming(
        key=row.id,
        text=row.text,
        source=row.source,
        kind=row.kind,
        theme=row.theme,
        genre=row.genre,
        origin=row.origin,
        image=row.image,
        raw_text=row.raw_text,
        confidences=row.line_confidences,
        unsure_words=row.unsure_words,
    )


def _of_rating(line: bytes) -> Incoming:
    rated = RatedGeneration.model_validate_json(line)
    bad = (Queue.REJECTED, rated.text, RATED_BAD)
    return Incoming(
        key=f"{Source.SYNTHETIC}:rated-{rated.id}",
        text=rated.text,
        source=Source.SYNTHETIC,
        origin=f"rated {rated.rating}: {rated.model}",
        decided=bad if rated.rating == "bad" else None,
    )


def _of_original_app(entry: OriginalEntry) -> Incoming | Refused:
    texts = [text for text in (entry.truncated, entry.unprocessed, entry.verified) if text]
    if not texts:
        return Refused("no_text", entry.key)
    return _sized(
        Incoming(
            key=f"{Source.REDDIT_OCR}:{entry.key}",
            text=texts[0],
            source=Source.REDDIT_OCR,
            origin=entry.key,
            image=entry.filename,
            raw_text=entry.unprocessed,
            source_fields=entry.fields,
            decided=(Queue.ACCEPTED, entry.verified, "") if entry.verified else None,
        ),
        entry.key,
    )
