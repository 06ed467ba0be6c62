"""Pretraining a GPT-Neo of TinyStories' architecture on a text file of stories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer
from transformers import GPTNeoConfig, GPTNeoForCausalLM

from training.checkpoint import save_checkpoint
from training.corpus import SYNTHETIC, read_greentexts, read_stories, take_split
from training.packing import pack
from training.processes import on_first
from training.tokenizer import END_TOKEN_ID, encode_plain, train_tokenizer, wrap_tokenizer
from training.trainer import TrainingPlan, TrainingSummary, remove_training_state, train

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerFast

    from training.corpus import Document
    from training.packing import PackedRows

STORY_VALIDATION_SHARE = 0.01
GREENTEXTS_WEIGHT = 10


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The shape of a GPT-Neo; global and local attention alternate, as in the TinyStories models."""

    hidden_size: int = 256
    num_layers: int = 6
    num_heads: int = 4
    context_length: int = 256
    window_size: int = 256
    vocab_size: int = 8192
    tokenizer_greentexts: int = 0
    """How many greentexts the tokenizer is learned from, the first ones to train on; 0 takes all. With a number, texts
    that come later change neither the tokenizer nor what was pretrained with it."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        if self.num_layers < 2 or self.num_layers % 2:
            raise ValueError(f"num_layers must be even (global and local layers alternate), got {self.num_layers}")
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not divisible by num_heads {self.num_heads}")
        if self.tokenizer_greentexts < 0:
            raise ValueError(f"tokenizer_greentexts must not be negative, got {self.tokenizer_greentexts}")


def new_model(shape: ModelShape, vocab_size: int, *, seed: int) -> GPTNeoForCausalLM:
    """A GPT-Neo of that shape with fresh weights, without dropout."""
    torch.manual_seed(seed)
    config = GPTNeoConfig(
        hidden_size=shape.hidden_size,
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        attention_types=[[["global", "local"], shape.num_layers // 2]],
        window_size=shape.window_size,
        max_position_embeddings=shape.context_length,
        vocab_size=vocab_size,
        resid_dropout=0.0,
        embed_dropout=0.0,
        attention_dropout=0.0,
        bos_token_id=END_TOKEN_ID,
        eos_token_id=END_TOKEN_ID,
    )
    return GPTNeoForCausalLM(config)


def pack_stories(stories: Sequence[Document], tokenizer: PreTrainedTokenizerFast, row_tokens: int) -> PackedRows:
    """Packs stories, each between two end tokens: the first stands for "a text begins here"."""
    encoded = encode_plain(tokenizer, [story.text for story in stories])
    return pack([[END_TOKEN_ID, *ids, END_TOKEN_ID] for ids in encoded], row_tokens, fill_id=END_TOKEN_ID)


def tokenizer_texts(greentexts_path: Path, shape: ModelShape) -> list[Document]:
    """The greentexts that a tokenizer is learned from: those to train on that people wrote, or all where there are none
    of these.
    """
    greentexts = take_split(read_greentexts(greentexts_path), "train")
    written = [document for document in greentexts if document.source != SYNTHETIC]
    return (written or greentexts)[: shape.tokenizer_greentexts or None]


def pretrain(
    stories_path: Path, greentexts_path: Path, shape: ModelShape, plan: TrainingPlan, directory: Path
) -> TrainingSummary:
    """Trains tokenizer and model, and writes the checkpoint to ``directory/checkpoint``.

    The tokenizer sees the stories and the greentexts (ten times, as they are few), the model the stories alone.
    Held-out stories and held-out greentexts are seen by neither. Of several processes, each calls this and the first
    writes.
    """
    stories = read_stories(stories_path)
    training = take_split(stories, "train", validation=STORY_VALIDATION_SHARE, test=0.0)
    validation = take_split(stories, "validation", validation=STORY_VALIDATION_SHARE, test=0.0)
    texts = [document.text for document in [*training, *(tokenizer_texts(greentexts_path, shape) * GREENTEXTS_WEIGHT)]]

    def learn_merges() -> str:
        content: str = train_tokenizer(texts, shape.vocab_size).backend_tokenizer.to_str()
        return content

    tokenizer = wrap_tokenizer(Tokenizer.from_str(on_first(learn_merges)))
    model = new_model(shape, len(tokenizer), seed=plan.seed)
    summary = train(
        model,
        pack_stories(training, tokenizer, shape.context_length),
        pack_stories(validation, tokenizer, shape.context_length),
        plan,
        directory,
    )

    def write() -> None:
        save_checkpoint(model, tokenizer, directory / "checkpoint")
        remove_training_state(directory)

    on_first(write)
    return summary
