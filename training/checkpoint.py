"""Checkpoints: ``transformers`` directories of safetensors, configuration and tokenizer.

What begins a text is written in the configuration: ``bos_token_id`` is the end token after pretraining (stories stand
between two of them) and the start token once a model has been fine-tuned.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from greentext.control_tokens import END_TOKEN, START_TOKEN
from training.tokenizer import save_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerFast


class CheckpointError(ValueError):
    """A checkpoint directory cannot be used; the message says which one and why."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model, in evaluation mode and fp32, with its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast

    @property
    def start_id(self) -> int:
        """The token that begins a greentext."""
        return _control_id(self.tokenizer, START_TOKEN)

    @property
    def end_id(self) -> int:
        """The token that ends a text."""
        return _control_id(self.tokenizer, END_TOKEN)

    @property
    def context_length(self) -> int:
        """Tokens that the model can hold."""
        return int(self.model.config.max_position_embeddings)


def save_checkpoint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Writes a ``transformers`` checkpoint: safetensors, configuration, tokenizer."""
    model.save_pretrained(directory, safe_serialization=True)
    save_tokenizer(tokenizer, directory)


def load_checkpoint(directory: Path) -> Checkpoint:
    """Reads a checkpoint of this machine: safetensors only, no code that came with it.

    Raises CheckpointError when a part of it is missing or broken.
    """
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (directory / name).is_file():
            msg = f"{directory} is no checkpoint: {name} is missing; name a directory that pretrain or finetune wrote"
            raise CheckpointError(msg)
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, json.JSONDecodeError) as error:
        msg = f"{directory} cannot be loaded: {error}"
        raise CheckpointError(msg) from error
    return Checkpoint(model.eval(), tokenizer)


def begin_with_start_token(checkpoint: Checkpoint) -> None:
    """Makes the start token the one that begins a text, unless it is already; in place.

    A tokenizer without a start token (a published model's) gets it as a special token, and the model a row more. The
    row begins as the end token's, which pretraining put before each text: so the model continues a start token at once
    as it would begin a text, where random numbers, or the mean of all rows, would have to be unlearnt first. Where the
    output projection is a matrix of its own, its new row is the mean of the others (Hewitt 2021), as nothing ever has
    to predict a start token.
    """
    model, tokenizer = checkpoint.model, checkpoint.tokenizer
    added = START_TOKEN not in tokenizer.get_vocab()
    if added:
        tokenizer.add_special_tokens(
            {"additional_special_tokens": [START_TOKEN]}, replace_additional_special_tokens=False
        )
        if len(tokenizer) > model.get_input_embeddings().num_embeddings:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    start_id, end_id = checkpoint.start_id, checkpoint.end_id
    if model.config.bos_token_id == start_id:
        return
    with torch.no_grad():
        rows, head = model.get_input_embeddings().weight, model.get_output_embeddings()
        rows[start_id] = rows[end_id]
        if added and head.weight is not rows:
            others = torch.arange(len(head.weight)) != start_id
            head.weight[start_id] = head.weight[others].mean(dim=0)
            if head.bias is not None:
                head.bias[start_id] = head.bias[others].mean()
    model.config.bos_token_id = model.generation_config.bos_token_id = start_id


def _control_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    # Not get_vocab(): it copies the vocabulary, and this is asked for every text.
    token_id = tokenizer.backend_tokenizer.token_to_id(token)
    if token_id is None:
        msg = f"the tokenizer has no control token {token}"
        raise CheckpointError(msg)
    return int(token_id)
