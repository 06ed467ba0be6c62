"""Rated texts, as JSON lines that the curation app brings in (`gtx-data curate DIR FILE.jsonl`).

A text is `good` or `bad` by the majority of its ratings; where they are even, nobody has decided, and it is left out.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from service.store.schema import generations, ratings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.store.database import Database

BATCH_ROWS: Final = 500


@dataclass(frozen=True, slots=True)
class Exported:
    """How many texts were written, and how many left out."""

    good: int
    bad: int
    undecided: int


def export_ratings(database: Database, out: Path) -> Exported:
    """Writes one JSON object a line; the file is there whole, or as it was before.

    Raises:
        StoreUnavailableError: The database is away, or another program's.
        OSError: The file cannot be written.
    """
    counts = {"good": 0, "bad": 0, "undecided": 0}
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="\n", dir=out.parent, prefix=f".{out.name}.", delete=False
    ) as file:
        try:
            for row in _rated(database):
                rating = "undecided" if row.good == row.bad else "good" if row.good > row.bad else "bad"
                counts[rating] += 1
                if rating != "undecided":
                    file.write(json.dumps(_line(row, rating), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(out)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return Exported(**counts)


def _line(row: Any, rating: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "text": row.text,
        "model": row.model,
        "rating": rating,
        "rated_at_s": row.rated_at_s,
        "good": row.good,
        "bad": row.bad,
        "prompt": row.prompt,
    }


def _rated(database: Database) -> Iterator[Any]:
    query = (
        select(
            generations.c.id, generations.c.text, generations.c.model, generations.c.good, generations.c.bad,
            generations.c.prompt, func.max(ratings.c.updated_s).label("rated_at_s"),
        )
        .join(ratings, ratings.c.generation_id == generations.c.id)
        .where(generations.c.deleted_s.is_(None))
        .group_by(generations.c.id)
        .order_by(generations.c.id)
        .limit(BATCH_ROWS)
    )  # fmt: skip
    last = ""
    with database.reading(timeout_s=None) as connection:
        while rows := connection.execute(query.where(generations.c.id > last)).all():
            yield from rows
            last = rows[-1].id
