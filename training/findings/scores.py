"""How well a model knows texts, token by token, so that models can be compared on the same texts and words.

Nats add up: over a text, or over the words that a comparison leaves in. What a text begins with is not scored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import log_softmax

from training.evaluate import SCORED_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


@torch.no_grad()
def token_nats(model: PreTrainedModel, documents: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
    """Nats of every token but the first of each document, given those before it."""
    nats = []
    for start in range(0, len(documents), SCORED_ROWS):
        rows = documents[start : start + SCORED_ROWS]
        logs = log_softmax(_logits(model, rows).double(), dim=-1).numpy()
        for row, document in enumerate(rows):
            places = np.arange(len(document) - 1)
            nats.append(-logs[row, places, np.asarray(document[1:])])
    return nats


@torch.no_grad()
def chance_after(
    model: PreTrainedModel, documents: Sequence[Sequence[int]], after: int, token: int
) -> tuple[float, int]:
    """How likely ``token`` is next, on the average over all places of token ``after``, and how many places there are.

    Raises ValueError when there are none.
    """
    total, places = 0.0, 0
    for start in range(0, len(documents), SCORED_ROWS):
        rows = documents[start : start + SCORED_ROWS]
        chances = _logits(model, rows).double().softmax(dim=-1)[..., token].numpy()
        for row, document in enumerate(rows):
            found = np.flatnonzero(np.asarray(document) == after)
            total += float(chances[row, found].sum())
            places += len(found)
    if not places:
        raise ValueError(f"token {after} stands in none of the texts")
    return total / places, places


def outside(
    tokenizer: PreTrainedTokenizerFast, text: str, places: Sequence[tuple[int, int]]
) -> tuple[NDArray[np.bool_], int]:
    """Which tokens of a text (and the end token after them) lie outside some places, and the bytes of what does.

    Places are of characters, ends excluded. A token that reaches into one counts as inside.
    """
    taken = np.zeros(len(text) + 1, np.bool_)
    for start, end in places:
        taken[start:end] = True
    spans = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).offsets
    left = [not taken[start:end].any() for start, end in spans]
    text_bytes = sum(len(character.encode()) for character, inside in zip(text, taken, strict=False) if not inside)
    return np.array([*left, True]), text_bytes


def _logits(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for row, document in enumerate(rows):
        ids[row, : len(document)] = document
    # Padding is on the right, where no real token sees it: no attention mask is needed.
    logits: torch.Tensor = model(input_ids=torch.from_numpy(ids), use_cache=False).logits
    return logits
