"""A row as an open desk shows it, and its history."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from data_pipeline.curation.errors import NoSuchRowError
from data_pipeline.curation.judging import standing_words
from data_pipeline.curation.listing import SUMMARY_COLUMNS, summary_of

if TYPE_CHECKING:
    import sqlite3

MAX_ID: Final = 2**63 - 1


def row_id_of(spelled: str | int) -> int:
    """A row's number from what a URL or a body says. Raises NoSuchRowError for what cannot be one."""
    text = str(spelled)
    if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_ID:
        return int(text)
    raise NoSuchRowError


def require_row(connection: sqlite3.Connection, row_id: int) -> None:
    """Raises NoSuchRowError where there is none."""
    if connection.execute("SELECT 1 FROM rows WHERE id = ?", (row_id,)).fetchone() is None:
        raise NoSuchRowError


def row_json(connection: sqlite3.Connection, row_id: int, person: str) -> dict[str, Any]:
    """A `Row` of the contract, as a person sees it. Raises NoSuchRowError."""
    record = connection.execute(
        f"SELECT {SUMMARY_COLUMNS}, r.key, r.kind, r.origin, r.reason, r.note, t.text, t.imported_text, t.raw_text, "  # noqa: S608
        "t.line_confidences, t.imported_unsure_words, t.warning_details, t.unknown_words, t.problem_details "
        "FROM rows r JOIN row_texts t ON t.row_id = r.id WHERE r.id = :row_id",
        {"row_id": row_id, "person": person, "now_s": time.time()},
    ).fetchone()
    if record is None:
        raise NoSuchRowError
    draft = connection.execute(
        "SELECT text, saved_at_s, version FROM drafts WHERE row_id = ? AND person = ?", (row_id, person)
    ).fetchone()
    return {
        **summary_of(record),
        "key": record["key"],
        "text": record["text"],
        "imported_text": record["imported_text"],
        "raw_text": record["raw_text"],
        "line_confidences": orjson.loads(record["line_confidences"]),
        "words": standing_words(record["imported_text"], orjson.loads(record["imported_unsure_words"]), record["text"]),
        "kind": record["kind"],
        "origin": record["origin"],
        "reason": record["reason"],
        "note": record["note"],
        "draft": dict(draft) if draft else None,
        "warning_details": orjson.loads(record["warning_details"]),
        "unknown_words": orjson.loads(record["unknown_words"]),
        "problem_details": orjson.loads(record["problem_details"]),
        "undo_depth": undo_depth(connection, person),
    }


def undo_depth(connection: sqlite3.Connection, person: str) -> int:
    """How many decisions a person can take back."""
    depth: int = connection.execute("SELECT count(*) FROM undo_steps WHERE person = ?", (person,)).fetchone()[0]
    return depth


def history_json(connection: sqlite3.Connection, row_id: int, person: str) -> dict[str, Any]:
    """All versions of a row, the newest first, and the person's drafts that were set aside. Raises NoSuchRowError."""
    versions = connection.execute(
        "SELECT version, at_s, person, action, text, queue, reason, note, genre FROM versions "
        "WHERE row_id = ? ORDER BY version DESC",
        (row_id,),
    ).fetchall()
    if not versions:
        raise NoSuchRowError
    aside = connection.execute(
        "SELECT text, version, saved_at_s FROM drafts_set_aside WHERE row_id = ? AND person = ? ORDER BY id DESC",
        (row_id, person),
    ).fetchall()
    return {"versions": [dict(version) for version in versions], "set_aside": [dict(draft) for draft in aside]}
