"""The stage `curated`: what `curate` keeps in, what people accepted out, as `TextRow`s.

    kept.jsonl      accepted texts
    dropped.jsonl   rejected ones, with their reasons; accepted ones that are no greentexts (from a db.json)
    history.jsonl   of each of these: who decided what and when, and every earlier version

It reads one state of the database, and may run while the app does. No name of a person goes into the rows.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack, closing
from pathlib import Path  # noqa: TC003 - pydantic needs it to make the fields
from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import Field

from data_pipeline.atomic import atomic_file, sync
from data_pipeline.curation.database import FILE_NAME, Database
from data_pipeline.curation.errors import StoreBusyError
from data_pipeline.curation.judging import canonical
from data_pipeline.curation.original_app import spelled, written_entry
from data_pipeline.curation.pictures import FOLDER as IMAGES
from data_pipeline.curation.row_filter import Queue
from data_pipeline.errors import StageError
from data_pipeline.journal import to_line
from data_pipeline.rows import Source, TextRow
from data_pipeline.settings import Settings
from data_pipeline.stage import Drop, StageRun
from greentext.text import GreentextError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from data_pipeline.results import Summary

STAGE: Final = "curated"
VERSION: Final = 1
"""Of this stage's result: grows when the same decisions give something else."""
HISTORY: Final = "history.jsonl"
_ROWS: Final = """
    SELECT r.id, r.key, r.source, r.kind, r.theme, r.origin, r.image, r.queue, r.genre, r.reason, r.note, r.version,
           t.text, t.imported_text, t.raw_text, t.source_fields
    FROM rows r JOIN row_texts t ON t.row_id = r.id ORDER BY r.id
"""


class CuratedSettings(Settings):
    """What the stage `curated` can be told."""

    db_json: Path | None = Field(
        default=None, description="write all texts in the format of the original app's db.json to this file, too"
    )


def run(inputs: Sequence[Path], folder: Path, settings: CuratedSettings, *, restart: bool = False) -> Summary:
    """Writes what people decided in `inputs`, folders that `curate` keeps.

    Raises:
        StageError: An input is none, or the folder was made from other decisions.
        OSError: The disk is full, or cannot be written.
    """
    with ExitStack() as opened:
        databases = [opened.enter_context(closing(_database(path))) for path in inputs]
        try:
            # One state for all that is written, though people go on.
            states = [opened.enter_context(database.reading()) for database in databases]
            if settings.db_json is not None:
                _write_db_json(settings.db_json, states)
            made_from = {"version": VERSION, "decisions": [_fingerprint(state) for state in states]}
            with StageRun(folder, STAGE, made_from, restart=restart) as stage:
                if stage.summary is None:
                    with atomic_file(folder / HISTORY) as history:
                        for source, state in zip(inputs, states, strict=True):
                            _record(stage, source, state, history)
                    sync(folder)
                return stage.finish()
        except StoreBusyError as error:
            raise StageError(error.message) from error


def _database(folder: Path) -> Database:
    path = folder / FILE_NAME
    if not path.is_file():
        raise StageError(f"{folder} is no folder that `gtx-data curate` keeps: it has no {FILE_NAME}")
    return Database(path)


def _fingerprint(state: sqlite3.Connection) -> str:
    """Changes with every change of a row."""
    hasher = hashlib.sha256()
    for key, version, image in state.execute("SELECT key, version, image FROM rows ORDER BY id"):
        hasher.update(orjson.dumps([key, version, image]))
    return hasher.hexdigest()


def _record(stage: StageRun, source: Path, state: sqlite3.Connection, history: Any) -> None:
    position = stage.done
    undecided = {Queue.TODO: "to do", Queue.SKIPPED: "skipped"}
    for record in state.execute(_ROWS):
        queue = Queue(record["queue"])
        if queue not in undecided:
            history.write(to_line(_history(state, record)))
        key = f"{source}:{record['id']}"
        if stage.is_done(key):
            continue
        if queue in undecided:
            stage.record(position, key, counted={undecided[queue]: 1})
        else:
            outcome = _outcome(record, source, stage.folder)
            kept = [outcome] if isinstance(outcome, TextRow) else []
            stage.record(position, key, kept=kept, dropped=[outcome] if isinstance(outcome, Drop) else [])
        position += 1


def _outcome(record: sqlite3.Row, source: Path, folder: Path) -> TextRow | Drop:
    image = os.path.relpath(source / IMAGES / record["image"], folder) if record["image"] else ""
    row = TextRow(
        id=record["key"],
        text=record["text"],
        source=Source(record["source"]),
        kind=record["kind"],
        theme=record["theme"],
        genre=record["genre"],
        origin=record["origin"],
        image=image,
        raw_text=record["raw_text"],
        # A person has read it: no line is in doubt any more.
        line_confidences=(),
    )
    if record["queue"] == Queue.REJECTED:
        return Drop(record["reason"] or "rejected", row, record["note"])
    try:
        return row.model_copy(update={"text": canonical(row.text)})
    except GreentextError as error:
        return Drop("not_a_greentext", row, f"accepted, but {error}: mend it in the app")


def _history(state: sqlite3.Connection, record: sqlite3.Row) -> dict[str, Any]:
    versions = state.execute(
        "SELECT version, at_s, person, action, text, queue, reason, note, genre FROM versions "
        "WHERE row_id = ? ORDER BY version",
        (record["id"],),
    )
    return {"id": record["key"], "queue": record["queue"], "versions": [dict(version) for version in versions]}


def _write_db_json(path: Path, states: Sequence[sqlite3.Connection]) -> None:
    entries = dict(entry for state in states for entry in _entries(state))
    with atomic_file(path) as file:
        file.write(spelled(entries))


def _entries(state: sqlite3.Connection) -> Iterator[tuple[str, dict[str, Any]]]:
    for record in state.execute(_ROWS):
        accepted = record["text"] if record["queue"] == Queue.ACCEPTED else None
        if record["source_fields"]:
            yield written_entry(record["source_fields"], accepted_text=accepted)
            continue
        name = record["image"] or record["key"]
        fields = {"filename": name, "unprocessed": record["raw_text"], "truncated": record["imported_text"]}
        yield name, fields if accepted is None else {**fields, "verified": accepted}
