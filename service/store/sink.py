"""What a batch of writes means to the database: a `Sink` for the writer's thread.

A batch is one transaction, and may come twice: where the connection broke off during the commit, nobody knows whether
it was made. Texts are judged by the content policy before the transaction begins, those that are shared later within
it. Several processes may change the same rows: a generation is locked before it is changed, several in the order of
their ids.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, exists, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.store.board_rules import declined, judged
from service.store.errors import StoreUnavailableError
from service.store.migrate import migrate
from service.store.reads import find_generation
from service.store.records import (
    Deletion,
    Erasure,
    GenerationRecord,
    Rating,
    RatingChange,
    SharingChange,
    Verdict,
    Write,
    WriteResult,
)
from service.store.schema import NAME_CHARACTERS, generations, ratings, sessions
from service.store.wilson import lower_bound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Table

    from service.store.database import Database

UPKEEP_ROWS: Final = 500
"""Rows that one piece of upkeep deletes: others wait no longer than that takes."""
DAY_S: Final = 86400.0
TOMBSTONE_S: Final = 30 * DAY_S
"""How long a deleted text's id is remembered, to answer that it is gone."""
MAX_SEED: Final = 2**63 - 1

DONE: Final = WriteResult(Verdict.DONE)
UNKNOWN: Final = WriteResult(Verdict.UNKNOWN)
DELETED: Final = WriteResult(Verdict.DELETED)
NOT_YOURS: Final = WriteResult(Verdict.NOT_YOURS)

_FORGOTTEN: Final[dict[str, Any]] = {
    "text": "", "prompt": None, "sampling": None, "seed": None, "session_id": None, "shared": False,
    "shared_changed_s": None, "findings": None, "on_board": False, "good": 0, "bad": 0, "score": 0.0,
}  # fmt: skip
"""What a deleted generation leaves behind."""


class DatabaseSink:
    """Saves writes into a database."""

    def __init__(self, database: Database, *, store_prompts: bool = True, retention_days: float = 0) -> None:
        """`retention_days`: how long anything is kept; 0 is for ever. Connects to nothing yet."""
        self.database = database
        self.is_ready = False
        """Whether the database has ever been reached, with the schema as it should be."""
        self._is_current = False
        """Whether nothing has happened since that could have changed it."""
        self._store_prompts = store_prompts
        self._retention_s = retention_days * DAY_S

    def write(self, batch: Sequence[Write]) -> list[WriteResult]:
        """Saves all, in order, or none. Raises StoreUnavailableError, RowRefusedError."""
        self._make_ready()
        rows = {id(write): self._row(write) for write in batch if isinstance(write, GenerationRecord)}
        results: list[WriteResult] = []
        with self._noticing(), self.database.writing() as connection:
            for kind, run in itertools.groupby(batch, type):
                writes: list[Any] = list(run)
                if kind is GenerationRecord:
                    results += _insert_generations(connection, writes, [rows[id(write)] for write in writes])
                elif kind is RatingChange:
                    results += _change_ratings(connection, writes)
                elif kind is SharingChange:
                    results += _change_sharing(connection, writes)
                elif kind is Deletion:
                    results += [_delete(connection, deletion) for deletion in writes]
                else:
                    results += [_erase(connection, erasure) for erasure in writes]
        return results

    def upkeep(self) -> bool:
        """Deletes some of what is too old; answers whether there may be more. Raises StoreUnavailableError."""
        self._make_ready()
        now_s = time.time()
        steps = [(generations, generations.c.deleted_s < now_s - TOMBSTONE_S, generations.c.deleted_s)]
        if self._retention_s:
            cutoff_s = now_s - self._retention_s
            in_use = exists().where(generations.c.session_id == sessions.c.id) | exists().where(
                ratings.c.session_id == sessions.c.id
            )
            steps += [
                (generations, generations.c.created_s < cutoff_s, generations.c.created_s),
                (sessions, (sessions.c.last_seen_s < cutoff_s) & ~in_use, sessions.c.last_seen_s),
            ]
        with self._noticing():
            full = [self._delete_some(*step) for step in steps]
        return True in full

    def close(self) -> None:
        """Closes the writer's connection."""
        self.database.close()

    def _delete_some(self, table: Table, condition: ColumnElement[bool], order: ColumnElement[Any]) -> bool:
        some = select(table.c.id).where(condition).order_by(order).limit(UPKEEP_ROWS)
        with self.database.writing() as connection:
            return connection.execute(delete(table).where(table.c.id.in_(some))).rowcount == UPKEEP_ROWS

    def _make_ready(self) -> None:
        if not self._is_current:
            judged("")  # reads its lists now, and not when there is a row to save
            migrate(self.database)
            self.is_ready = self._is_current = True

    @contextlib.contextmanager
    def _noticing(self) -> Iterator[None]:
        """Has the schema looked at again after the database was away: it may be another one that comes back."""
        try:
            yield
        except StoreUnavailableError:
            self._is_current = False
            raise

    def _row(self, record: GenerationRecord) -> dict[str, Any]:
        text, prompt = _storable(record.text), _storable(record.prompt)
        sampling = dict(record.sampling)
        if not self._store_prompts:
            sampling.pop("stop", None)
            if not record.shared:
                text = text.removeprefix(prompt)
        findings = None
        if record.shared:
            findings = judged(text)
        return {
            "id": record.id,
            "created_s": record.created_s,
            "model": _storable(record.model)[:NAME_CHARACTERS],
            "bundle_sha256": record.bundle_sha256,
            "prompt": prompt if self._store_prompts else None,
            "text": text,
            "seed": record.seed if 0 <= record.seed <= MAX_SEED else None,
            "sampling": sampling,
            "finish_reason": record.finish_reason,
            "prompt_tokens": record.prompt_tokens,
            "completion_tokens": record.completion_tokens,
            "queue_s": record.queue_s,
            "prefill_s": record.prefill_s,
            "decode_s": record.decode_s,
            "total_s": record.total_s,
            "session_id": record.session_id,
            "shared": record.shared,
            "findings": findings,
            "on_board": findings is not None and not declined(text, findings),
        }


def _storable(text: str) -> str:
    """Without what PostgreSQL's text cannot hold: NUL characters, and halves of surrogate pairs."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def _see_sessions(connection: Connection, seen_s: dict[str, float]) -> None:
    """Makes sessions that are new, and notes when the others were seen last."""
    if not seen_s:
        return
    rows = [{"id": i, "created_s": at_s, "last_seen_s": at_s} for i, at_s in sorted(seen_s.items())]
    if connection.dialect.name == "sqlite":
        lite = sqlite.insert(sessions)
        later = lite.excluded.last_seen_s
        connection.execute(
            lite.on_conflict_do_update(
                index_elements=["id"], set_={"last_seen_s": later}, where=sessions.c.last_seen_s < later
            ),
            rows,
        )
    else:
        pg = postgresql.insert(sessions)
        later = pg.excluded.last_seen_s
        connection.execute(
            pg.on_conflict_do_update(
                index_elements=["id"], set_={"last_seen_s": later}, where=sessions.c.last_seen_s < later
            ),
            rows,
        )


def _insert_generations(
    connection: Connection, records: Sequence[GenerationRecord], rows: list[dict[str, Any]]
) -> list[WriteResult]:
    seen_s: dict[str, float] = {}
    for record in records:
        if record.session_id is not None:
            seen_s[record.session_id] = max(record.created_s, seen_s.get(record.session_id, 0.0))
    _see_sessions(connection, seen_s)
    # What is there already was saved by an attempt whose end nobody saw.
    if connection.dialect.name == "sqlite":
        connection.execute(sqlite.insert(generations).on_conflict_do_nothing(index_elements=["id"]), rows)
    else:
        connection.execute(postgresql.insert(generations).on_conflict_do_nothing(index_elements=["id"]), rows)
    return [DONE] * len(records)


def _locked(connection: Connection, ids: set[str]) -> dict[str, Any]:
    """Generations that nobody else changes until the transaction ends."""
    found = connection.execute(
        select(
            generations.c.id, generations.c.session_id, generations.c.deleted_s, generations.c.good, generations.c.bad
        )
        .where(generations.c.id.in_(sorted(ids)))
        .order_by(generations.c.id)
        .with_for_update()
    )
    return {row.id: row for row in found}


def _change_ratings(connection: Connection, changes: Sequence[RatingChange]) -> list[WriteResult]:
    found = _locked(connection, {change.generation_id for change in changes})
    counts = {row.id: (row.good, row.bad) for row in found.values() if row.deleted_s is None}
    seen_s: dict[str, float] = {}
    for change in changes:
        if change.generation_id in counts:
            seen_s[change.session_id] = max(change.at_s, seen_s.get(change.session_id, 0.0))
    _see_sessions(connection, seen_s)
    results = []
    for change in changes:
        if change.generation_id not in found:
            results.append(UNKNOWN)
        elif change.generation_id not in counts:
            results.append(DELETED)
        else:
            good, bad = _change_rating(connection, change, *counts[change.generation_id])
            counts[change.generation_id] = (good, bad)
            results.append(WriteResult(Verdict.DONE, good, bad))
    for generation_id, (good, bad) in counts.items():
        _set_counts(connection, generation_id, good, bad)
    return results


def _change_rating(connection: Connection, change: RatingChange, good: int, bad: int) -> tuple[int, int]:
    """Changes one rating, and answers how many there are of each since."""
    key = (ratings.c.generation_id == change.generation_id) & (ratings.c.session_id == change.session_id)
    before = connection.execute(select(ratings.c.rating, ratings.c.updated_s).where(key)).one_or_none()
    if before is not None and before.updated_s > change.at_s:
        return good, bad  # overtaken by a later one, from another process
    if before is not None:
        good, bad = good - (before.rating == Rating.GOOD), bad - (before.rating == Rating.BAD)
    if change.rating is None:
        connection.execute(delete(ratings).where(key))
        return good, bad
    value = change.rating.value
    if before is not None:
        connection.execute(update(ratings).where(key).values(rating=value, updated_s=change.at_s))
    else:
        connection.execute(
            insert(ratings).values(
                generation_id=change.generation_id,
                session_id=change.session_id,
                rating=value,
                created_s=change.at_s,
                updated_s=change.at_s,
            )
        )
    return good + (change.rating is Rating.GOOD), bad + (change.rating is Rating.BAD)


def _set_counts(connection: Connection, generation_id: str, good: int, bad: int) -> None:
    connection.execute(
        update(generations)
        .where(generations.c.id == generation_id)
        .values(good=good, bad=bad, score=lower_bound(good, bad))
    )


def _refused(row: Any, session_id: str) -> WriteResult | None:
    """Why a session may not change a generation as its own; None if it may."""
    if row is None:
        return UNKNOWN
    if row.deleted_s is not None:
        return DELETED
    return None if row.session_id == session_id else NOT_YOURS


def _change_sharing(connection: Connection, changes: Sequence[SharingChange]) -> list[WriteResult]:
    found = _locked(connection, {change.generation_id for change in changes})
    results = []
    for change in changes:
        refused = _refused(found.get(change.generation_id), change.session_id)
        if refused is None:
            _share(connection, change)
        results.append(refused or _done(connection, change))
    return results


def _share(connection: Connection, change: SharingChange) -> None:
    own = generations.c.id == change.generation_id
    before = connection.execute(select(generations.c.text, generations.c.shared_changed_s).where(own)).one()
    if before.shared_changed_s is not None and before.shared_changed_s > change.at_s:
        return  # overtaken by a later one, from another process
    values: dict[str, Any] = {"shared": change.shared, "shared_changed_s": change.at_s, "on_board": False}
    if change.shared:
        findings = judged(before.text)
        values |= {"findings": findings, "on_board": not declined(before.text, findings)}
    connection.execute(update(generations).where(own).values(**values))


def _done(connection: Connection, change: SharingChange) -> WriteResult:
    return WriteResult(Verdict.DONE, generation=find_generation(connection, change.generation_id, change.session_id))


def _delete(connection: Connection, deletion: Deletion) -> WriteResult:
    row = _locked(connection, {deletion.generation_id}).get(deletion.generation_id)
    if refused := _refused(row, deletion.session_id):
        return refused
    connection.execute(delete(ratings).where(ratings.c.generation_id == deletion.generation_id))
    connection.execute(
        update(generations)
        .where(generations.c.id == deletion.generation_id)
        .values(deleted_s=deletion.at_s, **_FORGOTTEN)
    )
    return DONE


def _erase(connection: Connection, erasure: Erasure) -> WriteResult:
    session_id = erasure.session_id
    # Whoever saves something of this session locks it too: nothing comes in between.
    connection.execute(select(sessions.c.id).where(sessions.c.id == session_id).with_for_update())
    own = select(generations.c.id).where(generations.c.session_id == session_id)
    connection.execute(own.order_by(generations.c.id).with_for_update())
    connection.execute(delete(ratings).where(ratings.c.generation_id.in_(own)))
    connection.execute(
        update(generations).where(generations.c.session_id == session_id).values(deleted_s=erasure.at_s, **_FORGOTTEN)
    )
    theirs = select(ratings.c.generation_id).where(ratings.c.session_id == session_id)
    rated = connection.scalars(theirs.order_by(ratings.c.generation_id)).all()
    for first in range(0, len(rated), UPKEEP_ROWS):
        _withdraw_ratings(connection, rated[first : first + UPKEEP_ROWS], session_id)
    connection.execute(delete(sessions).where(sessions.c.id == session_id))
    return DONE


def _withdraw_ratings(connection: Connection, generation_ids: Sequence[str], session_id: str) -> None:
    counts = {row.id: (row.good, row.bad) for row in _locked(connection, set(generation_ids)).values()}
    given = connection.execute(
        delete(ratings)
        .where(ratings.c.session_id == session_id, ratings.c.generation_id.in_(generation_ids))
        .returning(ratings.c.generation_id, ratings.c.rating)
    )
    for row in given.all():
        good, bad = counts[row.generation_id]
        _set_counts(connection, row.generation_id, good - (row.rating == Rating.GOOD), bad - (row.rating == Rating.BAD))
