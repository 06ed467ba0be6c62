"""Published bases in small: the architectures, tokenizers and habits of those that the recipes begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoConfig, GPTNeoForCausalLM

from tests.training.conftest import greentexts
from tests.training.published import gpt2_tokenizer, publish

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

SPARE_ROWS = 20
"""GPT-2's kind of checkpoint may have more rows than tokens."""


def tinystories(*, hidden_size: int = 32, num_layers: int = 2, positions: int = 96) -> GPTNeoConfig:
    return GPTNeoConfig(
        hidden_size=hidden_size, num_layers=num_layers, num_heads=16, max_position_embeddings=positions,
        attention_types=[[["global", "local"], num_layers // 2]], window_size=16, initializer_range=0.05,
    )  # fmt: skip


def distilgpt2(*, positions: int = 96) -> GPT2Config:
    return GPT2Config(
        n_embd=48, n_layer=2, n_head=12, n_positions=positions, initializer_range=0.05, attn_pdrop=0.1, embd_pdrop=0.1,
        resid_pdrop=0.1,
    )  # fmt: skip


def write_base(directory: Path, config: GPTNeoConfig | GPT2Config, *, spare_rows: int = SPARE_ROWS) -> Path:
    """A checkpoint as the hub has them: no start token, one control token, safetensors."""
    tokenizer = gpt2_tokenizer(420)
    config.vocab_size = len(tokenizer) + spare_rows
    config.bos_token_id = config.eos_token_id = tokenizer.eos_token_id
    torch.manual_seed(0)
    model: PreTrainedModel = (GPT2LMHeadModel if config.model_type == "gpt2" else GPTNeoForCausalLM)(config)
    return publish(model, tokenizer, directory)


def write_folder_of_texts(directory: Path, count: int = 160) -> Path:
    """Plain files as a newcomer has them: several texts a file, blank lines between."""
    directory.mkdir(parents=True)
    texts = [row["text"] for row in greentexts(count)]
    for number in range(0, len(texts), 40):
        content = "\n\n".join(texts[number : number + 40])
        (directory / f"texts-{number:03}.txt").write_text(content + "\n", encoding="utf-8")
    return directory
