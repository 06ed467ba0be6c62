from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greentext.control_tokens import END_TOKEN, START_TOKEN
from service.engine.tokenizer import Tokenizer as EngineTokenizer
from tests.training.conftest import greentexts
from training.checkpoint import Checkpoint, begin_with_start_token
from training.tokenizer import (
    END_TOKEN_ID,
    MIN_VOCAB_SIZE,
    START_TOKEN_ID,
    encode_plain,
    save_tokenizer,
    train_tokenizer,
)

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerFast

TEXTS = [row["text"] for row in greentexts(160)]
TOKENIZER = train_tokenizer(TEXTS, 400)
WITH_CONTROL_TOKENS = st.lists(st.one_of(st.text(max_size=8), st.sampled_from([END_TOKEN, START_TOKEN]))).map("".join)


@given(WITH_CONTROL_TOKENS)
def test_any_text_comes_back_and_never_holds_a_control_token(text: str) -> None:
    [ids] = encode_plain(TOKENIZER, [text])
    assert TOKENIZER.decode(ids) == text
    assert not {END_TOKEN_ID, START_TOKEN_ID} & set(ids)


def test_the_engine_reads_it_the_same_way(tmp_path: Path) -> None:
    save_tokenizer(TOKENIZER, tmp_path)
    engine = EngineTokenizer(tmp_path / "tokenizer.json")
    for text in [*TEXTS[:20], f"a{START_TOKEN}b{END_TOKEN}", "ünïcödé 🐸\n\n  >", ""]:
        [ids] = encode_plain(TOKENIZER, [text])
        assert engine.encode(text) == ids
        assert engine.decode(ids) == text


def test_control_tokens_are_the_first_and_special() -> None:
    assert TOKENIZER.convert_tokens_to_ids([END_TOKEN, START_TOKEN]) == [END_TOKEN_ID, START_TOKEN_ID]
    assert set(TOKENIZER.all_special_tokens) == {END_TOKEN, START_TOKEN}


def test_encoding_plainly_leaves_the_tokenizer_as_it_was() -> None:
    encode_plain(TOKENIZER, [END_TOKEN])
    assert TOKENIZER.encode(END_TOKEN) == [END_TOKEN_ID]


def test_training_is_deterministic() -> None:
    first, second = (train_tokenizer(TEXTS, 350).backend_tokenizer.to_str() for _ in range(2))
    assert first == second


def test_a_vocabulary_without_room_for_all_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match=str(MIN_VOCAB_SIZE)):
        train_tokenizer(TEXTS, MIN_VOCAB_SIZE - 1)
    assert len(train_tokenizer(TEXTS, MIN_VOCAB_SIZE)) == MIN_VOCAB_SIZE


def test_the_start_token_begins_as_the_end_token_and_only_once(neo: Checkpoint) -> None:
    rows = neo.model.get_input_embeddings().weight
    assert not rows[START_TOKEN_ID].equal(rows[END_TOKEN_ID])
    begin_with_start_token(neo)
    assert rows[START_TOKEN_ID].equal(rows[END_TOKEN_ID])
    assert neo.model.config.bos_token_id == START_TOKEN_ID
    rows.data[START_TOKEN_ID] += 1  # as training would
    begin_with_start_token(neo)
    assert not rows[START_TOKEN_ID].equal(rows[END_TOKEN_ID])


def test_a_published_model_gets_the_start_token_and_a_row(tokenizer: PreTrainedTokenizerFast) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast as Wrapped

    from tests.training.conftest import tiny_model

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=300, special_tokens=[END_TOKEN], initial_alphabet=alphabet)
    )
    published = Checkpoint(tiny_model("gpt2", 300), Wrapped(tokenizer_object=bpe, eos_token=END_TOKEN))
    begin_with_start_token(published)
    assert published.start_id == 300
    embeddings = published.model.get_input_embeddings().weight
    assert embeddings.shape[0] == 301
    assert embeddings[300].equal(embeddings[published.end_id])
    assert published.model.get_output_embeddings().weight is embeddings
