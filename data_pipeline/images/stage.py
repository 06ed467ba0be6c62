"""The stage `images`: posts' pictures and folders of pictures in, `Screenshot` rows and files out.

    pictures/ab/<sha256>.png   the files, as they came, named by their content
    downloads/                 a stage of its own: what became of each picture before copies were looked for, and where
                               it was found at last
    kept.jsonl …               as every stage has them; copies among `dropped.jsonl` keep their files

Downloads end in any order, but the result does not depend on it: copies are looked for when all is there. What was
had is not fetched again after a kill, but for what was under way; what was out of reach is tried again by every run
until the stage has finished.
"""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Final

from data_pipeline.images.sources import fingerprint, items_of
from data_pipeline.stage import StageRun, Summary, progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from data_pipeline.images.settings import ImagesSettings
    from data_pipeline.images.sources import Item

VERSION: Final = 1
"""Of this stage's judgement: grows when the same inputs and settings give something else."""
DOWNLOADS: Final = "downloads"
PARTS: Final = ".parts"
_OF_DOWNLOADS: Final = frozenset({"max_bytes", "max_pixels", "max_side", "min_width", "min_height"})
_OF_CHOICE: Final = frozenset({"near_duplicate_distance", "placeholders"})


def run(inputs: Sequence[Path], folder: Path, settings: ImagesSettings, *, restart: bool = False) -> Summary:
    """Fetches and checks the pictures of `inputs`: folders or files of `Post` rows, folders of pictures, pictures.

    Raises:
        StageError: An input is not there or of another kind, the folder is another's, or too much is out of reach.
        OSError: The disk is full, or cannot be written.
    """
    # Brings NumPy.
    from data_pipeline.images.choice import check_placeholders, choose  # noqa: PLC0415

    check_placeholders(settings.placeholders)
    made_from = {
        "inputs": [fingerprint(path, folder) for path in inputs],
        **settings.model_dump(include=set(_OF_DOWNLOADS)),
        "version": VERSION,
    }
    choice = settings.model_dump(include=set(_OF_CHOICE))
    with StageRun(folder, "images", {**made_from, **choice}, restart=restart) as chosen:
        if chosen.summary is not None:
            return chosen.summary
        items = items_of(inputs, folder)
        with StageRun(folder / DOWNLOADS, "images-downloads", made_from) as downloads:
            if downloads.summary is None:
                _fetch(items, downloads, folder, settings)
                downloads.finish()
        choose(items, folder / DOWNLOADS, chosen, settings)
        return chosen.finish()


def _fetch(items: Sequence[Item], downloads: StageRun, folder: Path, settings: ImagesSettings) -> None:
    # Brings httpx and Pillow.
    from data_pipeline.images.fetching import Fetching  # noqa: PLC0415

    parts = folder / PARTS
    shutil.rmtree(parts, ignore_errors=True)  # what a killed run left
    parts.mkdir()
    total = sum(item.drop is None for item in items)
    with progress_bar("images", total, "picture", done=downloads.done) as bar:
        try:
            asyncio.run(Fetching(downloads, folder, parts, settings, bar).all(items))
        except BaseExceptionGroup as group:
            # One task failed, and the others were cancelled for it.
            first: BaseException = group
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from group
    shutil.rmtree(parts, ignore_errors=True)
