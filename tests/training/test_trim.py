"""Trimming: the dataset's texts keep their tokens and their logits, whatever the tokenizer's kind."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.tokenizer import Tokenizer as EngineTokenizer
from tests.training.conftest import tiny_model
from tests.training.published import (
    BEGIN,
    LEARNT,
    STOP,
    TEXTS,
    gpt2_model,
    gpt2_tokenizer,
    llama_model,
    smollm_tokenizer,
)
from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.tokenizer import encode_plain, train_tokenizer
from training.trim import TrimError, trim, trim_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

DATASET = TEXTS[:20]
OTHER = [*TEXTS[20:], *LEARNT[-20:], "zażółć 日本 🙂\x00\x7f <|endoftext|> <|begin|>", "12345 + 67", "\t\n  x", ""]


def made(kind: str) -> Checkpoint:
    if kind == "gpt2":
        tokenizer = gpt2_tokenizer(600)
        return Checkpoint(gpt2_model(tokenizer), tokenizer)
    if kind == "ours":
        tokenizer = train_tokenizer(LEARNT, 600)
        return Checkpoint(tiny_model("gpt_neo", len(tokenizer)), tokenizer)
    tokenizer = smollm_tokenizer(600, ignore_merges=kind == "llama3")
    return Checkpoint(llama_model(tokenizer, tied=kind == "llama3"), tokenizer)


KINDS = ["gpt2", "ours", "smollm, untied", "llama3"]


@pytest.fixture(scope="module", params=KINDS)
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return made(request.param)


def test_the_datasets_texts_encode_as_before_and_get_the_same_logits(checkpoint: Checkpoint) -> None:
    before = [parameter.clone() for parameter in checkpoint.model.parameters()]
    trimmed = trim(checkpoint, DATASET)
    kept = trimmed.kept_ids
    assert 256 < len(kept) < trimmed.vocab_size_before - 20
    old = encode_plain(checkpoint.tokenizer, DATASET)
    new = encode_plain(trimmed.checkpoint.tokenizer, DATASET)
    for wanted, ids in zip(old, new, strict=True):
        assert kept[ids].tolist() == wanted
        with torch.no_grad():
            logits = checkpoint.model(torch.tensor([wanted])).logits[0][:, kept]
            torch.testing.assert_close(
                trimmed.checkpoint.model(torch.tensor([ids])).logits[0], logits, atol=1e-6, rtol=1e-6
            )
    for parameter, was in zip(checkpoint.model.parameters(), before, strict=True):
        assert torch.equal(parameter, was), "the checkpoint itself is left as it was"


def test_any_text_still_encodes_and_comes_back(checkpoint: Checkpoint) -> None:
    tokenizer = trim(checkpoint, DATASET).checkpoint.tokenizer
    for text, ids in zip(OTHER, encode_plain(tokenizer, OTHER), strict=True):
        assert tokenizer.decode(ids) == text
        assert max(ids, default=0) < len(tokenizer)


def test_every_byte_and_every_control_token_is_kept(checkpoint: Checkpoint) -> None:
    trimmed = trim(checkpoint, ["a"])
    tokenizer = trimmed.checkpoint.tokenizer
    old = checkpoint.tokenizer
    assert set(tokenizer.added_tokens_encoder) == set(old.added_tokens_encoder)
    assert tokenizer.all_special_tokens == old.all_special_tokens
    assert len(tokenizer) == 256 + len(old.added_tokens_encoder)
    for token, new in tokenizer.added_tokens_encoder.items():
        assert trimmed.kept_ids[new] == old.convert_tokens_to_ids(token)
    config = trimmed.checkpoint.model.config
    assert config.vocab_size == len(tokenizer) == trimmed.checkpoint.model.get_input_embeddings().num_embeddings
    for name in ("bos_token_id", "eos_token_id"):
        was = getattr(checkpoint.model.config, name)
        assert trimmed.kept_ids[getattr(config, name)] == was
        assert getattr(trimmed.checkpoint.model.generation_config, name) == getattr(config, name)


def test_kept_merges_are_closed(checkpoint: Checkpoint) -> None:
    content = json.loads(trim(checkpoint, DATASET).checkpoint.tokenizer.backend_tokenizer.to_str())
    vocab = set(content["model"]["vocab"])
    for left, right in content["model"]["merges"]:
        assert {left, right, left + right} <= vocab
    merged = {left + right for left, right in content["model"]["merges"]}
    alone = {token for token in vocab - merged if len(token) > 1}
    assert alone <= {token["content"] for token in content["added_tokens"]}


def test_room_is_filled_with_the_tokens_merged_first(checkpoint: Checkpoint) -> None:
    needed = trim(checkpoint, DATASET)
    filled = trim(checkpoint, DATASET, vocab_size=len(needed.kept_ids) + 40)
    assert len(filled.kept_ids) == len(needed.kept_ids) + 40
    assert set(needed.kept_ids) < set(filled.kept_ids)
    dropped = set(range(needed.vocab_size_before)) - set(filled.kept_ids)
    assert max(set(filled.kept_ids) - set(needed.kept_ids)) < min(dropped) + 40
    lengths = [
        sum(map(len, encode_plain(one.tokenizer, LEARNT))) for one in (checkpoint, filled.checkpoint, needed.checkpoint)
    ]
    assert lengths == sorted(lengths)
    whole = trim(checkpoint, DATASET, vocab_size=10_000)
    assert len(whole.kept_ids) == whole.vocab_size_before
    with pytest.raises(TrimError, match=f"ask for at least {len(needed.kept_ids)}"):
        trim(checkpoint, DATASET, vocab_size=len(needed.kept_ids) - 1)


def test_a_post_processor_puts_the_same_tokens_around_a_text() -> None:
    checkpoint = made("smollm, untied")
    trimmed = trim(checkpoint, DATASET).checkpoint.tokenizer
    assert trimmed.convert_ids_to_tokens(trimmed.encode(DATASET[0]))[0] == BEGIN
    assert trimmed.encode(DATASET[0])[0] != checkpoint.tokenizer.encode(DATASET[0])[0], "its id has moved"
    assert trimmed.eos_token == STOP


def test_a_trimmed_checkpoint_survives_a_directory(tmp_path: Path) -> None:
    for kind in KINDS:
        checkpoint = made(kind)
        source, output = tmp_path / f"{kind} old", tmp_path / f"{kind} new"
        save_checkpoint(checkpoint.model, checkpoint.tokenizer, source)
        trimmed = trim_checkpoint(source, iter(DATASET), output)
        read = load_checkpoint(output)
        assert read.tokenizer.get_vocab() == trimmed.checkpoint.tokenizer.get_vocab()
        ids = torch.tensor([encode_plain(read.tokenizer, DATASET[:1])[0]])
        with torch.no_grad():
            assert torch.equal(read.model(ids).logits, trimmed.checkpoint.model(ids).logits)
        tied = read.model.get_output_embeddings().weight is read.model.get_input_embeddings().weight
        assert tied == (kind != "smollm, untied")
        assert EngineTokenizer(output / "tokenizer.json").encode(DATASET[0]) == ids[0].tolist()
        with pytest.raises(TrimError, match="exists"):
            trim_checkpoint(source, DATASET, output)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = made("gpt2")
    save_checkpoint(checkpoint.model, checkpoint.tokenizer, tmp_path / "old")

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("training.trim.save_checkpoint", full)
    with pytest.raises(OSError, match="no space"):
        trim_checkpoint(tmp_path / "old", DATASET, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def changed(checkpoint: Checkpoint, **changes: Any) -> Checkpoint:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    content = json.loads(checkpoint.tokenizer.backend_tokenizer.to_str())
    for name, value in changes.items():
        (content if name in content else content["model"])[name] = value
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)), eos_token=STOP)
    return Checkpoint(checkpoint.model, tokenizer)


def test_what_cannot_be_trimmed_is_refused() -> None:
    checkpoint = made("llama3")
    for changes in ({"decoder": {"type": "Fuse"}}, {"dropout": 0.1}, {"end_of_word_suffix": "</w>"}):
        with pytest.raises(TrimError, match="keep this model's vocabulary whole"):
            trim(changed(checkpoint, **changes), DATASET)
    with pytest.raises(TrimError, match="no texts"):
        trim(checkpoint, [])
    small = Checkpoint(llama_model(smollm_tokenizer(300)), checkpoint.tokenizer)
    with pytest.raises(TrimError, match="do not belong together"):
        trim(small, LEARNT)


def test_a_merge_that_is_missing_shows() -> None:
    """The test of equal encodings can fail: without one merge that a text needs, it does."""
    checkpoint = made("gpt2")
    trimmed = trim(checkpoint, DATASET).checkpoint
    content = json.loads(trimmed.tokenizer.backend_tokenizer.to_str())
    del content["model"]["merges"][0]
    broken = changed(trimmed, model=content["model"])
    assert encode_plain(broken.tokenizer, DATASET) != encode_plain(trimmed.tokenizer, DATASET)


WORDS = st.text(alphabet="abc ", min_size=1, max_size=30)


@settings(max_examples=60)
@given(st.lists(WORDS, min_size=1, max_size=6), st.integers(0, 5))
def test_any_texts_encode_as_before(texts: list[str], seed: int) -> None:
    """Merges over three letters, in random order: every merge competes with others."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    rng = random.Random(seed)
    vocab = {byte: i for i, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokens, merges = ["a", "b", "c", "Ġ"], []
    while len(merges) < 40:
        pair = rng.choice(tokens), rng.choice(tokens)
        if pair not in merges and len("".join(pair)) < 8:
            merges.append(pair)
            if "".join(pair) not in vocab:  # several merges may give one token
                vocab["".join(pair)] = len(vocab)
                tokens.append("".join(pair))
    bpe = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=bool(seed % 2)))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = decoders.ByteLevel()
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe)
    trimmed = trim(Checkpoint(tiny_gpt2(len(vocab)), tokenizer), texts)
    for old, new in zip(encode_plain(tokenizer, texts), encode_plain(trimmed.checkpoint.tokenizer, texts), strict=True):
        assert trimmed.kept_ids[new].tolist() == old


MODELS: dict[int, Any] = {}


def tiny_gpt2(vocab_size: int) -> Any:
    if vocab_size not in MODELS:
        MODELS[vocab_size] = tiny_model("gpt2", vocab_size)
    return MODELS[vocab_size]
