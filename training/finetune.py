"""Fine-tuning a checkpoint on greentexts.

A document is the start token, a greentext's tokens and the end token; the loss is taken on all but the first. Texts
are split by their letters before anything else happens, and what is held out is seen by no step. Tuning first on all
genres and then on one is two calls, the second from the first one's checkpoint.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import structlog
import torch

from training.checkpoint import begin_with_start_token, load_checkpoint, save_checkpoint
from training.corpus import SYNTHETIC, CorpusError, read_greentexts, read_stories, sha256_of, take_split
from training.evaluate import hold_out, score_model
from training.packing import pack
from training.pretrain import STORY_VALIDATION_SHARE
from training.processes import on_first
from training.tokenizer import encode_plain
from training.trainer import TrainingPlan, remove_training_state, train

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from training.checkpoint import Checkpoint
    from training.corpus import Document, Split

log = structlog.get_logger(__name__)

Genre = Literal["all", "thanks", "general"]
Texts = Literal["all", "written", "synthetic"]


@dataclass(frozen=True, slots=True)
class Tuning:
    """What to tune on, beside the plan of the training itself."""

    genre: Genre = "all"
    texts: Texts = "all"
    """Which to train on: all, those that people wrote, or those that a model did. Held out are written ones always."""
    replay: float = 0.0
    """Stories mixed in, as a share of all training tokens: against forgetting the language of pretraining."""
    dropout: float = 0.0
    """On embeddings, attention and residuals, while training only."""
    row_tokens: int = 0
    """Tokens of a packed row; 0 is the model's context. Texts that are longer than a row, or than the context, are cut.
    A few times the usual text is fastest: shorter rows cannot be filled, and longer ones cost attention."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        if self.genre not in ("all", "thanks", "general"):
            raise ValueError(f"genre must be all, thanks or general, got {self.genre!r}")
        if self.texts not in get_args(Texts):
            raise ValueError(f"texts must be {', '.join(get_args(Texts))}, got {self.texts!r}")
        for name in ("replay", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be a share from 0 to below 1, got {getattr(self, name)}")
        if self.row_tokens < 0 or self.row_tokens == 1:
            raise ValueError(f"row_tokens must be 0 (the model's context) or at least 2, got {self.row_tokens}")


@dataclass(frozen=True, slots=True)
class TuningTexts:
    """The documents of a fine-tuning, split already; ``replayed`` are the stories that ``Tuning.replay`` mixes in."""

    training: Sequence[Document]
    validation: Sequence[Document]
    replayed: Sequence[Document] = ()

    def __post_init__(self) -> None:
        """Raises CorpusError when there is nothing to train on, or nothing to tell when to stop."""
        if not self.training or not self.validation:
            raise CorpusError(
                f"tuning needs texts to train on and texts to validate on, got {len(self.training)} and "
                f"{len(self.validation)}; give more texts"
            )


@dataclass(frozen=True, slots=True)
class TuningSummary:
    """What a fine-tuning ended with. Figures are of the held-out validation texts; ``by_genre`` is bits per byte."""

    steps: int
    best_step: int
    perplexity: float
    bits_per_byte: float
    by_genre: dict[str, float]
    training_texts: int
    training_sha256: str
    seconds: float


def greentexts_of(path: Path, split: Split, genre: Genre = "all", texts: Texts = "all") -> list[Document]:
    """The greentexts of one split, genre and origin. Raises CorpusError when there are none."""
    documents = [
        document
        for document in of_genre(take_split(read_greentexts(path), split), genre)
        if texts == "all" or (texts == "synthetic") == (document.source == SYNTHETIC)
    ]
    if not documents:
        raise CorpusError(f"{path} holds no greentext of genre {genre} ({texts}) in its {split} split; give more texts")
    return documents


def of_genre(documents: Iterable[Document], genre: Genre) -> list[Document]:
    """The documents of a genre, in their order."""
    return [document for document in documents if genre in ("all", document.genre)]


def finetune(
    base: Path,
    greentexts_path: Path,
    tuning: Tuning,
    plan: TrainingPlan,
    directory: Path,
    *,
    stories_path: Path | None = None,
) -> TuningSummary:
    """Fine-tunes on a JSON Lines file's own training split; see ``finetune_on``.

    ``stories_path`` is where replayed stories come from; it is needed when ``tuning.replay`` is above 0.
    """
    replayed: Sequence[Document] = ()
    if tuning.replay and stories_path is not None:
        replayed = take_split(read_stories(stories_path), "train", validation=STORY_VALIDATION_SHARE, test=0.0)
    training = greentexts_of(greentexts_path, "train", tuning.genre, tuning.texts)
    validation = greentexts_of(greentexts_path, "validation", tuning.genre)
    return finetune_on(base, TuningTexts(training, validation, replayed), tuning, plan, directory)


def finetune_on(base: Path, texts: TuningTexts, tuning: Tuning, plan: TrainingPlan, directory: Path) -> TuningSummary:
    """Fine-tunes the checkpoint at ``base`` and writes the best to ``directory/checkpoint``, with ``metrics.json``.

    ``tuning.genre`` has been seen to by whoever chose the texts. Of several processes each calls this, the first
    writes, and all return the same. Raises CorpusError when replay is asked for and there is nothing to replay.
    """
    checkpoint = load_checkpoint(base)
    begin_with_start_token(checkpoint)
    documents = encode_documents(checkpoint, texts.training)
    if tuning.replay:
        if not texts.replayed:
            raise CorpusError("replay mixes in stories; name the file they come from")
        documents += _replayed(checkpoint, texts.replayed, _count(documents), tuning.replay, plan.seed)
    order = np.random.default_rng(plan.seed).permutation(len(documents))
    packed = partial(
        pack,
        row_tokens=tuning.row_tokens or checkpoint.context_length,
        document_tokens=checkpoint.context_length,
        fill_id=checkpoint.end_id,
    )
    _set_dropout(checkpoint, tuning.dropout)
    summary = train(
        checkpoint.model,
        packed([documents[i] for i in order]),
        packed(encode_documents(checkpoint, texts.validation)),
        plan,
        directory,
    )

    def write() -> TuningSummary:
        save_checkpoint(checkpoint.model, checkpoint.tokenizer, directory / "checkpoint")
        remove_training_state(directory)
        tuned = load_checkpoint(directory / "checkpoint")
        score = score_model(tuned.model, hold_out(tuned, [document.text for document in texts.validation]))
        result = TuningSummary(
            steps=summary.steps,
            best_step=summary.best_step,
            perplexity=round(score.perplexity, 4),
            bits_per_byte=round(score.bits_per_byte, 4),
            by_genre=_by_genre(tuned, texts.validation),
            training_texts=len(texts.training),
            training_sha256=sha256_of(texts.training),
            seconds=round(summary.seconds, 1),
        )
        metrics = {"tuning": asdict(tuning), "plan": asdict(plan), "summary": asdict(result)}
        (directory / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        log.info("tuned", directory=str(directory), best_step=result.best_step, bits_per_byte=result.bits_per_byte)
        return result

    return on_first(write)


def encode_documents(checkpoint: Checkpoint, documents: Sequence[Document]) -> list[list[int]]:
    """Token ids of each greentext, between the start and the end token."""
    encoded = encode_plain(checkpoint.tokenizer, [document.text for document in documents])
    return [[checkpoint.start_id, *ids, checkpoint.end_id] for ids in encoded]


def _replayed(
    checkpoint: Checkpoint, stories: Sequence[Document], tokens: int, share: float, seed: int
) -> list[list[int]]:
    """Stories as in pretraining, drawn without order, until they are ``share`` of all tokens."""
    wanted = tokens * share / (1 - share)
    chosen: list[list[int]] = []
    for place in np.random.default_rng([seed, 1]).permutation(len(stories)):
        if _count(chosen) >= wanted:
            break
        [ids] = encode_plain(checkpoint.tokenizer, [stories[place].text])
        # A story is cut where the context ends; its rest would begin in the middle.
        chosen.append([checkpoint.end_id, *ids, checkpoint.end_id][: checkpoint.context_length])
    return chosen


def _count(documents: Iterable[Sequence[int]]) -> int:
    return sum(len(document) for document in documents)


def _set_dropout(checkpoint: Checkpoint, share: float) -> None:
    """Sets every dropout of the model; the configuration, and so what is saved, stays as it was."""
    for module in checkpoint.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        elif isinstance(getattr(module, "attention_dropout", None), float):  # Llama keeps a number, not a module
            module.attention_dropout = share


def _by_genre(checkpoint: Checkpoint, documents: Sequence[Document]) -> dict[str, float]:
    genres = sorted({document.genre for document in documents})
    texts = {genre: [document.text for document in documents if document.genre == genre] for genre in genres}
    return {
        genre: round(score_model(checkpoint.model, hold_out(checkpoint, texts[genre])).bits_per_byte, 4)
        for genre in genres
    }
