"""Tiny models of both architectures, with weights large enough that attention and positions matter."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest
import structlog
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoConfig, GPTNeoForCausalLM

from training.checkpoint import Checkpoint, save_checkpoint
from training.tokenizer import END_TOKEN_ID, train_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerFast

CONTEXT_LENGTH = 64
WINDOW = 8
"""Smaller than the texts, so that local attention shows."""
WHO = ["mom", "grandma", "the bus driver", "a small cat", "my friend", "an old man", "the baker", "a girl"]
WHAT = ["a cake", "a red ball", "some soup", "a warm hat", "one cookie", "a kite", "a note", "the last bun"]
WHERE = ["at the park", "in the kitchen", "on the bus", "by the lake", "at school", "in the snow"]


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """More would wait for each other longer than they compute, on models of this size."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.engine.model_runner.cpu_limit", lambda: 1)
        yield


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """The command line program sends logs to a stream that ends with its test."""
    yield
    structlog.reset_defaults()


def greentexts(count: int) -> list[dict[str, str]]:
    """Rows of a small corpus, all different."""
    rng = random.Random(7)
    rows: dict[str, dict[str, str]] = {}
    while len(rows) < count:
        who, what, where = rng.choice(WHO), rng.choice(WHAT), rng.choice(WHERE)
        genre = rng.choice(["thanks", "general"])
        end = f">thank you, {who}" if genre == "thanks" else f">we share it {rng.choice(WHERE)}"
        text = f">be me\n>{where}\n>{who} gives me {what}\n{end}"
        rows[text] = {"text": text, "genre": genre, "theme": "test", "source": "made"}
    return list(rows.values())


def stories(count: int) -> str:
    rng = random.Random(3)
    texts = [
        f"Once upon a time {rng.choice(WHO)} had {rng.choice(WHAT)} {rng.choice(WHERE)}. "
        f"Then {rng.choice(WHO)} came and they were happy. This is story {number}."
        for number in range(count)
    ]
    return "\n<|endoftext|>\n".join(texts)


@pytest.fixture(scope="session")
def greentexts_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "greentexts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in greentexts(160)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def stories_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "stories.txt"
    path.write_text(stories(300), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer([row["text"] for row in greentexts(160)], 400)


def tiny_model(architecture: str, vocab_size: int, seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    common = {
        "vocab_size": vocab_size, "initializer_range": 0.15, "bos_token_id": END_TOKEN_ID, "eos_token_id": END_TOKEN_ID,
    }  # fmt: skip
    if architecture == "gpt2":
        config = GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT_LENGTH, **common)
        model: PreTrainedModel = GPT2LMHeadModel(config)
    else:
        neo = GPTNeoConfig(
            hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], window_size=WINDOW,
            max_position_embeddings=CONTEXT_LENGTH, **common,
        )  # fmt: skip
        model = GPTNeoForCausalLM(neo)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):  # fresh biases are 0, and a graph without them would pass
                parameter.normal_(0, 0.1)
    return model.eval()


@pytest.fixture(scope="session", params=["gpt2", "gpt_neo"])
def tiny(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerFast) -> Checkpoint:
    """A model of either architecture; not to be changed."""
    return Checkpoint(tiny_model(request.param, len(tokenizer)), tokenizer)


@pytest.fixture
def neo(tokenizer: PreTrainedTokenizerFast) -> Checkpoint:
    """A GPT-Neo of one's own."""
    return Checkpoint(tiny_model("gpt_neo", len(tokenizer)), tokenizer)


@pytest.fixture(scope="session")
def checkpoint_directory(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(tiny_model("gpt_neo", len(tokenizer)), tokenizer, directory)
    return directory
