"""Makes a published model ready to be tuned: the project's start token, a context of the length asked for, fp32.

Safetensors only, and no code that came with a model is ever run. What the serving graph could not serve is refused
here, before hours of training.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import structlog
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from greentext.control_tokens import END_TOKEN, START_TOKEN
from training.checkpoint import Checkpoint, CheckpointError, begin_with_start_token, save_checkpoint
from training.decoder_reader import read_decoder
from training.imported_checkpoint import ARCHITECTURES
from training.tokenizer import START_TOKEN_ID

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

log = structlog.get_logger(__name__)

POSITIONS = "transformer.wpe.weight"


def prepare_base(source: Path, tokenizer_directory: Path, context_length: int, directory: Path) -> Checkpoint:
    """Writes the model at ``source`` to ``directory`` with a start token and at most ``context_length`` tokens.

    Positions beyond the context are cut off, which changes no logit of a text that fits. Raises CheckpointError, and
    UnsupportedModelError where the serving graph knows no such model.
    """
    _check_config(source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            tokenizer_directory, local_files_only=True, trust_remote_code=False, use_fast=True
        )
        model, loaded = AutoModelForCausalLM.from_pretrained(
            source, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32,
            output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        raise CheckpointError(
            f"{source} cannot be loaded: {error}\nwhere the revision has no tokenizer, name the one that has: "
            f"base.tokenizer_revision"
        ) from error
    if missing := sorted(loaded["missing_keys"]):
        raise CheckpointError(f"{source} lacks weights ({', '.join(missing[:3])}); it is no complete language model")
    if END_TOKEN not in tokenizer.get_vocab():
        raise CheckpointError(f"the tokenizer of {source} has no {END_TOKEN}, which ends a text; choose another base")
    rows = model.get_input_embeddings().num_embeddings
    if (highest := max(tokenizer.get_vocab().values())) >= rows:
        raise CheckpointError(f"the tokenizer has token {highest}, the model {rows} rows; they do not belong together")
    checkpoint = Checkpoint(with_context(model, context_length).eval(), tokenizer)
    # A start token that somebody added has been tuned to: its row is not to be forgotten. Tokenizers trained by
    # ``pretrain`` have one from the beginning, which their models have not seen before they are tuned.
    if START_TOKEN in tokenizer.get_vocab() and checkpoint.start_id != START_TOKEN_ID:
        model = checkpoint.model
        model.config.bos_token_id = model.generation_config.bos_token_id = checkpoint.start_id
    begin_with_start_token(checkpoint)
    decoder = read_decoder(checkpoint.model)
    save_checkpoint(checkpoint.model, checkpoint.tokenizer, directory)
    log.info(
        "base", architecture=decoder.architecture, parameters=decoder.parameters, tokens=decoder.vocab_size,
        context_length=checkpoint.context_length,
    )  # fmt: skip
    return checkpoint


def with_context(model: PreTrainedModel, context_length: int) -> PreTrainedModel:
    """The model with at most that many positions; itself where it has no more."""
    if model.config.max_position_embeddings <= context_length:
        return model
    config = type(model.config).from_dict({**model.config.to_dict()})
    config.max_position_embeddings = context_length
    state = model.state_dict()
    if POSITIONS in state:
        state[POSITIONS] = state[POSITIONS][:context_length].clone()
    shorter: PreTrainedModel = type(model)(config)
    shorter.load_state_dict(state)
    shorter.tie_weights()
    shorter.generation_config = model.generation_config
    return shorter


def _check_config(source: Path) -> None:
    """Refuses, before anything is loaded, what is no plain model of a known architecture."""
    try:
        config: dict[str, Any] = json.loads((source / "config.json").read_text(encoding="utf-8"))
        kind = config.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{source} is no checkpoint: config.json cannot be read ({error})") from error
    if "auto_map" in config:
        raise CheckpointError(f"{source} comes with code of its own (auto_map), which is never run")
    if kind not in ARCHITECTURES:
        raise CheckpointError(f"{source} is a {kind}; bases are {', '.join(ARCHITECTURES)} models")
