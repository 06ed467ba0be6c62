"""MAUVE (Pillutla et al. 2021): how close the distribution of samples is to that of held-out texts, from 0 to 1.

Needs the package `mauve-text`, which is not among our dependencies, and a model to read features off (the paper's is
gpt2-large). The features are made here: safetensors only, no code that came with the model. Scores depend on that
model, on how many texts there are and on their length: compare only what was measured alike. Below a thousand texts of
each kind the authors advise against it.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DEFAULT_MODEL = "openai-community/gpt2-large"
ADVISED_TEXTS = 1000
MAX_TOKENS = 512
SEED = 25
"""The authors' default, for the clustering."""
ROWS = 8


class MauveError(RuntimeError):
    """MAUVE cannot be measured here; the message says what is missing."""


class Mauve:
    """The package and the model, found and loaded before anything long begins."""

    def __init__(self, model: str = DEFAULT_MODEL, revision: str | None = None) -> None:
        """``model``: of the hub, or a directory. Raises MauveError."""
        self.model = model
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the package's own dependencies
                self._package = importlib.import_module("mauve")
        except ImportError as error:
            raise MauveError(
                f"MAUVE needs a package that is not installed ({error}): pip install mauve-text, or leave it out"
            ) from error
        try:
            self._network = AutoModel.from_pretrained(
                model, revision=revision, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            ).eval()
            self._tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise MauveError(
                f"MAUVE's model {model} cannot be loaded ({error}); name one that is on this machine, or leave it out"
            ) from error

    def score(self, samples: Sequence[str], held_out: Sequence[str]) -> float:
        """MAUVE of as many texts of either kind, the first ones. Raises MauveError when there is nothing to compare."""
        samples, held_out = [text for text in samples if text], [text for text in held_out if text]
        count = min(len(samples), len(held_out))
        if count < 2:
            raise MauveError(f"MAUVE compares sets of texts; there are {len(samples)} and {len(held_out)}")
        answer = self._package.compute_mauve(
            p_features=self.features(held_out[:count]), q_features=self.features(samples[:count]), seed=SEED
        )
        return float(answer.mauve)

    def features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Hidden states behind the last layer at each text's last token, [texts, width]."""
        found: list[Any] = []
        with torch.no_grad():
            for start in range(0, len(texts), ROWS):
                encoded = [
                    self._tokenizer(text, truncation=True, max_length=MAX_TOKENS)["input_ids"]
                    for text in texts[start : start + ROWS]
                ]
                ids = torch.zeros((len(encoded), max(map(len, encoded))), dtype=torch.int64)
                seen = torch.zeros_like(ids)
                for row, one in enumerate(encoded):
                    ids[row, : len(one)] = torch.tensor(one)
                    seen[row, : len(one)] = 1
                hidden = self._network(input_ids=ids, attention_mask=seen).last_hidden_state
                found += [hidden[row, len(one) - 1].numpy() for row, one in enumerate(encoded)]
        return np.stack(found)
