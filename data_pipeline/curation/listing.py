"""Rows as lists show them: pages, and a row's neighbours.

Pages begin behind a row's place in the order rather than at a count of rows, so that what others decide meanwhile
neither repeats a row nor leaves one out.
"""

from __future__ import annotations

import base64
import binascii
import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from data_pipeline.curation.errors import BadRequestError, NoSuchRowError
from data_pipeline.curation.row_filter import Order, Queue

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from data_pipeline.curation.row_filter import RowFilter

MAX_LIMIT: Final = 200


_KEYS: Final = {
    Order.IMPORTED: "r.id",
    Order.CONFIDENCE: "coalesce(r.confidence, 2.0)",
    Order.CHANGED: "r.changed_at_s",
}


SUMMARY_COLUMNS: Final = """
    r.id, r.queue, r.excerpt, r.lines, r.source, r.genre, r.theme, r.confidence, r.warnings, r.problems,
    r.version, r.changed_at_s, r.image,
    (SELECT l.person FROM leases l WHERE l.row_id = r.id AND l.until_s > :now_s) AS held_by,
    EXISTS (SELECT 1 FROM drafts d WHERE d.row_id = r.id AND d.person = :person) AS has_draft
"""


def summary_of(record: sqlite3.Row) -> dict[str, Any]:
    """A `Summary` of the contract, from a record with `SUMMARY_COLUMNS`."""
    return {
        "id": str(record["id"]),
        "queue": record["queue"],
        "excerpt": record["excerpt"],
        "lines": record["lines"],
        "source": record["source"],
        "genre": record["genre"],
        "theme": record["theme"],
        "confidence": record["confidence"],
        "warnings": orjson.loads(record["warnings"]),
        "problems": record["problems"],
        "version": record["version"],
        "changed_at_s": record["changed_at_s"],
        "held_by": record["held_by"],
        "has_image": bool(record["image"]),
        "has_draft": bool(record["has_draft"]),
    }


def page(
    connection: sqlite3.Connection, wanted: RowFilter, person: str, *, limit: int, after: str | None
) -> dict[str, Any]:
    """One page of a list: `{rows, next, total}`.

    Raises:
        BadRequestError: The cursor is none of ours, or of another order.
    """
    conditions, parameters = wanted.where()
    total: int = connection.execute(
        f"SELECT count(*) FROM rows r WHERE {_all_of(conditions)}",  # noqa: S608 - conditions are ours
        parameters,
    ).fetchone()[0]
    if not total:
        return {"rows": [], "next": None, "total": 0}  # without a second search
    if after:
        behind, values = _behind(wanted.order, *_place_of_cursor(after, wanted.order))
        conditions, parameters = [*conditions, behind], [*parameters, *values]
    found = _select(connection, wanted.order, conditions, parameters, person=person, limit=limit + 1)
    shown = found[:limit]
    following = None
    if len(found) > limit:
        following = _cursor(wanted.order, shown[-1]["place"], shown[-1]["id"])
    return {"rows": [summary_of(record) for record in shown], "next": following, "total": total}


def neighbour(
    connection: sqlite3.Connection,
    wanted: RowFilter,
    person: str,
    tab: str,
    *,
    beside: int | None,
    backwards: bool = False,
    now_s: float | None = None,
) -> int | None:
    """The id of the row next to one in a filter's order that nobody else holds, or None.

    Forwards among what is to do, the end leads to the beginning: a row left out on the way is not forgotten. Rows open
    in another tab of the same person come only when there is nothing else.

    Raises:
        NoSuchRowError: There is no row `beside`.
    """
    now_s = time.time() if now_s is None else now_s
    conditions, parameters = wanted.where()
    of_others = "SELECT row_id FROM leases WHERE until_s > ? AND person <> ?"
    of_tabs = "SELECT row_id FROM leases WHERE until_s > ? AND person = ? AND tab <> ?"
    free = (f"r.id NOT IN ({of_others})", [now_s, person])
    undisturbed = (f"r.id NOT IN ({of_tabs})", [now_s, person, tab])
    ranges: list[tuple[list[str], list[Any]]] = [([], [])]
    if beside is not None:
        behind, values = _behind(wanted.order, place_of(connection, wanted.order, beside), beside, backwards=backwards)
        ranges = [([behind], values)]
        if not backwards and wanted.queue is Queue.TODO:
            ranges.append((["r.id <> ?"], [beside]))
    for tabs in ((undisturbed,), ()):
        for extra, values in ranges:
            more = [free, *tabs]
            found = _select(
                connection,
                wanted.order,
                [*conditions, *extra, *(condition for condition, _ in more)],
                [*parameters, *values, *(value for _, given in more for value in given)],
                person=person,
                limit=1,
                backwards=backwards,
            )
            if found:
                identity: int = found[0]["id"]
                return identity
    return None


def place_of(connection: sqlite3.Connection, order: Order, row_id: int) -> float:
    """A row's place in an order. Raises NoSuchRowError."""
    found = connection.execute(f"SELECT {_KEYS[order]} FROM rows r WHERE r.id = ?", (row_id,)).fetchone()  # noqa: S608
    if found is None:
        raise NoSuchRowError
    place: float = found[0]
    return place


def _select(
    connection: sqlite3.Connection,
    order: Order,
    conditions: Sequence[str],
    parameters: Sequence[Any],
    *,
    person: str,
    limit: int,
    backwards: bool = False,
) -> list[sqlite3.Row]:
    direction = "DESC" if (order is Order.CHANGED) != backwards else "ASC"
    key = _KEYS[order]
    numbered = {f"p{number}": value for number, value in enumerate(parameters)}
    where = _all_of(conditions)
    for name in numbered:
        where = where.replace("?", f":{name}", 1)
    return connection.execute(
        f"SELECT {SUMMARY_COLUMNS}, {key} AS place FROM rows r WHERE {where} "  # noqa: S608 - conditions are ours
        f"ORDER BY {key} {direction}, r.id {direction} LIMIT :limit",
        {"now_s": time.time(), "person": person, "limit": limit, **numbered},
    ).fetchall()


def _all_of(conditions: Sequence[str]) -> str:
    return " AND ".join(conditions) or "TRUE"


def _behind(order: Order, place: float, row_id: int, *, backwards: bool = False) -> tuple[str, list[Any]]:
    sign = "<" if (order is Order.CHANGED) != backwards else ">"
    return f"({_KEYS[order]}, r.id) {sign} (?, ?)", [place, row_id]


def _cursor(order: Order, place: float, row_id: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([order, place, row_id])).decode().rstrip("=")


def _place_of_cursor(cursor: str, order: Order) -> tuple[float, int]:
    try:
        said = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        of_order, place, row_id = said
        if of_order == order and isinstance(place, int | float) and isinstance(row_id, int):
            return place, row_id
    except (ValueError, TypeError, binascii.Error):
        pass
    raise BadRequestError("after is no cursor of this list: begin at its first page.", status=400)
