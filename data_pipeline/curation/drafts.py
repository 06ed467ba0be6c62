"""What a person has typed and not decided yet: one draft for a person and a row, saved as they type.

A draft that another tab writes over, or that is thrown away, is set aside for `KEEP_S`: nothing typed is lost at once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from data_pipeline.curation.judging import canonical
from data_pipeline.curation.rows import require_row
from greentext.text import GreentextError

if TYPE_CHECKING:
    import sqlite3

KEEP_S: Final = 30 * 24 * 3600.0


def save(connection: sqlite3.Connection, row_id: int, person: str, tab: str, *, text: str, version: int) -> float:
    """Saves a draft, whatever the row's version is by now; answers when. Raises NoSuchRowError.

    A draft that says what the row says is none: the last one of a page may come in behind the decision about it.
    """
    require_row(connection, row_id)
    now_s = time.time()
    _set_aside(connection, row_id, person, now_s, unless_tab=tab)
    (stands,) = connection.execute("SELECT text FROM row_texts WHERE row_id = ?", (row_id,)).fetchone()
    if text == stands or _canonical(text) == stands:
        connection.execute("DELETE FROM drafts WHERE row_id = ? AND person = ?", (row_id, person))
        return now_s
    connection.execute(
        "INSERT INTO drafts (row_id, person, tab, text, version, saved_at_s) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (row_id, person) DO UPDATE SET tab = excluded.tab, text = excluded.text, "
        "version = excluded.version, saved_at_s = excluded.saved_at_s",
        (row_id, person, tab, text, version, now_s),
    )
    return now_s


def discard(connection: sqlite3.Connection, row_id: int, person: str) -> None:
    """Throws a draft away, where there is one, and sets it aside. Raises NoSuchRowError."""
    require_row(connection, row_id)
    _set_aside(connection, row_id, person, time.time(), unless_tab=None)
    remove(connection, row_id, person)


def remove(connection: sqlite3.Connection, row_id: int, person: str, *, decided_text: str | None = None) -> None:
    """A decision has taken the place of the draft. One with another text is set aside."""
    if decided_text is not None:
        draft = connection.execute(
            "SELECT text FROM drafts WHERE row_id = ? AND person = ?", (row_id, person)
        ).fetchone()
        if draft is not None and draft["text"] != decided_text:
            _set_aside(connection, row_id, person, time.time(), unless_tab=None)
    connection.execute("DELETE FROM drafts WHERE row_id = ? AND person = ?", (row_id, person))


def _canonical(text: str) -> str | None:
    try:
        return canonical(text)
    except GreentextError:
        return None


def _set_aside(
    connection: sqlite3.Connection, row_id: int, person: str, now_s: float, *, unless_tab: str | None
) -> None:
    connection.execute(
        "INSERT INTO drafts_set_aside (row_id, person, text, version, saved_at_s) "
        "SELECT row_id, person, text, version, saved_at_s FROM drafts "
        "WHERE row_id = ? AND person = ? AND (? IS NULL OR tab <> ?)",
        (row_id, person, unless_tab, unless_tab),
    )
    connection.execute("DELETE FROM drafts_set_aside WHERE saved_at_s < ?", (now_s - KEEP_S,))
