"""The stage `ocr`: `Screenshot` rows or folders of pictures in, `TextRow`s out.

Pages are read in any order, but the result does not depend on it. What was read is not read again after a kill, but for
the few pages that were under way.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from data_pipeline.errors import StageError
from data_pipeline.images.sources import fingerprint, items_of
from data_pipeline.rows import Screenshot, Source, TextRow, UnsureWord
from data_pipeline.stage import KEPT, Drop, StageRun, Summary, progress_bar, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from data_pipeline.ocr.page import Reading
    from data_pipeline.ocr.settings import OcrSettings
    from data_pipeline.ocr.workers import Outcome

VERSION: Final = 1
"""Of this stage's judgement: grows when the same inputs and settings give something else."""
_OF_RESULT: Final = frozenset({"min_lines", "min_confidence", "min_line_confidence", "max_pixels", "max_side"})


class Reason(StrEnum):
    """Why a page that could be read is not kept."""

    NO_STORY = "no_story"
    TOO_FEW_LINES = "too_few_lines"
    LOW_CONFIDENCE = "low_confidence"


@dataclass(frozen=True, slots=True)
class _Item:
    id: str
    origin: str
    path: Path

    @property
    def row(self) -> dict[str, Any]:
        """What is kept aside of it."""
        return {"id": self.id, "origin": self.origin, "path": os.fsencode(self.path).decode("utf-8", "replace")}


def run(inputs: Sequence[Path], folder: Path, settings: OcrSettings, *, restart: bool = False) -> Summary:
    """Reads the stories in `inputs`: folders or files of `Screenshot` rows, folders of pictures, pictures.

    Raises:
        StageError: Tesseract is missing, an input is not there or of another kind, or the folder is another's.
        OSError: The disk is full, or cannot be written.
    """
    # Bring NumPy, SciPy and Pillow.
    from data_pipeline.ocr.engine import EngineMissingError, engine_version  # noqa: PLC0415
    from data_pipeline.ocr.workers import cores, read_all  # noqa: PLC0415

    try:
        made_from = {
            "inputs": [fingerprint(path, folder) for path in inputs],
            "tesseract": engine_version(),
            **settings.model_dump(include=set(_OF_RESULT)),
            "version": VERSION,
        }
        with StageRun(folder, "ocr", made_from, restart=restart) as stage:
            if stage.summary is not None:
                return stage.summary
            items = {item.id: item for item in _items(inputs, folder)}
            positions = {name: position for position, name in enumerate(items)}
            tasks = _tasks([item for item in items.values() if not stage.is_done(item.id)], settings)
            with progress_bar("ocr", len(items), "page", done=stage.done) as bar:
                for outcome in read_all(tasks, settings.workers or cores()):
                    _record(stage, positions[outcome.key], items[outcome.key], outcome, settings)
                    bar.update()
            return stage.finish()
    except EngineMissingError as error:
        raise StageError(str(error)) from error


def _items(inputs: Sequence[Path], folder: Path) -> Iterator[_Item]:
    """All pages in the inputs' order, each with an id of its own."""
    seen: set[str] = set()
    for source in inputs:
        for item in _of_rows(source) if _holds_rows(source) else _of_files(source, folder):
            name, number = item.id, 2
            while name in seen:
                name, number = f"{item.id}~{number}", number + 1
            seen.add(name)
            yield _Item(name, item.origin, item.path)


def _holds_rows(source: Path) -> bool:
    return (source / KEPT).exists() if source.is_dir() else source.suffix == ".jsonl"


def _of_rows(source: Path) -> Iterator[_Item]:
    beside = source if source.is_dir() else source.parent
    for row in read_rows(source, Screenshot):
        yield _Item(row.id, row.origin, beside / row.path)


def _of_files(source: Path, folder: Path) -> Iterator[_Item]:
    for item in items_of([source], folder):
        if item.path is not None:
            yield _Item(item.id, "", item.path)


def _tasks(items: Sequence[_Item], settings: OcrSettings) -> Iterator[Any]:
    from data_pipeline.images.picture import PictureLimits  # noqa: PLC0415
    from data_pipeline.ocr.workers import Task  # noqa: PLC0415

    limits = PictureLimits(settings.max_pixels, settings.max_side, min_width=1, min_height=1)
    for item in items:
        yield Task(item.id, item.path, limits, settings.page_timeout_s)


def _record(stage: StageRun, position: int, item: _Item, outcome: Outcome, settings: OcrSettings) -> None:
    reading = outcome.reading
    if reading is None:
        stage.record(position, item.id, dropped=[Drop(outcome.reason, item.row, outcome.detail)])
        return
    reason, detail = _judged(reading, settings)
    if reason:
        aside = item.row | {"raw_text": reading.raw_text, "lines": [line.text for line in reading.lines]}
        stage.record(position, item.id, dropped=[Drop(reason, aside, detail)])
        return
    row = TextRow(
        id=f"{Source.REDDIT_OCR}:{item.id}",
        text="\n".join(f">{line.text}" for line in reading.lines),
        source=Source.REDDIT_OCR,
        origin=item.origin,
        image=os.path.relpath(item.path, stage.folder),
        raw_text=reading.raw_text,
        line_confidences=tuple(round(line.confidence, 4) for line in reading.lines),
        unsure_words=tuple(
            UnsureWord(line=number, word=word, confidence=round(confidence, 4))
            for number, line in enumerate(reading.lines, start=1)
            for word, confidence in line.unsure
        ),
    )
    stage.record(position, item.id, kept=[row], counted={"lines": len(reading.lines)})


def _judged(reading: Reading, settings: OcrSettings) -> tuple[str, str]:
    """Why a reading is not kept, and in which detail; empty where it is."""
    lines = reading.lines
    if not lines:
        return Reason.NO_STORY, ""
    if len(lines) < settings.min_lines:
        return Reason.TOO_FEW_LINES, f"{len(lines)} of at least {settings.min_lines}"
    mean = sum(line.confidence for line in lines) / len(lines)
    worst = min(line.confidence for line in lines)
    if mean < settings.min_confidence or worst < settings.min_line_confidence:
        return Reason.LOW_CONFIDENCE, f"{mean:.2f} on average, {worst:.2f} in the worst line"
    return "", ""
