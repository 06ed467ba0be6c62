"""Which of the pictures that were had are kept: no placeholders, and of copies the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from data_pipeline.errors import StageError
from data_pipeline.images.duplicates import copies, distances, hash_words
from data_pipeline.images.refusals import Reason
from data_pipeline.images.sources import Found, Item
from data_pipeline.stage import DROPPED, Drop, StageRun, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from data_pipeline.images.settings import ImagesSettings


def check_placeholders(perceptual_hashes: Sequence[str]) -> None:
    """Raises StageError if one of the setting's values is no perceptual hash."""
    try:
        hash_words(perceptual_hashes)
    except ValueError as error:
        raise StageError(f"--placeholders: {error}") from error


def choose(items: Sequence[Item], downloads: Path, chosen: StageRun, settings: ImagesSettings) -> None:
    """Records what becomes of each item, from what the finished stage in the folder `downloads` says of it.

    Raises:
        StageError: A picture is gone since.
        OSError: The disk is full, or cannot be written.
    """
    drops = {item.id: item.drop for item in items if item.drop is not None}
    with (downloads / DROPPED).open("rb") as file:
        for line in file:
            drop = orjson.loads(line)
            drops[drop["row"]["id"]] = Drop(**drop)
    pictures: dict[str, Found] = {}
    of_content: dict[str, Found] = {}
    for found in read_rows(downloads, Found):
        if not (chosen.folder / found.path).exists():
            raise StageError(f"{chosen.folder / found.path} is gone: --restart to fetch the pictures again")
        pictures[found.id] = found
        first = of_content.setdefault(found.sha256, found)
        if first is not found:
            drops[found.id] = Drop(Reason.DUPLICATE, found.screenshot(), f"the same file as {first.id}")
    drops |= _copies(list(of_content.values()), settings)
    for position, item in enumerate(items):
        if chosen.is_done(item.id):
            continue
        if item.id in drops:
            chosen.record(position, item.id, dropped=[drops[item.id]])
        else:
            chosen.record(position, item.id, kept=[pictures[item.id].screenshot()])


def _copies(pictures: Sequence[Found], settings: ImagesSettings) -> dict[str, Drop]:
    """Drops for placeholders and near-duplicates among pictures of different content."""
    drops: dict[str, Drop] = {}
    words = hash_words([found.perceptual_hash for found in pictures])
    for digits, placeholder in zip(settings.placeholders, hash_words(settings.placeholders), strict=True):
        for index in map(int, (distances(placeholder, words) <= max(settings.near_duplicate_distance, 0)).nonzero()[0]):
            found = pictures[index]
            drops[found.id] = Drop(Reason.DELETED, found.screenshot(), f"the placeholder {digits[:16]}…")
    pictures = [found for found in pictures if found.id not in drops]
    nearest = copies(
        [found.perceptual_hash for found in pictures],
        [found.width * found.height for found in pictures],
        settings.near_duplicate_distance,
    )
    for index, (of, bits) in nearest.items():
        detail = f"{bits} bits from {pictures[of].id}"
        drops[pictures[index].id] = Drop(Reason.NEAR_DUPLICATE, pictures[index].screenshot(), detail)
    return drops
