"""How far the work is, and how fast it goes."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, Final

from data_pipeline.curation.row_filter import Queue

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

PACE_OVER_S: Final = 3600.0
BREAK_S: Final = 300.0
"""A longer pause between two decisions is no work."""
FEWEST_GAPS: Final = 2
"""With fewer there is no pace."""
MOST_DECISIONS: Final = 5_000
_DECISIONS: Final = """
    v.action IN ('accept', 'reject', 'skip')
    AND NOT EXISTS (SELECT 1 FROM versions u WHERE u.undoes = v.id)
"""


def progress(connection: sqlite3.Connection, person: str, *, now_s: float | None = None) -> dict[str, Any]:
    """Counts of each queue, and what a person did today and does in an hour. Days are the server's."""
    now_s = time.time() if now_s is None else now_s
    counts = dict.fromkeys(Queue, 0)
    for queue, count in connection.execute("SELECT queue, count(*) FROM rows GROUP BY queue"):
        counts[Queue(queue)] = count
    midnight = time.localtime(now_s)
    day_s = time.mktime((*midnight[:3], 0, 0, 0, 0, 0, -1))
    today: int = connection.execute(
        f"SELECT count(*) FROM versions v WHERE v.person = ? AND v.at_s >= ? AND {_DECISIONS}",  # noqa: S608 - ours
        (person, day_s),
    ).fetchone()[0]
    times = [
        at_s
        for (at_s,) in connection.execute(
            f"SELECT v.at_s FROM versions v WHERE v.person = ? AND {_DECISIONS} "  # noqa: S608 - ours
            "ORDER BY v.at_s DESC LIMIT ?",
            (person, MOST_DECISIONS),
        )
    ]
    pace = pace_per_hour(times)
    people = connection.execute(
        "SELECT v.person AS person, count(*) AS decided, max(v.at_s) AS last_at_s FROM versions v "  # noqa: S608 - ours
        f"WHERE v.person <> 'import' AND {_DECISIONS} GROUP BY v.person ORDER BY decided DESC, v.person",
    )
    return {
        "total": sum(counts.values()),
        **{str(queue): count for queue, count in counts.items()},
        "mine_today": today,
        "pace_per_hour": round(pace, 1),
        "left_hours": round(counts[Queue.TODO] / pace, 2) if pace else None,
        "people": [dict(record) for record in people],
    }


def pace_per_hour(newest_first: Sequence[float]) -> float:
    """Decisions an hour over the last hour of working; 0.0 where there are too few to tell."""
    worked_s, gaps = 0.0, 0
    for later_s, earlier_s in itertools.pairwise(newest_first):
        gap_s = max(later_s - earlier_s, 0.0)
        if gap_s > BREAK_S:
            continue
        worked_s += gap_s
        gaps += 1
        if worked_s >= PACE_OVER_S:
            break
    return gaps * 3600.0 / worked_s if gaps >= FEWEST_GAPS and worked_s > 0 else 0.0
