"""Brings rows in: new ones, and newer imports of those that are there. Bringing the same in again changes nothing.

A batch of `BATCH_ROWS` is one transaction; after a kill the same import goes on, for what is in already is passed over
without being judged again. What people decided stays: where the source's text has changed since, that is noted in the
row's history; a row that nobody has touched takes the newer text.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from data_pipeline.curation.incoming import Incoming, Refused, read
from data_pipeline.curation.judging import judge
from data_pipeline.curation.pictures import PictureFolder, PictureRefusedError, Taken, roots_of
from data_pipeline.curation.row_filter import Queue
from data_pipeline.curation.states import (
    IMPORT,
    State,
    append_version,
    change,
    detail_values,
    spelled,
    state_of,
    summary_values,
)
from data_pipeline.results import Summary
from data_pipeline.stage import progress_bar

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from data_pipeline.curation.database import Database
    from data_pipeline.curation.incoming import Input

BATCH_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Known:
    row_id: int
    sha256: str
    touched: bool
    has_image: bool


class Import:
    """An import into a folder."""

    def __init__(self, database: Database, folder: Path, *, images_from: Sequence[Path] = ()) -> None:
        """`images_from`: folders from which pictures may be taken besides the inputs' own."""
        self._database = database
        self._folder = folder
        self._pictures = PictureFolder(folder)
        self._images_from = [path.resolve() for path in images_from]
        self._new = 0
        self._dropped: Counter[str] = Counter()
        self._counted: Counter[str] = Counter()
        self._seen: dict[str, str] = {}

    def run(self, inputs: Sequence[Input]) -> Summary:
        """Brings everything in; answers what became of it. `kept` counts new rows.

        Raises:
            StageError: An input is not what it was taken for.
            StoreBusyError: The database cannot be written.
            OSError: An input cannot be read, or the disk is full.
        """
        began_s = time.monotonic()
        items = 0
        with progress_bar("curate", None, "row") as bar:
            for given in inputs:
                for batch in _batches(read(given), BATCH_ROWS):
                    self._take(given, batch)
                    items += len(batch)
                    bar.update(len(batch))
        return Summary(
            stage="curate",
            folder=self._folder,
            made_from={},
            items=items,
            kept=self._new,
            dropped=dict(self._dropped),
            counted=dict(self._counted),
            seconds=time.monotonic() - began_s,
            kept_sha256="",
        )

    def _take(self, given: Input, batch: Sequence[Incoming | Refused]) -> None:
        rows = list({row.key: row for row in batch if isinstance(row, Incoming) and self._is_first(row)}.values())
        self._dropped.update(row.reason for row in batch if isinstance(row, Refused))
        with self._database.reading() as connection:
            known = _known(connection, rows)
        # Judging and copying take their time; nobody else has to wait for it.
        ready: list[tuple[Incoming, Taken | None]] = []
        for row in rows:
            there = known.get(row.key)
            taken = None if there is not None and there.has_image else self._picture(given, row)
            if there is not None and there.sha256 == row.sha256 and taken is None:
                self._counted["unchanged"] += 1
                continue
            judge(row.text)  # remembered until it is stored
            ready.append((row, taken))
        if not ready:
            return
        if any(taken for _, taken in ready):
            self._pictures.settle()  # before rows name them
        with self._database.writing() as connection:
            known = _known(connection, [row for row, _ in ready])
            for row, taken in ready:
                self._store(connection, row, taken, known.get(row.key))

    def _is_first(self, row: Incoming) -> bool:
        before = self._seen.setdefault(row.key, row.sha256)
        if before != row.sha256:
            self._dropped["repeated_id"] += 1
        return before == row.sha256

    def _picture(self, given: Input, row: Incoming) -> Taken | None:
        if not row.image:
            return None
        if row.image.startswith("/"):
            self._counted["image_outside"] += 1
            return None
        try:
            roots = [*roots_of(given.folder, row.image, self._images_from)]
            return self._pictures.take_in(roots, given.folder / row.image)
        except PictureRefusedError as error:
            self._counted[error.reason] += 1
            return None

    def _store(self, connection: sqlite3.Connection, row: Incoming, taken: Taken | None, known: _Known | None) -> None:
        if taken is not None:
            connection.execute(
                "INSERT OR IGNORE INTO images (name, width, height, bytes) VALUES (?, ?, ?, ?)",
                (taken.name, taken.width, taken.height, taken.bytes),
            )
        if known is None:
            self._new += 1
            if taken is not None:
                self._counted["pictures"] += 1
            _insert(connection, row, taken)
            return
        if taken is not None and not known.has_image:
            connection.execute("UPDATE rows SET image = ? WHERE id = ?", (taken.name, known.row_id))
            self._counted["pictures"] += 1
        if known.sha256 == row.sha256 or _came_before(connection, known.row_id, row):
            self._counted["unchanged"] += 1
        elif known.touched:
            _note(connection, known.row_id, row)
            self._counted["newer, noted beside what people decided"] += 1
        else:
            _replace(connection, known.row_id, row)
            self._counted["newer, in place of what nobody had touched"] += 1


def _batches(rows: Iterable[Incoming | Refused], size: int) -> Iterator[list[Incoming | Refused]]:
    iterator = iter(rows)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _known(connection: sqlite3.Connection, rows: Sequence[Incoming]) -> dict[str, _Known]:
    found = {}
    for row in rows:
        record = connection.execute(
            "SELECT r.id, r.image, t.import_sha256, "
            "r.touched OR EXISTS (SELECT 1 FROM drafts d WHERE d.row_id = r.id) AS touched "
            "FROM rows r JOIN row_texts t ON t.row_id = r.id WHERE r.key = ?",
            (row.key,),
        ).fetchone()
        if record is not None:
            found[row.key] = _Known(
                record["id"], record["import_sha256"], bool(record["touched"]), bool(record["image"])
            )
    return found


def _confidences(row: Incoming) -> list[float]:
    return list(row.confidences) if len(row.confidences) == len(row.text.split("\n")) else []


def _unsure_words(row: Incoming) -> str:
    return spelled([word.model_dump() for word in row.unsure_words])


def _insert(connection: sqlite3.Connection, row: Incoming, taken: Taken | None) -> None:
    now_s = time.time()
    judgement = judge(row.text)
    confidences = _confidences(row)
    state = State(row.text, Queue.TODO, row.genre or judgement.genre, genre_given=bool(row.genre))
    cursor = connection.execute(
        "INSERT INTO rows (key, source, kind, theme, origin, image, queue, genre, genre_given, imported_at_s, "
        "changed_at_s, excerpt, lines, confidence, warnings, problems) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.key, str(row.source), row.kind, row.theme, row.origin, taken.name if taken else "", str(state.queue),
            state.genre, state.genre_given, now_s, now_s, *summary_values(judgement, confidences),
        ),
    )  # fmt: skip
    row_id = cursor.lastrowid
    assert row_id is not None  # noqa: S101 - for the type checker
    connection.execute(
        "INSERT INTO row_texts (row_id, text, imported_text, raw_text, imported_confidences, line_confidences, "
        "warning_details, unknown_words, problem_details, import_sha256, source_fields, imported_unsure_words) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row_id, row.text, row.text, row.raw_text, spelled(confidences), spelled(confidences),
            *detail_values(judgement), row.sha256, row.source_fields, _unsure_words(row),
        ),
    )  # fmt: skip
    connection.execute("INSERT INTO row_search (row_id, folded) VALUES (?, ?)", (row_id, row.text.casefold()))
    append_version(connection, row_id, 0, state, person=IMPORT, action="import", at_s=now_s)
    _decide(connection, row_id, row, now_s)


def _decide(connection: sqlite3.Connection, row_id: int, row: Incoming, at_s: float) -> None:
    """What was decided before the row came."""
    if row.decided is None:
        return
    queue, text, reason = row.decided
    state = State(text, queue, row.genre, genre_given=bool(row.genre), reason=reason)
    action = "accept" if queue is Queue.ACCEPTED else "reject"
    change(connection, row_id, state, person=IMPORT, action=action, at_s=at_s, touched=False)


def _came_before(connection: sqlite3.Connection, row_id: int, row: Incoming) -> bool:
    """Whether this text was imported once: inputs that differ would else take turns."""
    texts = connection.execute(
        "SELECT 1 FROM versions WHERE row_id = ? AND text = ? AND (action = 'newer_import' OR person = ?) LIMIT 1",
        (row_id, row.decided[1] if row.decided else row.text, IMPORT),
    )
    return texts.fetchone() is not None


def _note(connection: sqlite3.Connection, row_id: int, row: Incoming) -> None:
    record = connection.execute(
        "SELECT r.*, t.text FROM rows r JOIN row_texts t ON t.row_id = r.id WHERE r.id = ?", (row_id,)
    ).fetchone()
    stands = state_of(record)
    newer = State(
        row.decided[1] if row.decided else row.text,
        stands.queue,
        stands.genre,
        stands.genre_given,
        stands.reason,
        stands.note,
    )
    version = record["version"] + 1
    append_version(connection, row_id, version, newer, person=IMPORT, action="newer_import", at_s=time.time())
    connection.execute("UPDATE rows SET version = ? WHERE id = ?", (version, row_id))
    connection.execute("UPDATE row_texts SET import_sha256 = ? WHERE row_id = ?", (row.sha256, row_id))


def _replace(connection: sqlite3.Connection, row_id: int, row: Incoming) -> None:
    now_s = time.time()
    connection.execute(
        "UPDATE row_texts SET imported_text = ?, raw_text = ?, imported_confidences = ?, import_sha256 = ?, "
        "source_fields = ?, imported_unsure_words = ? WHERE row_id = ?",
        (
            row.text,
            row.raw_text,
            spelled(_confidences(row)),
            row.sha256,
            row.source_fields,
            _unsure_words(row),
            row_id,
        ),
    )
    state = State(row.text, Queue.TODO, row.genre, genre_given=bool(row.genre))
    change(connection, row_id, state, person=IMPORT, action="import", at_s=now_s, touched=False)
    _decide(connection, row_id, row, now_s)
