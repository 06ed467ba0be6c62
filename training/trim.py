"""Vocabulary trimming: a model and its tokenizer without the tokens that a dataset never uses.

A GPT-2-sized vocabulary is half of a small model, in memory and in the time of a decode step, and most of it is never
written after tuning. What stays: every token that the given texts are encoded into, all bytes, all control and other
added tokens, and, for each of these, the tokens that its merges pass through. Promised: the given texts encode to the
same tokens as before (under new ids), and the model gives them the same logits; any other text still encodes, if into
more tokens. Why, see ``kept_tokens``.

Knows byte-level BPE tokenizers (GPT-2's kind, Llama 3's and SmolLM's), nothing else.
"""

from __future__ import annotations

import copy
import json
import tempfile
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
import torch
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.tokenizer import encode_plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    Merge = tuple[str, str]

log = structlog.get_logger(__name__)

ENCODED_TEXTS = 4096
"""Texts that are encoded at once."""


class TrimError(ValueError):
    """A checkpoint's vocabulary cannot be trimmed; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A trimmed checkpoint. Its token i was token ``kept_ids[i]``; ids keep their order."""

    checkpoint: Checkpoint
    kept_ids: NDArray[np.int64]
    vocab_size_before: int


def trim(checkpoint: Checkpoint, texts: Iterable[str], *, vocab_size: int | None = None) -> Trimmed:
    """The checkpoint, in memory anew, with the tokens that ``texts`` need and no others.

    With ``vocab_size`` the base's most frequent further tokens (those merged first) are kept up to that many, so that
    texts beyond the dataset, as prompts are, encode into few tokens too. Raises TrimError when the texts alone need
    more than ``vocab_size``, when there are none, and for a tokenizer that is no byte-level BPE.
    """
    content = json.loads(checkpoint.tokenizer.backend_tokenizer.to_str())
    bpe = _Bpe(content)
    before = checkpoint.model.get_input_embeddings().num_embeddings
    used = _used_ids(checkpoint.tokenizer, texts)
    if len(used) == 0:
        raise TrimError("there are no texts to keep the tokens of; name the dataset that the model was tuned on")
    kept = kept_tokens(bpe, [bpe.token_of[i] for i in used.tolist() if i in bpe.token_of])
    added_ids = {token["id"] for token in content["added_tokens"]}
    needed = len({bpe.vocab[token] for token in kept} | added_ids)
    if vocab_size is not None:
        if vocab_size < needed:
            raise TrimError(f"the texts need {needed:,} tokens, more than {vocab_size:,}; ask for at least {needed:,}")
        _fill(bpe, kept, vocab_size - needed, added_ids)
    kept_ids = np.array(sorted({bpe.vocab[token] for token in kept} | added_ids), np.int64)
    if len(kept_ids) and kept_ids[-1] >= before:
        raise TrimError(f"the tokenizer has token {kept_ids[-1]}, the model {before} rows; they do not belong together")
    new_id = {old: new for new, old in enumerate(kept_ids.tolist())}
    tokenizer = _trimmed_tokenizer(checkpoint.tokenizer, content, bpe, kept, new_id)
    model = _trimmed_model(checkpoint.model, kept_ids, new_id)
    log.info("trimmed", tokens_before=before, tokens=len(kept_ids), needed=needed)
    return Trimmed(Checkpoint(model, tokenizer), kept_ids, before)


def trim_checkpoint(directory: Path, texts: Iterable[str], output: Path, *, vocab_size: int | None = None) -> Trimmed:
    """As ``trim``, from a checkpoint's directory into another, which holds the whole result or is not there.

    Raises TrimError also when ``output`` exists, and CheckpointError.
    """
    if output.exists():
        raise TrimError(f"{output} exists; remove it, or name another directory")
    trimmed = trim(load_checkpoint(directory), texts, vocab_size=vocab_size)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as temporary:
        written = Path(temporary) / "checkpoint"
        save_checkpoint(trimmed.checkpoint.model, trimmed.checkpoint.tokenizer, written)
        written.rename(output)
    return trimmed


class _Bpe:
    """The byte-level BPE of a ``tokenizer.json``."""

    def __init__(self, content: dict[str, Any]) -> None:
        model = content["model"]
        if model.get("type") != "BPE" or (content.get("decoder") or {}).get("type") != "ByteLevel":
            raise TrimError("only a byte-level BPE tokenizer can be trimmed; keep this model's vocabulary whole")
        for setting in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
            if model.get(setting):
                raise TrimError(f"a BPE with {setting} cannot be trimmed; keep this model's vocabulary whole")
        self.vocab: dict[str, int] = model["vocab"]
        self.token_of = {token_id: token for token, token_id in self.vocab.items()}
        self.merges: list[Merge] = [_as_merge(merge) for merge in model["merges"]]
        self.rank = {merge: rank for rank, merge in enumerate(self.merges)}

    def passes_through(self, token: str) -> Iterator[str]:
        """What encoding ``token``'s own characters makes, from the single bytes to the last merge."""
        parts = list(token)
        yield from parts
        while ranked := [(self.rank[pair], at) for at, pair in enumerate(pairwise(parts)) if pair in self.rank]:
            _, at = min(ranked)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
            yield parts[at]


def kept_tokens(bpe: _Bpe, used: Iterable[str]) -> set[str]:
    """The bytes, ``used``, and all that encoding a used token passes through.

    BPE always applies the merge of lowest rank that the word has. No merge that it applies in a word crosses the border
    of a token that comes out, so what it applies within such a token is what it would apply to that token alone: all
    of it is kept, and so the trimmed tokenizer, which has fewer merges and these among them in the same order, finds
    at each step the same lowest one.
    """
    kept = {byte for byte in ByteLevel.alphabet() if byte in bpe.vocab}
    for token in used:
        kept.add(token)
        kept.update(part for part in bpe.passes_through(token) if part in bpe.vocab)
    return kept


def _fill(bpe: _Bpe, kept: set[str], room: int, added_ids: set[int]) -> None:
    """Adds the tokens merged first, each with what it is merged from, while there is room; in place."""
    for left, right in bpe.merges:
        if room <= 0:
            return
        token = left + right
        wanted = {token, *bpe.passes_through(token)} - kept
        new = {part for part in wanted if part in bpe.vocab and bpe.vocab[part] not in added_ids}
        if token in bpe.vocab and len(new) <= room:
            kept |= new
            room -= len(new)


def _used_ids(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> NDArray[np.int64]:
    """Ids that occur in the texts, in ascending order."""
    used = np.array([], np.int64)
    remaining = iter(texts)
    while chunk := list(islice(remaining, ENCODED_TEXTS)):
        for ids in encode_plain(tokenizer, chunk):
            used = np.union1d(used, np.array(ids, np.int64))
    return used


def _trimmed_tokenizer(
    tokenizer: PreTrainedTokenizerFast, content: dict[str, Any], bpe: _Bpe, kept: set[str], new_id: dict[int, int]
) -> PreTrainedTokenizerFast:
    trimmed = copy.deepcopy(content)
    trimmed["model"]["vocab"] = {
        token: new_id[old] for token, old in sorted(bpe.vocab.items(), key=lambda item: item[1]) if old in new_id
    }
    trimmed["model"]["merges"] = [
        list(merge) for merge in bpe.merges if all(part in kept for part in (*merge, "".join(merge)))
    ]
    for token in trimmed["added_tokens"]:
        token["id"] = new_id[token["id"]]
    trimmed["added_tokens"].sort(key=lambda token: token["id"])
    _renumber(trimmed.get("post_processor"), new_id)
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(trimmed)),
        **tokenizer.special_tokens_map,
        model_max_length=tokenizer.model_max_length,
        clean_up_tokenization_spaces=tokenizer.clean_up_tokenization_spaces,
    )
    made.chat_template = tokenizer.chat_template
    return made


def _as_merge(merge: str | list[str]) -> Merge:
    """Older files have "left right", newer ones [left, right]."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _renumber(processor: dict[str, Any] | None, new_id: dict[int, int]) -> None:
    """Gives the control tokens that a post-processor adds their new ids, in place."""
    for part in () if processor is None else (processor, *processor.get("processors", ())):
        for token in part.get("special_tokens", {}).values():  # TemplateProcessing
            token["ids"] = [new_id[old] for old in token["ids"]]
        for end in ("sep", "cls"):  # BertProcessing, RobertaProcessing
            if end in part:
                part[end] = [part[end][0], new_id[part[end][1]]]


def _trimmed_model(model: PreTrainedModel, kept_ids: NDArray[np.int64], new_id: dict[int, int]) -> PreTrainedModel:
    rows = torch.from_numpy(kept_ids)
    # The state's tensors are shared until they are replaced: the large embedding is not copied first.
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head.weight is embedding.weight
    memo: dict[int, Any] = {id(module): module for module in (embedding, head)}
    trimmed: PreTrainedModel = copy.deepcopy(model, memo)
    with torch.no_grad():
        trimmed.set_input_embeddings(torch.nn.Embedding.from_pretrained(embedding.weight[rows], freeze=False))
        new_head = torch.nn.Linear(head.in_features, len(rows), bias=head.bias is not None)
        new_head.weight = trimmed.get_input_embeddings().weight if tied else torch.nn.Parameter(head.weight[rows])
        if head.bias is not None:
            new_head.bias = torch.nn.Parameter(head.bias[rows])
    trimmed.set_output_embeddings(new_head)
    trimmed.config.vocab_size = len(rows)
    if hasattr(trimmed, "vocab_size"):
        trimmed.vocab_size = len(rows)
    for config in (trimmed.config, trimmed.generation_config):
        for name, value in list(config.to_dict().items()):
            if name.endswith("_token_id"):
                setattr(config, name, _renumbered(value, new_id))
    return trimmed.eval()


def _renumbered(value: Any, new_id: dict[int, int]) -> Any:
    """The new id or ids of a setting; None for a token that the tokenizer does not have."""
    if isinstance(value, list):
        return [new_id[old] for old in value if old in new_id] or None
    return None if value is None else new_id.get(value)
