"""The stage `filters`: texts of all sources in, those worth learning from out, each once.

The filters that judge a row by itself come first, in the order of `filters_of`; then, among what is left, duplicates.
Of the texts of a cluster the one that was read most confidently stays; among equals, the first of the first input.
Judging depends on the rows and the settings alone: a stopped run judges again and goes on recording where it stopped.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from data_pipeline.filters.content import ContentFilter
from data_pipeline.filters.duplicates import DEFAULT_THRESHOLD, MIN_THRESHOLD, clusters, exact_key
from data_pipeline.filters.genre import GenreFilter
from data_pipeline.filters.language import LanguageFilter
from data_pipeline.filters.shape import ShapeFilter
from data_pipeline.filters.vocabulary import VocabularyFilter
from data_pipeline.rows import TextRow
from data_pipeline.settings import Settings
from data_pipeline.stage import Drop, StageRun, Summary, progress_bar, read_rows, sha256_of
from greentext.content import ALL_CATEGORIES, Category
from greentext.text import DEFAULT_LIMITS, Limits
from greentext.vocabulary import FOLDER as WORDS_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from data_pipeline.filters.filter import Filter

STAGE: Final = "filters"
JUDGEMENT: Final = 1
"""Raised when the same rows and settings are judged otherwise than before."""
CHUNK_ROWS: Final = 500
PARALLEL_FROM_ROWS: Final = 8_000
"""Below, starting processes takes longer than they save."""


class FiltersSettings(Settings):
    """What may pass."""

    shape: bool = Field(default=True, description="drop what has not the shape of a greentext")
    min_lines: int = Field(default=DEFAULT_LIMITS.min_lines, ge=1, description="lines of a text, at least")
    max_lines: int = Field(default=DEFAULT_LIMITS.max_lines, ge=1, description="lines of a text, at most")
    max_line_characters: int = Field(
        default=DEFAULT_LIMITS.max_line_characters, ge=1, description="characters of a line, at most"
    )
    max_text_characters: int = Field(
        default=DEFAULT_LIMITS.max_text_characters, ge=1, description="characters of a text, at most"
    )
    min_words: int = Field(default=8, ge=0, description="words of a text, at least")
    language: bool = Field(default=True, description="drop what is not English")
    min_known_share: float = Field(
        default=0.6, ge=0, le=1, description="share of a text's words that must be common English ones"
    )
    content: bool = Field(default=True, description="drop what is not wholesome")
    allowed_content: tuple[Category, ...] = Field(
        default=(), description="categories of content that are let through all the same"
    )
    vocabulary: Literal["simple", "all", "off"] = Field(
        default="simple", description="which texts must keep to simple words: those asked to be simple, all, or none"
    )
    genre: bool = Field(default=True, description="write each text's genre into its row")
    misfits: Literal["relabel", "drop"] = Field(
        default="relabel",
        description="what becomes of a synthetic text that is not what was asked for (simple, thanks): it counts as "
        "full, or is dropped",
    )
    duplicates: Literal["near", "exact", "off"] = Field(default="near", description="which duplicates are dropped")
    similarity: float = Field(
        default=DEFAULT_THRESHOLD,
        ge=MIN_THRESHOLD,
        le=1,
        description="Jaccard similarity of word trigrams from which texts are near duplicates",
    )
    workers: int = Field(default=0, ge=0, description="processes that judge; 0 is one for each core")


def filters_of(settings: FiltersSettings) -> list[Filter]:
    """The filters that are switched on, in the order in which they judge: cheap and certain ones first."""
    filters: list[Filter] = []
    if settings.shape:
        limits = Limits(
            settings.min_lines, settings.max_lines, settings.max_line_characters, settings.max_text_characters
        )
        filters.append(ShapeFilter(limits, settings.min_words))
    if settings.language:
        filters.append(LanguageFilter(settings.min_known_share))
    if settings.content:
        filters.append(ContentFilter(ALL_CATEGORIES - set(settings.allowed_content)))
    if settings.vocabulary != "off":
        filters.append(VocabularyFilter(settings.vocabulary, settings.misfits))
    if settings.genre:
        filters.append(GenreFilter(settings.misfits))
    return filters


def judge(row: TextRow, filters: Sequence[Filter]) -> TextRow | Drop:
    """What becomes of a row: the first filter that drops it has the last word."""
    for each in filters:
        verdict = each.judge(row)
        if isinstance(verdict, Drop):
            return verdict
        row = verdict
    return row


def run(inputs: Sequence[Path], folder: Path, settings: FiltersSettings, *, restart: bool = False) -> Summary:
    """Filters the texts of all inputs (`kept.jsonl`, or the folder that holds it), in their order.

    Raises:
        StageError: An input cannot be read, or the folder holds something else.
    """
    made_from = {
        "settings": settings.model_dump(mode="json", exclude={"workers"}),
        "inputs": [sha256_of(path) for path in inputs],
        "judgement": JUDGEMENT,
        "lists": _lists_sha256(),
    }
    with StageRun(folder, STAGE, made_from, restart=restart) as stage:
        if stage.summary is not None:
            return stage.summary
        rows = list(chain.from_iterable(read_rows(path, TextRow) for path in inputs))
        verdicts = _without_duplicates(_judged(rows, settings), settings)
        for position, (row, verdict) in enumerate(zip(rows, verdicts, strict=True)):
            key = str(position)  # ids may repeat; that is dropped, not raised
            if stage.is_done(key):
                continue
            if isinstance(verdict, Drop):
                stage.record(position, key, dropped=[verdict])
            else:
                stage.record(position, key, kept=[verdict], counted=_relabelled(row, verdict))
        return stage.finish()


def _judged(rows: Sequence[TextRow], settings: FiltersSettings) -> list[TextRow | Drop]:
    workers = settings.workers or len(os.sched_getaffinity(0))
    chunks = [rows[start : start + CHUNK_ROWS] for start in range(0, len(rows), CHUNK_ROWS)]
    verdicts: list[TextRow | Drop] = []
    with progress_bar(STAGE, len(rows), " texts") as bar:
        for judged in _judged_chunks(chunks, settings, workers if len(rows) >= PARALLEL_FROM_ROWS else 1):
            verdicts += judged
            bar.update(len(judged))
    return verdicts


def _judged_chunks(
    chunks: Sequence[Sequence[TextRow]], settings: FiltersSettings, workers: int
) -> Iterator[list[TextRow | Drop]]:
    if workers == 1:
        yield from (_judge_chunk(chunk, settings) for chunk in chunks)
        return
    # Started afresh: what a fork would inherit (locks, threads of other libraries) is none of the filters' business.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(_judge_chunk, chunks, [settings] * len(chunks))


def _judge_chunk(rows: Sequence[TextRow], settings: FiltersSettings) -> list[TextRow | Drop]:
    filters = filters_of(settings)
    return [judge(row, filters) for row in rows]


def _without_duplicates(verdicts: Sequence[TextRow | Drop], settings: FiltersSettings) -> list[TextRow | Drop]:
    """The verdicts, with all rows of a cluster dropped but the best, and all rows of an id but the first."""
    result = list(verdicts)
    places: list[int] = []
    ids: set[str] = set()
    for place, verdict in enumerate(verdicts):
        if isinstance(verdict, Drop):
            continue
        if verdict.id in ids:
            result[place] = Drop("repeated_id", verdict, "another row has this id")
            continue
        ids.add(verdict.id)
        places.append(place)
    if settings.duplicates == "off":
        return result
    rows = {place: verdict for place in places if isinstance(verdict := result[place], TextRow)}
    threshold = settings.similarity if settings.duplicates == "near" else 1.0
    members: dict[int, list[int]] = {}
    for place, cluster in zip(rows, clusters([row.text for row in rows.values()], threshold), strict=True):
        members.setdefault(cluster, []).append(place)
    for cluster_places in members.values():
        best = max(cluster_places, key=lambda place: (_confidence(rows[place]), -place))
        key = exact_key(rows[best].text)
        for place in cluster_places:
            if place != best:
                reason = "duplicate_exact" if exact_key(rows[place].text) == key else "duplicate_near"
                result[place] = Drop(reason, rows[place], f"of {rows[best].id}")
    return result


def _confidence(row: TextRow) -> float:
    """How sure it is that the text is what was written: mean of its lines; 1.0 where nobody had to read."""
    return sum(row.line_confidences) / len(row.line_confidences) if row.line_confidences else 1.0


def _relabelled(before: TextRow, after: TextRow) -> dict[str, int]:
    return {f"relabelled_not_{before.kind}": 1} if after.kind != before.kind else {}


def _lists_sha256() -> str:
    """Of the word lists and weights that filters judge by."""
    hasher = hashlib.sha256()
    for path in sorted(WORDS_FOLDER.iterdir()):
        hasher.update(path.name.encode() + b"\0" + path.read_bytes())
    return hasher.hexdigest()
