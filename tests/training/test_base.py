"""Published models are made ready without being changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from greentext.control_tokens import END_TOKEN, START_TOKEN
from tests.training.bases import distilgpt2, tinystories, write_base
from tests.training.published import gpt2_tokenizer, llama_model, publish
from training.base import prepare_base
from training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from training.decoder_weights import UnsupportedModelError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("spare_rows", [0, 20])
@pytest.mark.parametrize("config", [tinystories, distilgpt2])
def test_a_base_gets_a_start_token_and_a_shorter_context_and_is_otherwise_the_same(
    config: object, spare_rows: int, tmp_path: Path
) -> None:
    published = write_base(tmp_path / "published", config(), spare_rows=spare_rows)  # type: ignore[operator]
    prepare_base(published, published, 40, tmp_path / "ready")
    ready = load_checkpoint(tmp_path / "ready")
    assert ready.context_length == 40
    assert ready.model.config.bos_token_id == ready.start_id
    assert START_TOKEN in ready.tokenizer.all_special_tokens
    before = AutoModelForCausalLM.from_pretrained(published)
    tokenizer = AutoTokenizer.from_pretrained(published)
    assert ready.start_id == len(tokenizer)
    text = ">be me\n>thank you"
    ids = ready.tokenizer.encode(text, add_special_tokens=False)
    assert ids == tokenizer.encode(text, add_special_tokens=False)
    with torch.no_grad():
        after = ready.model(torch.tensor([ids])).logits
        # The start token stands for the end token at first.
        begun = ready.model(torch.tensor([[ready.start_id, *ids]])).logits
        ended = ready.model(torch.tensor([[ready.end_id, *ids]])).logits
    assert torch.equal(begun, ended)
    rows = before.config.vocab_size if spare_rows == 0 else ready.start_id
    torch.testing.assert_close(after[..., :rows], before(torch.tensor([ids])).logits[..., :rows], atol=1e-6, rtol=0)
    embedding = ready.model.get_input_embeddings().weight
    assert torch.equal(embedding[ready.start_id], embedding[ready.end_id])
    assert len(embedding) == max(len(tokenizer) + spare_rows, len(tokenizer) + 1)


def test_other_special_tokens_stay_and_a_projection_of_its_own_gets_a_mean_row(tmp_path: Path) -> None:
    tokenizer = gpt2_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|chat|>"]})
    published = publish(llama_model(tokenizer, tied=False), tokenizer, tmp_path / "published")
    ready = prepare_base(published, published, 64, tmp_path / "ready")
    assert ready.tokenizer.additional_special_tokens == ["<|chat|>", START_TOKEN]
    head, embedding = ready.model.get_output_embeddings().weight, ready.model.get_input_embeddings().weight
    assert torch.equal(embedding[ready.start_id], embedding[ready.end_id])
    torch.testing.assert_close(head[ready.start_id], head[: ready.start_id].mean(dim=0))
    assert not torch.equal(head[ready.start_id], head[ready.end_id])


def test_a_start_token_that_has_been_learnt_is_kept(tmp_path: Path) -> None:
    published = write_base(tmp_path / "published", tinystories())
    tuned = prepare_base(published, published, 64, tmp_path / "ready")
    with torch.no_grad():
        tuned.model.get_input_embeddings().weight[tuned.start_id] = 0.5
    tuned.model.config.bos_token_id = tuned.end_id  # as the original project published them
    save_checkpoint(tuned.model, tuned.tokenizer, tmp_path / "tuned")
    again = prepare_base(tmp_path / "tuned", tmp_path / "tuned", 64, tmp_path / "again")
    assert again.model.config.bos_token_id == again.start_id
    assert bool((again.model.get_input_embeddings().weight[again.start_id] == 0.5).all())


def test_the_tokenizer_may_be_elsewhere(tmp_path: Path) -> None:
    published = write_base(tmp_path / "published", tinystories())
    elsewhere = tmp_path / "tokenizer"
    elsewhere.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (published / name).rename(elsewhere / name)
    with pytest.raises(CheckpointError, match="tokenizer_revision"):
        prepare_base(published, published, 64, tmp_path / "ready")
    assert prepare_base(published, elsewhere, 64, tmp_path / "ready").end_id == gpt2_tokenizer().eos_token_id


def test_what_cannot_be_tuned_or_served_is_refused_first(tmp_path: Path) -> None:
    published = write_base(tmp_path / "published", tinystories())
    config = json.loads((published / "config.json").read_text(encoding="utf-8"))

    def refusal(**changes: object) -> str:
        (published / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
        with pytest.raises((CheckpointError, UnsupportedModelError)) as caught:
            prepare_base(published, published, 64, tmp_path / "ready")
        return str(caught.value)

    assert "code of its own" in refusal(auto_map={"AutoModel": "evil.Model"})
    assert "is a bert" in refusal(model_type="bert")
    more = {"num_layers": 4, "attention_types": [[["global", "local"], 2]], "attention_layers": ["global", "local"] * 2}
    assert "lacks weights" in refusal(**more)
    assert "they do not belong together" in refusal() if _shrink(published) else True
    assert not (tmp_path / "ready").exists()
    (published / "model.safetensors").write_bytes(b"\x08" + b"\0" * 40)
    assert "cannot be loaded" in refusal()
    (published / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        prepare_base(published, published, 64, tmp_path / "ready")


def _shrink(published: Path) -> bool:
    """Gives the directory a tokenizer with more tokens than the model has rows."""
    gpt2_tokenizer(600).save_pretrained(published)
    return True


def test_an_end_token_of_another_name_is_refused(tmp_path: Path) -> None:
    from tests.training.published import smollm_tokenizer

    tokenizer = smollm_tokenizer()
    published = publish(llama_model(tokenizer), tokenizer, tmp_path / "published")
    with pytest.raises(CheckpointError, match=f"no {END_TOKEN}".replace("|", r"\|")):
        prepare_base(published, published, 64, tmp_path / "ready")


def test_heads_of_four_are_served_exactly(tmp_path: Path) -> None:
    """TinyStories-1M has sixteen of them; ONNX Runtime's attention takes multiples of eight."""
    import numpy as np

    from service.engine.model_runner import ModelRunner
    from training.decoder_reader import read_decoder
    from training.parity import serve_stepwise
    from training.quantize import write_serving_graph
    from training.weight_formats import Fp32

    published = write_base(tmp_path / "published", tinystories(hidden_size=64, num_layers=2))
    ready = prepare_base(published, published, 64, tmp_path / "ready")
    whole = read_decoder(ready.model)
    assert whole.head_dim == 8
    assert whole.parameters == ready.model.num_parameters()
    graph = write_serving_graph(whole, Fp32(), tmp_path / "model.onnx")
    text = [ready.start_id, *range(20, 50)]
    with torch.no_grad():
        wanted = ready.model(torch.tensor([text])).logits[0].numpy()
    [served] = serve_stepwise(ModelRunner(graph, slots=1, max_len=64), [text])
    assert float(np.abs(served - wanted).max()) < 1e-5


def test_a_start_token_that_a_pretrained_model_has_never_seen_begins_as_the_end_token(
    checkpoint_directory: Path, tmp_path: Path
) -> None:
    ready = prepare_base(checkpoint_directory, checkpoint_directory, 64, tmp_path / "ready")
    rows = ready.model.get_input_embeddings().weight
    assert torch.equal(rows[ready.start_id], rows[ready.end_id])
    assert ready.model.config.bos_token_id == ready.start_id
