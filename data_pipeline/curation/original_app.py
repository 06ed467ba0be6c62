"""The original curation app's `db.json`: entries by the picture's file name, with what OCR read and what was verified.

    {"<name>": {"filename": …, "unprocessed": what OCR read, "truncated": the greentext in it, "verified": accepted}}

What is written back keeps the order and every other key of what was read; without a change, every byte.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from data_pipeline.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXTS: Final = ("unprocessed", "truncated", "verified")


@dataclass(frozen=True, slots=True)
class OriginalEntry:
    """One picture and its texts; those that are not there are empty."""

    key: str
    filename: str
    unprocessed: str
    truncated: str
    verified: str
    fields: str
    """The whole entry with its key, as JSON: `[key, {…}]`."""


def entries_of(path: Path) -> Iterator[OriginalEntry | str]:
    """The entries in their order; of what is none, a sentence that says so.

    Raises:
        StageError: The file is no JSON object.
        OSError: It cannot be read.
    """
    try:
        content = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise StageError(f"{path} is not JSON ({error}): is it the original app's db.json?") from error
    if not isinstance(content, dict):
        raise StageError(f"{path} is no JSON object: is it the original app's db.json?")
    for key, fields in content.items():
        yield _entry(key, fields)


def _entry(key: str, fields: Any) -> OriginalEntry | str:
    if not isinstance(fields, dict) or not any(name in fields for name in (*TEXTS, "filename")):
        return f"{key!r} is no entry with filename, {', '.join(TEXTS)}"
    if wrong := [name for name in (*TEXTS, "filename") if not isinstance(fields.get(name) or "", str)]:
        return f"{key!r}: {wrong[0]} is no text"
    filename, unprocessed, truncated, verified = (fields.get(name) or "" for name in ("filename", *TEXTS))
    return OriginalEntry(key, filename or key, unprocessed, truncated, verified, orjson.dumps([key, fields]).decode())


def written_entry(source_fields: str, *, accepted_text: str | None) -> tuple[str, dict[str, Any]]:
    """An entry as it goes back: `verified` is there for accepted texts only."""
    key, fields = orjson.loads(source_fields)
    if accepted_text is not None:
        fields["verified"] = accepted_text
    elif fields.get("verified"):
        del fields["verified"]
    return key, fields


def spelled(entries: dict[str, dict[str, Any]]) -> bytes:
    """The file, as the original app spells it."""
    return json.dumps(entries, indent=2, ensure_ascii=False).encode()
