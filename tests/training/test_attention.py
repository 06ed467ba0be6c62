from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.training.conftest import CONTEXT_LENGTH, tiny_model
from tests.training.counting import tiny_llama
from training.attention import document_mask, fuse_attention
from training.packing import pack

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@pytest.fixture(params=["gpt2", "gpt_neo", "llama"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_llama(50) if request.param == "llama" else tiny_model(request.param, 50)


def documents(count: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 50, int(rng.integers(3, 30))).tolist() for _ in range(count)]


@pytest.mark.parametrize("row_tokens", [CONTEXT_LENGTH, 3 * CONTEXT_LENGTH])
def test_packed_rows_give_each_document_the_logits_it_has_alone(model: PreTrainedModel, row_tokens: int) -> None:
    texts = documents(9)
    alone = {tuple(text): model(torch.tensor([text])).logits[0].detach() for text in texts}
    packed = pack(texts, row_tokens, fill_id=0, document_tokens=CONTEXT_LENGTH)
    fuse_attention(model, row_tokens)
    with torch.no_grad():
        logits = model(
            input_ids=torch.from_numpy(packed.input_ids),
            position_ids=torch.from_numpy(packed.position_ids),
            attention_mask=document_mask(torch.from_numpy(packed.document_ids)),
            use_cache=False,
        ).logits
    assert not logits.isnan().any()
    compared = 0
    for row in range(len(packed)):
        for number in range(1, packed.document_ids[row].max() + 1):
            (places,) = np.nonzero(packed.document_ids[row] == number)
            text = tuple(packed.input_ids[row, places].tolist())
            torch.testing.assert_close(logits[row, places], alone[text], atol=2e-5, rtol=1e-4)
            compared += 1
    assert compared == len(texts)


def test_the_window_of_local_attention_is_kept() -> None:
    model = tiny_model("gpt_neo", 50)
    ids = torch.randint(1, 50, (2, 40), generator=torch.Generator().manual_seed(0))
    before = model(ids, use_cache=False).logits
    fuse_attention(model)
    mask = document_mask(torch.ones_like(ids))
    torch.testing.assert_close(model(ids, attention_mask=mask, use_cache=False).logits, before, atol=2e-5, rtol=1e-4)
    # And it matters: with a wide window the result is another.
    for block in model.transformer.h:
        block.attn.attention.bias = torch.ones(64, 64, dtype=torch.bool).tril()[None, None]
    assert (model(ids, attention_mask=mask, use_cache=False).logits - before).abs().max() > 1e-2


def test_the_future_and_neighbours_stay_unseen() -> None:
    mask = document_mask(torch.tensor([[1, 1, 2, 2, 0]]))[0, 0]
    assert mask.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]


def test_head_masks_are_refused() -> None:
    model = tiny_model("gpt_neo", 50)
    fuse_attention(model)
    with pytest.raises(NotImplementedError, match="head masks"):
        model(torch.tensor([[1, 2]]), head_mask=torch.ones(2, 4))
