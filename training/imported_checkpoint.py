"""Reads a published checkpoint as ours are: in fp32, with a start token and an end token.

Safetensors only, and no code that came with it is ever run. The start token is the tokenizer's where it has one (the
original project's checkpoints do); else it is added, and stands for what pretraining put before a text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from greentext.control_tokens import START_TOKEN
from training.checkpoint import Checkpoint
from training.decoder_weights import UnsupportedModelError
from training.import_source import ImportSource, ImportSourceError

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerFast

log = structlog.get_logger(__name__)

ARCHITECTURES = ("gpt2", "gpt_neo", "llama")
MIN_CONTEXT = 8
NEVER = -1e4
"""Added to the logit of a token that the model must not write."""


@dataclass(frozen=True, slots=True)
class ImportedCheckpoint(Checkpoint):
    """A checkpoint whose texts end with a token of its own tokenizer's choice."""

    end_token: str

    @property
    def end_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.convert_tokens_to_ids(self.end_token))


def load_imported(source: ImportSource, context_length: int | None = None) -> tuple[ImportedCheckpoint, str]:
    """The checkpoint, ready for export, and the token that an added start token stands for ("" if it was there).

    Raises ImportSourceError and UnsupportedModelError.
    """
    _check_config(source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            source.directory, local_files_only=True, trust_remote_code=False, use_fast=True
        )
        model, loaded = AutoModelForCausalLM.from_pretrained(
            source.directory, local_files_only=True, trust_remote_code=False, use_safetensors=True,
            dtype=torch.float32, output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ImportSourceError(f"{source.described} cannot be loaded: {error}") from error
    if missing := sorted(loaded["missing_keys"]):
        raise ImportSourceError(
            f"{source.described} lacks weights ({', '.join(missing[:3])}); it is no complete language model"
        )
    _check_tokenizer(source, tokenizer)
    if context_length is not None:
        if not MIN_CONTEXT <= context_length <= model.config.max_position_embeddings:
            raise ImportSourceError(
                f"{source.described} holds {MIN_CONTEXT} to {model.config.max_position_embeddings} tokens, "
                f"not {context_length}; ask for a context within that"
            )
        model.config.max_position_embeddings = context_length
    end_token = tokenizer.eos_token
    if end_token is None:
        raise ImportSourceError(f"the tokenizer of {source.described} names no eos_token: nothing would end a text")
    added = _add_start_token(model.eval(), tokenizer)
    rows = model.get_input_embeddings().num_embeddings
    if (highest := max(tokenizer.get_vocab().values())) >= rows:
        raise ImportSourceError(
            f"the tokenizer of {source.described} has token {highest}, its model {rows} rows; "
            f"they do not belong together"
        )
    return ImportedCheckpoint(model, tokenizer, end_token), added


def _check_config(source: ImportSource) -> None:
    """Refuses, before anything is loaded, what is not a plain model of a known architecture."""
    try:
        config: dict[str, Any] = json.loads((source.directory / "config.json").read_text(encoding="utf-8"))
        kind = config.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ImportSourceError(f"{source.described}: config.json cannot be read: {error}") from error
    if "auto_map" in config:
        raise UnsupportedModelError(f"{source.described} comes with code of its own (auto_map), which is never run")
    if kind not in ARCHITECTURES:
        raise UnsupportedModelError(
            f"{source.described} is a {kind}; bundles are made of {', '.join(ARCHITECTURES)} checkpoints"
        )
    if "quantization_config" in config:
        raise UnsupportedModelError(f"{source.described} is quantised; import the checkpoint that it was made from")


def _check_tokenizer(source: ImportSource, tokenizer: PreTrainedTokenizerFast) -> None:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = {} if backend is None else json.loads(backend.to_str())
    if (content.get("model") or {}).get("type") != "BPE" or (content.get("decoder") or {}).get("type") != "ByteLevel":
        raise UnsupportedModelError(
            f"the tokenizer of {source.described} is no byte-level BPE (SentencePiece ones, as Llama 2's, are not); "
            f"the engine serves byte-level BPE only"
        )


def _add_start_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> str:
    """Adds the start token where it is missing, in place, and returns the token it stands for ("" if it was there).

    Its embedding is that of the token which pretraining put before a text. Where the output projection is the
    embedding, it would come up whenever that one does; so it is kept from being written.
    """
    if START_TOKEN in tokenizer.get_vocab():
        return ""
    before: str = tokenizer.bos_token or tokenizer.eos_token
    tokenizer.add_special_tokens({"additional_special_tokens": [START_TOKEN]}, replace_additional_special_tokens=False)
    start_id, stands_for = tokenizer.convert_tokens_to_ids([START_TOKEN, before])
    if start_id >= model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(start_id + 1, mean_resizing=False)
    with torch.no_grad():
        embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings()
        embedding[start_id] = embedding[stands_for]
        if head.bias is None:
            head.bias = torch.nn.Parameter(torch.zeros(len(head.weight)))
        head.bias[start_id] = NEVER
    log.warning("the tokenizer has no start token: it was added", token=START_TOKEN, stands_for=before)
    return before


def write_tokenizer(checkpoint: ImportedCheckpoint, path: Path) -> Path:
    """The ``tokenizer.json`` of a bundle: the checkpoint's, with both control tokens marked as such."""
    content = json.loads(checkpoint.tokenizer.backend_tokenizer.to_str())
    content["truncation"] = content["padding"] = None
    added = {token["id"]: token for token in content["added_tokens"]}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    for token_id, text in ((checkpoint.start_id, START_TOKEN), (checkpoint.end_id, checkpoint.end_token)):
        added[token_id] = {**plain, **added.get(token_id, {}), "id": token_id, "content": text, "special": True}
    content["added_tokens"] = [added[token_id] for token_id in sorted(added)]
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path
