"""Accept, reject, skip, reopen, save, and taking any of them back.

A decision names the version that its person saw. If the row has changed since, it is refused as a conflict, and what
was sent is kept as the person's draft, so that neither text is lost. A request that comes twice is answered twice and
done once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import orjson

from data_pipeline.curation import drafts, leases
from data_pipeline.curation.errors import (
    BadRequestError,
    ConflictError,
    CurationError,
    NoSuchRowError,
    NothingToUndoError,
)
from data_pipeline.curation.judging import canonical, judge, problems_of
from data_pipeline.curation.reasons import REASONS
from data_pipeline.curation.row_filter import Queue
from data_pipeline.curation.rows import row_json, undo_depth
from data_pipeline.curation.states import IMPORT, State, change, spelled, state_of
from greentext.genres import Genre

if TYPE_CHECKING:
    import sqlite3

    from data_pipeline.curation.database import Database

ANSWERS_KEPT_S: Final = 3 * 24 * 3600.0
"""A page that was offline longer sends its decisions into conflicts, which lose nothing either."""


class Action(StrEnum):
    """What can be decided."""

    ACCEPT = "accept"
    REJECT = "reject"
    SKIP = "skip"
    REOPEN = "reopen"
    SAVE = "save"


_LEADS_TO: Final = {
    Action.ACCEPT: Queue.ACCEPTED,
    Action.REJECT: Queue.REJECTED,
    Action.SKIP: Queue.SKIPPED,
    Action.REOPEN: Queue.TODO,
}


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided about a row, having seen a version of it."""

    action: Action
    text: str
    version: int
    tab: str
    request_id: str
    genre: str | None = None
    """None leaves it as it is; empty lets it follow the text."""
    reason: str = ""
    note: str = ""


def decide(database: Database, row_id: int, person: str, decision: Decision) -> dict[str, Any]:
    """Does it, and answers `{row, undo_depth}`.

    Raises:
        BadRequestError: A reason is missing, a genre unknown, or a text to be accepted is no greentext.
        ConflictError: The row has changed since; the text is the person's draft now.
        NoSuchRowError: There is no such row.
        StoreBusyError: The database cannot be written.
    """
    _check(decision)
    judge(decision.text)  # remembered, so that nobody waits for it within the transaction
    with database.writing() as connection:
        answered = _answered(connection, person, decision.request_id)
        if answered is not None:
            return answered
        outcome = _decided(connection, row_id, person, decision)
        if not isinstance(outcome, CurationError):
            _remember(connection, person, decision.request_id, outcome)
            return outcome
    raise outcome  # behind the transaction, which has kept the draft


def _check(decision: Decision) -> None:
    if decision.genre is not None and decision.genre not in ("", *Genre):
        raise BadRequestError(f"genre must be {', '.join(Genre)}, or empty.")
    if decision.action is Action.REJECT and decision.reason not in REASONS:
        raise BadRequestError(f"reason must be one of {', '.join(REASONS)}.")
    if decision.action is Action.ACCEPT:
        _refuse_problems(decision.text)


def _refuse_problems(text: str) -> None:
    problems = problems_of(text)
    if problems:
        lines = ", ".join(str(problem["line"]) for problem in problems[:5])
        raise BadRequestError(f"This is no greentext yet: mend line {lines} and accept again.", problems=problems)


def _decided(
    connection: sqlite3.Connection, row_id: int, person: str, decision: Decision
) -> dict[str, Any] | CurationError:
    record = _state_record(connection, row_id)
    if not record["state_version"] <= decision.version <= record["version"]:
        drafts.save(
            connection,
            row_id,
            person,
            decision.tab,
            text=decision.text,
            version=min(decision.version, record["version"]),
        )
        return _conflict(connection, row_id, person, decision)
    before = state_of(record)
    after = _state_after(before, decision)
    at_s = time.time()
    version_id = change(connection, row_id, after, person=person, action=decision.action, at_s=at_s)
    connection.execute("INSERT INTO undo_steps (version_id, person) VALUES (?, ?)", (version_id, person))
    drafts.remove(connection, row_id, person, decided_text=decision.text)
    if decision.action not in (Action.SAVE, Action.REOPEN):
        leases.release(connection, row_id, person)
    return {"row": row_json(connection, row_id, person), "undo_depth": undo_depth(connection, person)}


def _state_after(before: State, decision: Decision) -> State:
    queue = _LEADS_TO.get(decision.action, before.queue)
    text = decision.text
    if queue is Queue.ACCEPTED:
        _refuse_problems(text)
        text = canonical(text)
    genre, given = before.genre, before.genre_given
    if decision.genre is not None:
        genre, given = decision.genre, bool(decision.genre)
    saves = decision.action is Action.SAVE
    reason = ""
    if queue is Queue.REJECTED:
        reason = decision.reason if decision.reason in REASONS else before.reason
    note = decision.note or before.note if saves else decision.note
    return State(text, queue, genre, given, reason, note)


def _conflict(connection: sqlite3.Connection, row_id: int, person: str, decision: Decision) -> ConflictError:
    newest = connection.execute(
        "SELECT person FROM versions WHERE row_id = ? AND action <> 'newer_import' ORDER BY version DESC LIMIT 1",
        (row_id,),
    ).fetchone()
    who = {person: "You", IMPORT: "A newer import"}.get(newest["person"], newest["person"])
    yours = {
        "action": str(decision.action),
        "text": decision.text,
        "version": decision.version,
        "genre": decision.genre,
        "reason": decision.reason,
        "note": decision.note,
    }
    return ConflictError(
        f"{who} changed this row since you opened it: choose which text stays. Yours is kept as a draft.",
        row=row_json(connection, row_id, person),
        yours=yours,
    )


def undo(database: Database, person: str, request_id: str, *, skip: bool = False) -> dict[str, Any]:
    """Takes back a person's newest decision not yet taken back; answers `{row, undone, undo_depth}`.

    With `skip`, a decision that cannot be taken back, because others changed the row since, is left out for good, and
    the one before it is taken back.

    Raises:
        NothingToUndoError: No decision is left.
        ConflictError: Somebody else changed the row since.
        StoreBusyError: The database cannot be written.
    """
    with database.writing() as connection:
        answered = _answered(connection, person, request_id)
        if answered is not None:
            return answered
        outcome = _undone(connection, person, skip=skip)
        if not isinstance(outcome, CurationError):
            _remember(connection, person, request_id, outcome)
            return outcome
    raise outcome  # behind the transaction, which has kept what was left out


def _undone(connection: sqlite3.Connection, person: str, *, skip: bool) -> dict[str, Any] | CurationError:
    decided = _newest_step(connection, person)
    if decided is not None and skip and _changed_since(connection, decided):
        connection.execute("DELETE FROM undo_steps WHERE version_id = ?", (decided["id"],))
        decided = _newest_step(connection, person)
    if decided is None:
        return NothingToUndoError("There is no decision of yours left to take back.")
    row_id = decided["row_id"]
    if _changed_since(connection, decided):
        return ConflictError(
            "Somebody else changed this row since: look at it, and leave this step out to go further back.",
            row=row_json(connection, row_id, person),
            undone={"action": decided["action"], "row_id": str(row_id), "at_s": decided["at_s"]},
        )
    before = connection.execute(
        "SELECT * FROM versions WHERE row_id = ? AND version < ? AND action <> 'newer_import' "
        "ORDER BY version DESC LIMIT 1",
        (row_id, decided["version"]),
    ).fetchone()
    connection.execute("DELETE FROM undo_steps WHERE version_id = ?", (decided["id"],))
    change(connection, row_id, state_of(before), person=person, action="undo", at_s=time.time(), undoes=decided["id"])
    return {
        "row": row_json(connection, row_id, person),
        "undone": {"action": decided["action"], "row_id": str(row_id), "at_s": decided["at_s"]},
        "undo_depth": undo_depth(connection, person),
    }


def _newest_step(connection: sqlite3.Connection, person: str) -> sqlite3.Row | None:
    step: sqlite3.Row | None = connection.execute(
        "SELECT v.* FROM undo_steps s JOIN versions v ON v.id = s.version_id WHERE s.person = ? "
        "ORDER BY s.version_id DESC LIMIT 1",
        (person,),
    ).fetchone()
    return step


def _changed_since(connection: sqlite3.Connection, decided: sqlite3.Row) -> bool:
    """Whether a later version still counts: one that neither takes back another nor was taken back itself."""
    later = connection.execute(
        "SELECT 1 FROM versions v WHERE v.row_id = ? AND v.version > ? AND v.action <> 'newer_import' "
        "AND v.undoes IS NULL AND NOT EXISTS (SELECT 1 FROM versions u WHERE u.undoes = v.id) LIMIT 1",
        (decided["row_id"], decided["version"]),
    ).fetchone()
    return later is not None


def _state_record(connection: sqlite3.Connection, row_id: int) -> sqlite3.Row:
    record: sqlite3.Row | None = connection.execute(
        "SELECT r.queue, r.genre, r.genre_given, r.reason, r.note, r.version, r.state_version, t.text "
        "FROM rows r JOIN row_texts t ON t.row_id = r.id WHERE r.id = ?",
        (row_id,),
    ).fetchone()
    if record is None:
        raise NoSuchRowError
    return record


def _answered(connection: sqlite3.Connection, person: str, request_id: str) -> dict[str, Any] | None:
    known = connection.execute(
        "SELECT answer FROM answers WHERE person = ? AND request_id = ?", (person, request_id)
    ).fetchone()
    if known is None:
        return None
    answer: dict[str, Any] = orjson.loads(known["answer"])
    return answer


def _remember(connection: sqlite3.Connection, person: str, request_id: str, answer: dict[str, Any]) -> None:
    now_s = time.time()
    connection.execute("DELETE FROM answers WHERE at_s < ?", (now_s - ANSWERS_KEPT_S,))
    connection.execute(
        "INSERT INTO answers (person, request_id, at_s, answer) VALUES (?, ?, ?, ?)",
        (person, request_id, now_s, spelled(answer)),
    )
