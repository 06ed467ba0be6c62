"""How well a model knows held-out greentexts, and how fast a serving graph decodes.

A text is scored as it is served: given the start token, its tokens and the end token after them. Bits per byte (nats
over ln 2 over UTF-8 bytes) compares models of any tokenizer, perplexity per token the precisions of one model. The
same figures come from PyTorch and from the serving graph, the latter one token at a time through its cache.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from training.packing import IGNORED
from training.tokenizer import encode_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from service.engine.model_runner import ModelRunner
    from training.checkpoint import Checkpoint

SCORED_ROWS = 16
"""Rows that are scored at once."""
DECODE_POSITION = 40
"""Where in a text decode rates are measured: greentexts are about twice as long."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Texts as token ids, [start, tokens of the text, end] each, with their size in UTF-8 bytes."""

    documents: tuple[tuple[int, ...], ...]
    text_bytes: int

    @property
    def target_tokens(self) -> int:
        """Tokens that are predicted: all but the start tokens."""
        return sum(len(document) - 1 for document in self.documents)


@dataclass(frozen=True, slots=True)
class Score:
    """How well held-out texts were predicted."""

    texts: int
    tokens: int
    text_bytes: int
    nats: float

    @property
    def bits_per_byte(self) -> float:
        """Nats in bits, for each UTF-8 byte of text."""
        return self.nats / math.log(2) / self.text_bytes

    @property
    def perplexity(self) -> float:
        """Exp of the nats a token."""
        return math.exp(self.nats / self.tokens)


def hold_out(checkpoint: Checkpoint, texts: Sequence[str]) -> HeldOut:
    """Encodes texts for scoring. Raises ValueError when there are none, or one is longer than the model's context."""
    encoded = encode_plain(checkpoint.tokenizer, list(texts))
    return held_out_of(texts, encoded, checkpoint.start_id, checkpoint.end_id, checkpoint.context_length)


def held_out_of(
    texts: Sequence[str], encoded: Sequence[Sequence[int]], start_id: int, end_id: int, context_length: int
) -> HeldOut:
    """As ``hold_out``, of texts that are encoded already."""
    if not texts:
        raise ValueError("there are no held-out texts to score; give more texts or a larger share of them")
    documents = tuple((start_id, *ids, end_id) for ids in encoded)
    longest = max(len(document) for document in documents)
    if longest > context_length:
        raise ValueError(f"a held-out text has {longest} tokens, the model's context {context_length}; leave it out")
    return HeldOut(documents, sum(len(text.encode()) for text in texts))


def score_model(model: PreTrainedModel, held_out: HeldOut) -> Score:
    """Scores a PyTorch model in fp32."""
    nats = 0.0
    with torch.no_grad():
        for start in range(0, len(held_out.documents), SCORED_ROWS):
            documents = held_out.documents[start : start + SCORED_ROWS]
            ids = np.zeros((len(documents), max(map(len, documents))), np.int64)
            labels = np.full_like(ids, IGNORED)
            for row, document in enumerate(documents):
                ids[row, : len(document)] = document
                labels[row, : len(document) - 1] = document[1:]
            # Padding is on the right, where no real token sees it: no attention mask is needed.
            logits = model(input_ids=torch.from_numpy(ids), use_cache=False).logits.float()
            nats += cross_entropy(
                logits.flatten(0, 1), torch.from_numpy(labels).flatten(), ignore_index=IGNORED, reduction="sum"
            ).item()
    return _score(held_out, nats)


def score_runner(runner: ModelRunner, held_out: HeldOut) -> Score:
    """Scores a serving graph, one token at a time through its cache."""
    return _score(held_out, float(nats_of_texts(runner, held_out).sum()))


def nats_of_texts(runner: ModelRunner, held_out: HeldOut) -> NDArray[np.float64]:
    """What ``score_runner`` adds up: nats of each held-out text, in their order."""
    nats = np.zeros(len(held_out.documents))
    order = sorted(range(len(nats)), key=lambda place: len(held_out.documents[place]), reverse=True)
    for start in range(0, len(order), runner.slots):
        places = order[start : start + runner.slots]
        rows = [held_out.documents[place] for place in places]
        for position in range(len(rows[0]) - 1):
            # The longest come first: those that still run are always the first rows.
            live = [row for row in rows if len(row) - 1 > position]
            tokens = np.array([row[position] for row in live], np.int64)
            targets = np.array([row[position + 1] for row in live], np.int64)
            step = runner.decode(tokens, np.full(len(live), position, np.int32), 1)
            nats[places[: len(live)]] -= log_probabilities(step.logits, targets)
    return nats


def log_probabilities(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log probability of each row's target, in nats; logits [rows, vocab_size], targets [rows]."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    picked: NDArray[np.float64] = wide[np.arange(len(targets)), targets] - np.log(np.exp(wide).sum(axis=1))
    return picked


def decode_rate(runner: ModelRunner, batch: int, *, seconds: float = 1.0) -> float:
    """Tokens a second of the bare decode step at a batch size: the median of the steps of ``seconds``."""
    rng = np.random.default_rng(batch)
    tokens = rng.integers(0, runner.shape.vocab_size, batch, dtype=np.int64)
    position = min(DECODE_POSITION, runner.max_len - 1)
    cached = np.full(batch, position, np.int32)
    for _ in range(3):
        runner.decode(tokens, cached, 1)
    taken: list[float] = []
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        started = time.perf_counter()
        runner.decode(tokens, cached, 1)
        taken.append(time.perf_counter() - started)
    return batch / float(np.median(taken))


def _score(held_out: HeldOut, nats: float) -> Score:
    return Score(len(held_out.documents), held_out.target_tokens, held_out.text_bytes, nats)
