"""A row's state, and how it changes: an entry in `versions`, and what lists show, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from data_pipeline.curation.judging import aligned_confidences, judge
from data_pipeline.curation.row_filter import Queue

if TYPE_CHECKING:
    import sqlite3

    from data_pipeline.curation.judging import Judgement

IMPORT: Final = "import"
"""Who brought a row in; nobody may sign in under this name."""


@dataclass(frozen=True, slots=True)
class State:
    """What a decision can change, all of it."""

    text: str
    queue: Queue
    genre: str = ""
    genre_given: bool = False
    """By a person. Otherwise the genre is what the text's ending says, and follows it."""
    reason: str = ""
    note: str = ""


def state_of(record: sqlite3.Row) -> State:
    """The state in an entry of `versions`, or in a row joined to its text."""
    return State(
        text=record["text"],
        queue=Queue(record["queue"]),
        genre=record["genre"],
        genre_given=bool(record["genre_given"]),
        reason=record["reason"],
        note=record["note"],
    )


def append_version(
    connection: sqlite3.Connection,
    row_id: int,
    version: int,
    state: State,
    *,
    person: str,
    action: str,
    at_s: float,
    undoes: int | None = None,
) -> int:
    """Writes down a version; answers its id."""
    cursor = connection.execute(
        "INSERT INTO versions (row_id, version, at_s, person, action, text, queue, genre, genre_given, reason, note, "
        "undoes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row_id, version, at_s, person, action, state.text, str(state.queue), state.genre, state.genre_given,
            state.reason, state.note, undoes,
        ),
    )  # fmt: skip
    assert cursor.lastrowid is not None  # noqa: S101 - for the type checker
    return cursor.lastrowid


def change(
    connection: sqlite3.Connection,
    row_id: int,
    state: State,
    *,
    person: str,
    action: str,
    at_s: float,
    undoes: int | None = None,
    touched: bool = True,
) -> int:
    """Gives a row a new state and a new version; answers the id of its entry in `versions`."""
    judgement = judge(state.text)
    if not state.genre_given:
        state = State(state.text, state.queue, judgement.genre, False, state.reason, state.note)
    known = connection.execute(
        "SELECT r.version, t.imported_text, t.imported_confidences FROM rows r JOIN row_texts t ON t.row_id = r.id "
        "WHERE r.id = ?",
        (row_id,),
    ).fetchone()
    version = known["version"] + 1
    confidences = aligned_confidences(known["imported_text"], orjson.loads(known["imported_confidences"]), state.text)
    connection.execute(
        "UPDATE rows SET queue = ?, genre = ?, genre_given = ?, reason = ?, note = ?, version = ?, state_version = ?, "
        "touched = max(touched, ?), changed_at_s = ?, excerpt = ?, lines = ?, confidence = ?, warnings = ?, "
        "problems = ? WHERE id = ?",
        (
            str(state.queue), state.genre, state.genre_given, state.reason, state.note, version, version, touched, at_s,
            *summary_values(judgement, confidences), row_id,
        ),
    )  # fmt: skip
    connection.execute(
        "UPDATE row_texts SET text = ?, line_confidences = ?, warning_details = ?, unknown_words = ?, "
        "problem_details = ? WHERE row_id = ?",
        (state.text, spelled(confidences), *detail_values(judgement), row_id),
    )
    connection.execute("UPDATE row_search SET folded = ? WHERE row_id = ?", (state.text.casefold(), row_id))
    return append_version(connection, row_id, version, state, person=person, action=action, at_s=at_s, undoes=undoes)


def summary_values(judgement: Judgement, confidences: list[float]) -> tuple[Any, ...]:
    """What `rows` keeps of a text: excerpt, lines, confidence, warnings, problems."""
    return (
        judgement.excerpt,
        judgement.lines,
        min(confidences, default=None),
        spelled(judgement.warnings),
        len(judgement.problem_details),
    )


def detail_values(judgement: Judgement) -> tuple[str, str, str]:
    """What `row_texts` keeps of a text: warning details, unknown words, problem details."""
    return spelled(judgement.warning_details), spelled(judgement.unknown_words), spelled(judgement.problem_details)


def spelled(value: Any) -> str:
    """As JSON."""
    return orjson.dumps(value).decode()
