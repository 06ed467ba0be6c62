"""The questions that are asked of the database: one generation, and a page of the board."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select, tuple_

from service.store.board_rules import declined
from service.store.cursor import Cursor
from service.store.records import BoardOrder, BoardPage, Rating, StoredGeneration
from service.store.schema import generations, ratings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection, Select

_SHOWN = (
    generations.c.id, generations.c.text, generations.c.model, generations.c.bundle_sha256, generations.c.created_s,
    generations.c.finish_reason, generations.c.prompt, generations.c.seed, generations.c.sampling, generations.c.good,
    generations.c.bad, generations.c.shared, generations.c.on_board, generations.c.findings, generations.c.deleted_s,
    generations.c.session_id, generations.c.score,
)  # fmt: skip

_KEYS: dict[BoardOrder, tuple[ColumnElement[Any], ...]] = {
    BoardOrder.RECENT: (generations.c.created_s, generations.c.id),
    BoardOrder.BEST: (generations.c.score, generations.c.created_s, generations.c.id),
}


def find_generation(connection: Connection, generation_id: str, session_id: str | None) -> StoredGeneration | None:
    """A generation, as a session sees it; None if it was never saved, or is forgotten."""
    row = connection.execute(select(*_SHOWN).where(generations.c.id == generation_id)).one_or_none()
    return None if row is None else _shown([row], _ratings_of(connection, [row], session_id), session_id)[0]


def board_page(
    connection: Connection, order: BoardOrder, limit: int, after: Cursor | None, session_id: str | None
) -> BoardPage:
    """Up to `limit` entries, and where to go on. The best are those that somebody rated as good."""
    rows = connection.execute(board_query(order, limit + 1, after)).all()
    page, following = rows[:limit], rows[limit:]
    shown = _shown(page, _ratings_of(connection, page, session_id), session_id)
    cursor = None
    if following:
        last = page[-1]
        keys = (last.created_s,) if order is BoardOrder.RECENT else (last.score, last.created_s)
        cursor = Cursor(order, keys, last.id).encode()
    return BoardPage(tuple(shown), cursor)


def board_query(order: BoardOrder, limit: int, after: Cursor | None) -> Select[Any]:
    """Reads one range of one index, from where the page before ended: as quick on the last page as on the first."""
    keys = _KEYS[order]
    query = select(*_SHOWN).where(generations.c.on_board)
    if order is BoardOrder.BEST:
        query = query.where(generations.c.score > 0)
    if after is not None:
        query = query.where(tuple_(*keys) < tuple_(*after.keys, after.generation_id))
    return query.order_by(*(key.desc() for key in keys)).limit(limit)


def _ratings_of(connection: Connection, rows: Sequence[Any], session_id: str | None) -> dict[str, Rating]:
    if session_id is None or not rows:
        return {}
    found = connection.execute(
        select(ratings.c.generation_id, ratings.c.rating).where(
            ratings.c.session_id == session_id, ratings.c.generation_id.in_([row.id for row in rows])
        )
    )
    return {row.generation_id: Rating(row.rating) for row in found}


def _shown(rows: Sequence[Any], rated: dict[str, Rating], session_id: str | None) -> list[StoredGeneration]:
    return [
        StoredGeneration(
            id=row.id,
            text=row.text,
            model=row.model,
            bundle_sha256=row.bundle_sha256,
            created_s=row.created_s,
            finish_reason=row.finish_reason,
            prompt=row.prompt,
            seed=row.seed,
            sampling=row.sampling,
            good=row.good,
            bad=row.bad,
            shared=row.shared,
            on_board=row.on_board,
            declined=declined(row.text, row.findings or ()) if row.shared and not row.on_board else (),
            deleted=row.deleted_s is not None,
            mine=session_id is not None and row.session_id == session_id,
            your_rating=rated.get(row.id),
        )
        for row in rows
    ]
