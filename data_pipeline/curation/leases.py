"""Who is at which row. A lease ends by itself; what protects texts is their version, not the lease."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from data_pipeline.curation.errors import HeldByAnotherError
from data_pipeline.curation.rows import require_row

if TYPE_CHECKING:
    import sqlite3


def take(connection: sqlite3.Connection, row_id: int, person: str, tab: str, *, lease_s: float) -> float:
    """Hands a row to a person's tab, or renews that; answers until when. Another tab of the same person may take it.

    Raises:
        NoSuchRowError: There is no such row.
        HeldByAnotherError: Another person holds it.
    """
    require_row(connection, row_id)
    now_s = time.time()
    held = connection.execute(
        "SELECT person, until_s FROM leases WHERE row_id = ? AND until_s > ? AND person <> ?", (row_id, now_s, person)
    ).fetchone()
    if held is not None:
        raise HeldByAnotherError(
            f"{held['person']} is at this row: take the next one.", person=held["person"], until_s=held["until_s"]
        )
    until_s = now_s + lease_s
    connection.execute(
        "INSERT INTO leases (row_id, person, tab, until_s) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (row_id) DO UPDATE SET person = excluded.person, tab = excluded.tab, until_s = excluded.until_s",
        (row_id, person, tab, until_s),
    )
    return until_s


def release(connection: sqlite3.Connection, row_id: int, person: str, tab: str | None = None) -> None:
    """Lets go of a row, whether or not the person holds it; with `tab` only if that tab does."""
    connection.execute(
        "DELETE FROM leases WHERE row_id = ? AND person = ? AND (? IS NULL OR tab = ?)", (row_id, person, tab, tab)
    )
