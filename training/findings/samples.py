"""What a tuned model writes, and what is counted of it; through the engine that serves.

Texts are drawn from the model's own distribution (temperature 1, nothing cut off), so that rates are the model's.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from greentext.genres import ends_with_thanks
from greentext.text import validate
from greentext.vocabulary import is_simple
from service.engine.llm_engine import EngineConfig, LLMEngine
from service.engine.sampling_params import SamplingParams
from training.decode_graph import build_serving_graph
from training.decoder_reader import read_decoder
from training.evaluation.code_shape import looks_like_code
from training.evaluation.diversity import distinct, first_words, words_in
from training.samples import complete
from training.weight_formats import Fp32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.checkpoint import Checkpoint

MAX_NEW_TOKENS = 120
SLOTS = 32
COMPARED_WORDS_A_TEXT = 25
"""Distinct-2 depends on how many words there are: it is taken of so many times the number of texts."""


@dataclass(frozen=True, slots=True)
class Written:
    """A text with what it was begun with, and whether the model ended it."""

    text: str
    ended: bool


def write(checkpoint: Checkpoint, prompt: Sequence[int], begun: str, *, count: int, seed: int) -> list[Written]:
    """``count`` texts from the same prompt, of seeds from ``seed`` on; ``begun`` is what the prompt already says."""
    with tempfile.TemporaryDirectory(prefix="findings-") as temporary:
        model, tokenizer = Path(temporary) / "model.onnx", Path(temporary) / "tokenizer.json"
        onnx.save(build_serving_graph(read_decoder(checkpoint.model), Fp32()), str(model))
        checkpoint.tokenizer.backend_tokenizer.save(str(tokenizer))
        engine = LLMEngine(
            EngineConfig(
                model_path=model,
                tokenizer_path=tokenizer,
                end_token_id=checkpoint.end_id,
                max_slots=min(SLOTS, count),
                max_waiting=count,
                threads=1,
            )
        )
        asked = [
            (list(prompt), SamplingParams(max_new_tokens=MAX_NEW_TOKENS, seed=seed + number)) for number in range(count)
        ]
        done = complete(engine, asked)
    return [Written(begun + completion.text, completion.finish_reason == "end") for completion in done]


def count_in(written: Sequence[Written]) -> dict[str, Any]:
    """What the experiments compare: a number for each text, and one for all (``distinct_2``; null without words)."""
    texts = [one.text for one in written]
    words = first_words(words_in(texts), COMPARED_WORDS_A_TEXT * len(texts))
    return {
        "thanks": [int(ends_with_thanks(text)) for text in texts],
        "valid": [int(not validate(text)) for text in texts],
        "code": [int(looks_like_code(text)) for text in texts],
        "ended": [int(one.ended) for one in written],
        "simple_lines": [round(_simple_lines(text), 4) for text in texts],
        "distinct_2": round(distinct(words, 2).value, 5) if any(len(text) > 1 for text in words) else None,
    }


def _simple_lines(text: str) -> float:
    """Lines with only simple words, of all lines."""
    lines = text.split("\n")
    return sum(is_simple(line) for line in lines) / len(lines)
