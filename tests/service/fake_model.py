"""A model whose text is known and whose speed is chosen, under the real engine: scheduler, threads, streams and all.

It writes `TEXT`, byte by byte, whatever it is asked.
"""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from greentext.bundle import (
    ControlToken,
    ControlTokens,
    Dataset,
    DefaultSampling,
    ModelDescription,
    write_bundle,
)
from greentext.control_tokens import END_TOKEN, START_TOKEN
from service.engine import llm_engine
from service.engine.sequence import TokenLogprob
from service.engine.tokenizer import _byte_of_character

if TYPE_CHECKING:
    from pathlib import Path

TEXT = ">be me\n>find a frog\n>we are friends 🐸\n>thanks, frog"
TOKENS = TEXT.encode()
START_ID, END_ID, VOCABULARY = 256, 257, 258
CONTEXT = 512
NAME = "fake-thanks"
LOGPROB = -0.25


class FakeRunner:
    """Takes `step_s` for each step, may fail after some, and gives logits that nobody looks at."""

    def __init__(self, model_path: Path, *, slots: int, max_len: int | None = None, **_: Any) -> None:
        self.step_s = float(os.environ.get("FAKE_STEP_S", "0.003"))
        self.steps_left = int(os.environ.get("FAKE_STEPS", "-1"))
        self.slots = slots
        self.max_len = min(max_len or CONTEXT, CONTEXT)
        self.shape = SimpleNamespace(vocab_size=VOCABULARY)
        self.cache = SimpleNamespace(move=lambda *_: None)

    def _step(self, rows: int) -> Any:
        time.sleep(self.step_s)
        self.steps_left -= 1
        if self.steps_left == 0:
            raise RuntimeError("the fake model has done its steps")
        return SimpleNamespace(logits=np.zeros((rows, 1), np.float32), top_logits=None, top_ids=None)

    def decode(self, tokens: Any, *_: Any) -> Any:
        return self._step(len(tokens))

    def run(self, row: int, input_ids: Any, *_: Any) -> Any:
        return self._step(len(input_ids))


class FakeSampler:
    """Row by row the next byte of the text; the end token after it, unless `min_new_tokens` asks for more."""

    def __init__(self, slots: int, *_: Any) -> None:
        self.rows: list[Any] = [None] * slots

    def admit(self, row: int, prompt_ids: list[int], params: Any) -> None:
        self.rows[row] = SimpleNamespace(params=params, at=0)

    def move(self, source: int, destination: int) -> None:
        self.rows[destination] = self.rows[source]

    def candidates(self, first: int, count: int) -> int:
        return 1

    def sample(self, first: int, logits: Any, *_: Any) -> tuple[list[int], list[TokenLogprob | None]]:
        tokens, logprobs = [], []
        for row in self.rows[first : first + len(logits)]:
            over = row.at >= len(TOKENS) and row.at >= row.params.min_new_tokens
            token = END_ID if over else TOKENS[row.at % len(TOKENS)]
            row.at += 1
            tokens.append(token)
            asked = row.params.logprobs
            top = tuple((65 + i, LOGPROB - i) for i in range(asked or 0))
            logprobs.append(None if asked is None else TokenLogprob(token, LOGPROB, top))
        return tokens, logprobs


def install() -> None:
    """From here on engines of this process run the fake model."""
    llm_engine.ModelRunner = FakeRunner  # type: ignore[misc, assignment]
    llm_engine.Sampler = FakeSampler  # type: ignore[misc, assignment]


def write_fake_bundle(directory: Path, name: str = NAME) -> Path:
    """A bundle with a byte tokenizer and no model to speak of."""
    work = directory.parent / f".{directory.name}-parts"
    work.mkdir(parents=True)
    (work / "model.onnx").write_bytes(b"no model")
    (work / "tokenizer.json").write_text(json.dumps(_tokenizer()), encoding="utf-8")
    description = ModelDescription(
        name=name,
        description="Writes one text.",
        base_model="none",
        architecture="gpt_neo",
        precision="fp32",
        context_length=CONTEXT,
        vocab_size=VOCABULARY,
        num_layers=1,
        num_heads=1,
        num_kv_heads=1,
        head_dim=8,
        control_tokens=ControlTokens(
            start=ControlToken(id=START_ID, text=START_TOKEN), end=ControlToken(id=END_ID, text=END_TOKEN)
        ),
        default_sampling=DefaultSampling(
            temperature=0.8, top_k=50, top_p=0.95, min_p=0.0, repetition_penalty=1.1, max_new_tokens=96
        ),
        evaluation={"bits_per_byte": 1.25},
        dataset=Dataset(name="none", sha256="0" * 64, documents=1),
        license="MIT",
    )
    write_bundle(
        directory,
        description,
        model=work / "model.onnx",
        tokenizer=work / "tokenizer.json",
        model_card="# Fake\n\nNo weights.\n",
    )
    return directory


def _tokenizer() -> dict[str, Any]:
    special = {START_TOKEN: START_ID, END_TOKEN: END_ID}
    added = [
        {"id": i, "content": text, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for text, i in special.items()
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": _byte_of_character() | special, "merges": [],
        },
    }  # fmt: skip
