"""The stages: their names, what they read, and which go before which. A stage's module is imported when it is used."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from data_pipeline.results import Summary
    from data_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, as the command line and a pipeline's configuration name it.

    Its module has `run(inputs, folder, settings, *, restart) -> Summary`; the settings' class is the one that `run`
    names there.
    """

    name: str
    module: str
    summary: str
    """A sentence for `--help`."""
    inputs: str
    """What it reads, for `--help`; empty where it reads nothing."""
    after: tuple[str, ...] = ()
    """In a pipeline, the stages whose folders it reads, as far as they are part of it."""
    needs_inputs: bool = True

    def settings_kind(self) -> type[Settings]:
        """The class of its settings."""
        run = self._run()
        annotation = run.__annotations__["settings"]
        if not isinstance(annotation, str):
            return annotation  # type: ignore[no-any-return]
        # Under postponed evaluation it is a name, of the stage's module or of the one in it that defines `run`.
        modules = (sys.modules[self.module], sys.modules[run.__module__])
        return next(getattr(module, annotation) for module in modules if hasattr(module, annotation))  # type: ignore[no-any-return]

    def run(self, inputs: Sequence[Path], folder: Path, settings: Settings, *, restart: bool = False) -> Summary:
        """Runs it. Raises StageError and OSError."""
        summary: Summary = self._run()(inputs, folder, settings, restart=restart)
        return summary

    def _run(self) -> Any:
        return importlib.import_module(self.module).run


STAGES: Final = (
    Stage(
        "dumps",
        "data_pipeline.dumps",
        "Reads a subreddit's submissions out of Reddit dumps.",
        "dump files of Pushshift or Arctic Shift: .zst, .ndjson, .json",
    ),
    Stage(
        "fetch",
        "data_pipeline.live_sources",
        "Asks the search API of Arctic Shift or PullPush for a subreddit's submissions.",
        "",
        needs_inputs=False,
    ),
    Stage(
        "posts",
        "data_pipeline.posts",
        "Chooses submissions with pictures worth having; user names go no further.",
        "folders that dumps or fetch wrote",
        after=("dumps", "fetch"),
    ),
    Stage(
        "selftext",
        "data_pipeline.selftext",
        "Takes greentexts out of submissions that are text.",
        "folders that dumps or fetch wrote",
        after=("dumps", "fetch"),
    ),
    Stage(
        "images",
        "data_pipeline.images",
        "Downloads the posts' pictures politely, or takes a folder of pictures; checks each and finds duplicates.",
        "folders that posts wrote, or folders of pictures",
        after=("posts",),
    ),
    Stage(
        "ocr",
        "data_pipeline.ocr",
        "Reads the greentext in screenshots, on all cores.",
        "folders that images wrote, or folders of pictures",
        after=("images",),
    ),
    Stage(
        "written",
        "data_pipeline.written",
        "Takes greentexts that people wrote, from files of yours.",
        ".jsonl files (one object a line, with text and perhaps theme), or .txt files (blank lines between texts)",
    ),
    Stage(
        "synthesis",
        "data_pipeline.synthesis",
        "Has a language model write greentexts, within a budget; any server with OpenAI's API will do.",
        "examples for the prompts: folders that written, selftext or ocr wrote",
        after=("written",),
        needs_inputs=False,
    ),
    Stage(
        "curated",
        "data_pipeline.curation.export",
        "Takes what people accepted in the app that `curate` opens.",
        "folders that curate keeps",
    ),
    Stage(
        "filters",
        "data_pipeline.filters",
        "Keeps what is wholesome, well formed, and told once.",
        "folders that curated, selftext, ocr, synthesis or written wrote",
        # What people have seen first: of two rows of one id, and of two texts that OCR is as sure of, the first stays.
        after=("curated", "written", "selftext", "ocr", "synthesis"),
    ),
    Stage(
        "dataset",
        "data_pipeline.dataset",
        "Makes tables with splits, a card and a hash, and publishes them when asked.",
        "folders that filters wrote",
        after=("filters",),
    ),
)
"""In the order in which a pipeline runs them."""

BY_NAME: Final = {stage.name: stage for stage in STAGES}
