"""A byte-level BPE tokenizer trained on the project's own texts.

Every byte has a token, so any text encodes and decodes exactly. The control tokens are special tokens with the
lowest ids: the encoder of the engine never produces them from text (see ``greentext.control_tokens``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from greentext.control_tokens import END_TOKEN, START_TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

END_TOKEN_ID = 0
START_TOKEN_ID = 1
MIN_VOCAB_SIZE = 256 + 2


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE (Sennrich et al. 2016, over bytes as in GPT-2) of at most ``vocab_size`` tokens.

    Deterministic for the same texts in the same order. Raises ValueError when the vocabulary is too small to hold
    all bytes and the control tokens.
    """
    if vocab_size < MIN_VOCAB_SIZE:
        msg = f"vocab_size must be at least {MIN_VOCAB_SIZE} (256 bytes and 2 control tokens), got {vocab_size}"
        raise ValueError(msg)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_TOKEN, START_TOKEN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return wrap_tokenizer(bpe)


def wrap_tokenizer(bpe: Tokenizer) -> PreTrainedTokenizerFast:
    """The ``transformers`` tokenizer around a trained BPE, its control tokens registered as special tokens."""
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END_TOKEN,
        pad_token=END_TOKEN,
        additional_special_tokens=[START_TOKEN],
        clean_up_tokenization_spaces=False,
    )


def encode_plain(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """Token ids of each text, text that spells a control token being plain text, as in serving."""
    backend = tokenizer.backend_tokenizer
    before = backend.encode_special_tokens
    backend.encode_special_tokens = True
    try:
        return [encoding.ids for encoding in backend.encode_batch(texts, add_special_tokens=False)]
    finally:
        backend.encode_special_tokens = before


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Writes ``tokenizer.json`` and its configuration, as ``transformers`` reads them."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(directory)
