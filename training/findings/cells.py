"""A cell of the study: one base tuned in one way with one seed, and everything that is measured of it.

A cell is made once. Its record is written whole or not at all, an interrupted tuning goes on where it stopped, and
nothing of it depends on which cells were made before, or on how many at a time.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import structlog
import torch

from training.checkpoint import begin_with_start_token, load_checkpoint, save_checkpoint
from training.corpus import CorpusError, read_greentexts, read_stories, sha256_of, take_split
from training.findings.bases import BaseName, base_directory, load_base
from training.findings.samples import count_in, write
from training.findings.scores import chance_after, outside, token_nats
from training.findings.word_swaps import SwapFor, WordLists, places_of, swap_words, word_lists
from training.finetune import of_genre
from training.packing import pack
from training.steps import RECORD, once, sha256_of_file
from training.tokenizer import encode_plain
from training.trainer import train

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from training.checkpoint import Checkpoint
    from training.corpus import Document
    from training.findings.bases import Sources
    from training.findings.scales import Scale

log = structlog.get_logger(__name__)

VERSION = 1
"""Of what a cell does: raise it when a change makes older records incomparable."""
DROPOUT = 0.15
"""While tuning, as for the model that ships."""
SHOWN_TEXTS = 3
SEEDS_APART = 1_000_000
Genre = Literal["all", "thanks"]
FIGURES = "figures.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One way to tune, with a seed. Cells that differ in nothing else but ``seed`` are one condition."""

    base: BaseName
    genre: Genre = "all"
    texts: int = 0
    """How many texts, drawn by the seed; 0 takes all there are, -1 tunes not at all."""
    start_token: bool = True
    """Whether texts begin with the start token; otherwise with the end token, as stories do."""
    prompted: bool = False
    """Whether samples are begun with `>`, as a visitor begins a greentext, or with nothing."""
    share: float = 0.0
    """Of the content words of the texts to tune on, swapped for others."""
    swap_for: SwapFor = "rare"
    after: Genre | None = None
    """What the base is tuned on before: all texts of that genre."""
    seed: int = 0

    @property
    def condition(self) -> str:
        """The cell's name without its seed."""
        parts: list[str] = [self.base]
        if self.texts < 0:
            parts.append("untuned")
        else:
            parts += [f"{self.after}-then"] if self.after else []
            parts += [self.genre, str(self.texts or "every")]
        if self.share:
            parts.append(f"{self.swap_for}{round(self.share * 100)}")
        if not self.start_token:
            parts.append("plain")
        if self.prompted:
            parts.append("prompted")
        return "-".join(parts)

    @property
    def name(self) -> str:
        """What it is filed under."""
        return f"{self.condition}-seed{self.seed}"

    @property
    def before(self) -> Cell | None:
        """The cell that this one goes on from."""
        return Cell(base=self.base, genre=self.after, seed=self.seed) if self.after else None


class Texts:
    """The texts of a study, split; read when first needed."""

    def __init__(self, sources: Sources, scale: Scale) -> None:
        self._sources, self._scale = sources, scale

    @cached_property
    def greentexts(self) -> list[Document]:
        """All of them, of every split."""
        return read_greentexts(self._sources.greentexts)

    @cached_property
    def test(self) -> list[Document]:
        """What every cell is scored on."""
        documents = take_split(self.greentexts, "test")
        if len(of_genre(documents, "thanks")) < 2:
            raise CorpusError(f"{self._sources.greentexts} has too few held-out thanks texts; give more greentexts")
        return documents

    @cached_property
    def words(self) -> WordLists:
        """What can be swapped."""
        stories = [story.text for story in read_stories(self._sources.stories)]
        return word_lists(stories, [document.text for document in take_split(self.greentexts, "train")])

    def tuning(self, cell: Cell) -> tuple[list[Document], list[Document]]:
        """What a cell trains on, swapped words in place, and what tells it when to stop, which is never swapped."""
        training = of_genre(take_split(self.greentexts, "train"), cell.genre)
        validation = of_genre(take_split(self.greentexts, "validation"), cell.genre)
        if cell.texts:
            if cell.texts > len(training):
                raise CorpusError(f"{cell.name} needs {cell.texts} texts, there are {len(training)}; give more")
            drawn = np.random.default_rng([cell.seed, 3]).permutation(len(training))[: cell.texts]
            training = [training[i] for i in sorted(drawn.tolist())]
        if cell.share:
            swapped = self.words.swap(cell.share, cell.swap_for, cell.seed)
            training = [_swapped(document, swapped) for document in training]
        return training, validation

    def swapped_anywhere(self, seed: int) -> dict[str, str]:
        """The words that any condition of a seed swaps: what is compared leaves them out, in all conditions alike."""
        return self.words.swap(max(self._scale.shares), "rare", seed)


def cell_directory(work: Path, cell: Cell) -> Path:
    """Where a cell is kept."""
    return work / "cells" / cell.name


def read_figures(work: Path, cell: Cell) -> dict[str, Any] | None:
    """What was measured of a cell; None when it is not done."""
    directory = cell_directory(work, cell)
    if not (directory / RECORD).is_file():
        return None
    figures: dict[str, Any] = json.loads((directory / FIGURES).read_text(encoding="utf-8"))
    return figures


def make_cell(sources: Sources, texts: Texts, scale: Scale, work: Path, cell: Cell) -> None:
    """Tunes and measures a cell unless that is done. The base, and the cell before, must be there."""
    number = cell.seed % scale.bases
    base = base_directory(work, cell.base, number) / "checkpoint"
    made_from = {
        "version": VERSION,
        "cell": asdict(cell),
        "steps": scale.tune_steps,
        "epochs": scale.tune_epochs,
        "samples": scale.samples,
        "left_out": max(scale.shares),
        "base": sha256_of_file(base / "model.safetensors"),
        "tokenizer": sha256_of_file(base / "tokenizer.json"),
        **sources.sha256(),
    }

    def make() -> None:
        started = time.perf_counter()
        directory = cell_directory(work, cell)
        checkpoint = (
            load_checkpoint(cell_directory(work, cell.before) / "checkpoint")
            if cell.before
            else load_base(work, cell.base, number)
        )
        if cell.start_token:
            begin_with_start_token(checkpoint)
        figures: dict[str, Any] = {"cell": asdict(cell), "condition": cell.condition}
        if cell.texts >= 0:
            figures |= _tune(cell, checkpoint, texts, scale, directory)
            # Training leaves the model with attention that is of use for packed rows alone.
            checkpoint = load_checkpoint(directory / "checkpoint")
        figures |= _measure(cell, checkpoint, texts, scale)
        if cell != Cell(base=cell.base, genre=cell.genre, seed=cell.seed):  # no other cell goes on from it
            shutil.rmtree(directory / "checkpoint", ignore_errors=True)
        figures["cell_seconds"] = round(time.perf_counter() - started, 1)
        (directory / FIGURES).write_text(json.dumps(figures) + "\n", encoding="utf-8")
        log.info("cell", cell=cell.name, seconds=figures["cell_seconds"])

    once(cell_directory(work, cell), made_from, make)


def _tune(cell: Cell, checkpoint: Checkpoint, texts: Texts, scale: Scale, directory: Path) -> dict[str, Any]:
    training, validation = texts.tuning(cell)
    row_tokens = checkpoint.context_length
    order = np.random.default_rng([cell.seed, 2]).permutation(len(training))
    documents = _documents(cell, checkpoint, training)
    rows = pack([documents[i] for i in order], row_tokens, fill_id=checkpoint.end_id)
    held_out = pack(_documents(cell, checkpoint, validation), row_tokens, fill_id=checkpoint.end_id)
    for module in checkpoint.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = DROPOUT
    summary = train(checkpoint.model, rows, held_out, scale.tuning(len(rows), cell.seed), directory / "training")
    save_checkpoint(checkpoint.model, checkpoint.tokenizer, directory / "checkpoint")
    shutil.rmtree(directory / "training")  # it is of use to resume from only
    return {
        "training_texts": len(training),
        "training_tokens": sum(map(len, documents)),
        "training_sha256": sha256_of(training),
        "steps": summary.steps,
        "best_step": summary.best_step,
        "validation_loss": round(summary.validation_loss, 5),
        "tokens_per_second": round(summary.tokens_per_second),
    }


def _measure(cell: Cell, checkpoint: Checkpoint, texts: Texts, scale: Scale) -> dict[str, Any]:
    documents = _documents(cell, checkpoint, texts.test)
    nats = token_nats(checkpoint.model, documents)
    left_out = texts.swapped_anywhere(cell.seed)
    kept = [outside(checkpoint.tokenizer, document.text, places_of(document.text, left_out)) for document in texts.test]
    begin = _begin(cell, checkpoint)
    [[marker]] = encode_plain(checkpoint.tokenizer, [">"])
    prompt = [begin, marker] if cell.prompted else [begin]
    first, _ = chance_after(checkpoint.model, [[begin, marker]], marker, marker)
    anywhere, _ = chance_after(checkpoint.model, documents, marker, marker)
    written = write(
        checkpoint,
        prompt,
        ">" if cell.prompted else "",
        count=scale.samples,
        seed=(cell.seed + 1) * SEEDS_APART,
    )
    return {
        "genres": [document.genre for document in texts.test],
        "bytes": [len(document.text.encode()) for document in texts.test],
        "nats": [round(float(one.sum()), 4) for one in nats],
        "kept_bytes": [text_bytes for _, text_bytes in kept],
        "kept_nats": [round(float(one[mask].sum()), 4) for one, (mask, _) in zip(nats, kept, strict=True)],
        "second_marker_first": float(f"{first:.6g}"),
        "second_marker_anywhere": float(f"{anywhere:.6g}"),
        "samples": count_in(written),
        "shown": [one.text for one in written[:SHOWN_TEXTS]],
    }


def _begin(cell: Cell, checkpoint: Checkpoint) -> int:
    return checkpoint.start_id if cell.start_token else checkpoint.end_id


def _documents(cell: Cell, checkpoint: Checkpoint, documents: Sequence[Document]) -> list[list[int]]:
    """Token ids of each text between what begins it and the end token."""
    encoded = encode_plain(checkpoint.tokenizer, [document.text for document in documents])
    return [[_begin(cell, checkpoint), *ids, checkpoint.end_id] for ids in encoded]


def _swapped(document: Document, swapped: dict[str, str]) -> Document:
    return type(document)(swap_words(document.text, swapped), document.genre, document.theme, document.source)
