"""Bundles of published checkpoints, tiny ones of the same shapes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from greentext.bundle import verify
from greentext.control_tokens import START_TOKEN
from service.engine.llm_engine import EngineConfig, LLMEngine
from service.engine.sampling_params import SamplingParams
from tests.training.published import (
    BEGIN,
    CONTEXT,
    STOP,
    TEXTS,
    gpt2_model,
    gpt2_tokenizer,
    llama_model,
    publish,
    smollm_tokenizer,
)
from training import quantize
from training.decoder_weights import UnsupportedModelError
from training.import_model import import_bundle, slug_of
from training.import_source import ImportSourceError, find_source
from training.imported_checkpoint import load_imported
from training.parity import ParityError
from training.samples import complete

if TYPE_CHECKING:
    from pathlib import Path

    from greentext.manifest import ModelManifest


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates are not what is tested here."""
    monkeypatch.setattr(quantize, "decode_rate", lambda runner, batch, *, seconds: float(batch))


def engine_on(bundle: Path, manifest: ModelManifest) -> LLMEngine:
    config = EngineConfig(
        model_path=bundle / "model.onnx", tokenizer_path=bundle / "tokenizer.json",
        end_token_id=manifest.control_tokens.end.id, max_slots=4, threads=1,
    )  # fmt: skip
    return LLMEngine(config)


def greedy(bundle: Path, manifest: ModelManifest, text: str) -> list[int]:
    """What the engine writes behind the start token and a text."""
    engine = engine_on(bundle, manifest)
    prompt = [manifest.control_tokens.start.id, *engine.tokenizer.encode(text)]
    params = SamplingParams(temperature=0.0, max_new_tokens=20, ignore_eos=True)
    return list(complete(engine, [(prompt, params)])[0].token_ids)


@pytest.mark.parametrize("tied", [True, False])
def test_a_llama_checkpoint_becomes_a_bundle_that_writes_what_the_model_writes(tied: bool, tmp_path: Path) -> None:
    tokenizer = smollm_tokenizer()
    model = llama_model(tokenizer, tied=tied)
    source = publish(model, tokenizer, tmp_path / "Some_Llama-2B", "---\nlicense: mit\n---\n")
    manifest = import_bundle(str(source), tmp_path / "bundle")
    assert verify(tmp_path / "bundle") == manifest
    assert (manifest.architecture, manifest.precision) == ("llama", "fp32")
    assert (manifest.num_heads, manifest.num_kv_heads, manifest.head_dim) == (4, 2, 16)
    assert (manifest.name, manifest.license, manifest.base_model) == ("some-llama-2b", "MIT", "Some_Llama-2B")
    assert manifest.control_tokens.end.text == STOP
    assert manifest.control_tokens.start.text == START_TOKEN
    assert manifest.vocab_size == len(tokenizer) + 1
    assert 0 < manifest.evaluation["largest_fp32_logit_difference"] <= 1e-4
    card = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert f"stands for {BEGIN}" in card

    # The start token does what the model's own did, whatever its own ids are called.
    text = ">be me"
    ids = [tokenizer.convert_tokens_to_ids(BEGIN), *tokenizer.encode(text, add_special_tokens=False)]
    for token in greedy(tmp_path / "bundle", manifest, text):
        with torch.no_grad():
            best = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        assert token == best
        ids.append(best)


@pytest.mark.parametrize("tied", [True, False])
def test_an_added_start_token_is_never_written(tied: bool, tmp_path: Path) -> None:
    tokenizer = smollm_tokenizer()
    model = llama_model(tokenizer, tied=tied)
    with torch.no_grad():  # the model all but always begins anew
        begin = tokenizer.bos_token_id
        model.get_output_embeddings().weight[begin] = 0
        model.get_output_embeddings().weight[begin, 0] = 50
        model.model.norm.weight[0] = 5
    source = publish(model, tokenizer, tmp_path / "made")
    manifest = import_bundle(str(source), tmp_path / "bundle")
    engine = engine_on(tmp_path / "bundle", manifest)
    start = manifest.control_tokens.start.id
    params = [SamplingParams(temperature=2.0, seed=seed, max_new_tokens=40, ignore_eos=True) for seed in range(4)]
    written = [completion.token_ids for completion in complete(engine, [([start], one) for one in params])]
    assert any(begin in ids for ids in written), "else nothing would be shown"
    assert not any(start in ids for ids in written)


def test_a_start_token_of_the_tokenizers_own_is_left_as_trained(tmp_path: Path) -> None:
    """As the original project published: registered, if not as special, its row trained, and no bos_token_id."""
    tokenizer = gpt2_tokenizer()
    tokenizer.add_tokens([START_TOKEN])
    model = gpt2_model(tokenizer)
    source = publish(model, tokenizer, tmp_path / "made")
    checkpoint, added = load_imported(find_source(str(source)))
    assert added == ""
    assert checkpoint.model.get_output_embeddings().bias is None
    rows = checkpoint.model.get_input_embeddings().weight
    assert torch.equal(rows, model.get_input_embeddings().weight)
    manifest = import_bundle(str(source), tmp_path / "bundle")
    assert manifest.vocab_size == len(tokenizer)
    assert manifest.control_tokens.start.id == tokenizer.convert_tokens_to_ids(START_TOKEN)
    verify(tmp_path / "bundle")
    encoded = engine_on(tmp_path / "bundle", manifest).tokenizer.encode(f"a {START_TOKEN}<|endoftext|>")
    assert manifest.control_tokens.start.id not in encoded, "text that spells it is text"
    assert manifest.control_tokens.end.id not in encoded


def test_texts_choose_the_format_and_score_it(tmp_path: Path) -> None:
    tokenizer = gpt2_tokenizer()
    source = publish(gpt2_model(tokenizer), tokenizer, tmp_path / "made")
    texts = [*TEXTS[:30], "far too long for the context " * 60]
    manifest = import_bundle(str(source), tmp_path / "bundle", texts=texts, work=tmp_path / "work", samples=2)
    names = {path.stem for path in (tmp_path / "work").glob("*.onnx")}
    assert {"fp32", "int8-static-7", "int8-rows-7", "blocks-8", "blocks-4"} <= names
    assert manifest.evaluation["held_out_texts"] == 10
    assert manifest.evaluation["perplexity_over_fp32"] <= 0.01
    card = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert "10 texts given at import" in card
    assert "Seed 1" in card
    assert "Seed 2" not in card
    with pytest.raises(ImportSourceError, match="at least 6 are needed"):
        import_bundle(str(source), tmp_path / "bundle", texts=texts[-6:])


def test_eight_bits_can_be_asked_for_without_texts(tmp_path: Path) -> None:
    tokenizer = smollm_tokenizer()
    source = publish(llama_model(tokenizer), tokenizer, tmp_path / "made")
    manifest = import_bundle(str(source), tmp_path / "bundle", precision="int8", context_length=48, name="mine")
    assert (manifest.precision, manifest.context_length, manifest.name) == ("int8", 48, "mine")
    assert manifest.default_sampling.max_new_tokens == 47
    assert "that the model wrote itself" in (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert len(greedy(tmp_path / "bundle", manifest, ">be me")) == 20


def test_a_graph_that_disagrees_with_the_model_makes_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from training import import_model

    def misread(model: Any) -> Any:
        decoder = read(model)
        return replace(decoder, norm_epsilon=decoder.norm_epsilon + 0.05)

    read = import_model.read_decoder
    monkeypatch.setattr(import_model, "read_decoder", misread)
    tokenizer = smollm_tokenizer()
    source = publish(llama_model(tokenizer), tokenizer, tmp_path / "made")
    with pytest.raises(ParityError, match="logits differ"):
        import_bundle(str(source), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | changes), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model_type": "mistral"}, UnsupportedModelError, "is a mistral"),
        ({"model_type": None}, UnsupportedModelError, "is a None"),
        ({"auto_map": {"AutoModelForCausalLM": "modeling.Model"}}, UnsupportedModelError, "code of its own"),
        ({"quantization_config": {"quant_method": "gptq"}}, UnsupportedModelError, "is quantised"),
        ({"vocab_size": 99}, ImportSourceError, "cannot be loaded"),
        ({"num_hidden_layers": 3}, ImportSourceError, r"lacks weights \(model.layers.2"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, UnsupportedModelError, "dynamic"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_is_written(
    changes: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    tokenizer = smollm_tokenizer()
    source = publish(llama_model(tokenizer), tokenizer, tmp_path / "made")
    (source / "modeling.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    edit(source / "config.json", **changes)
    with pytest.raises(error, match=message):
        import_bundle(str(source), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_broken_files_are_told(tmp_path: Path) -> None:
    tokenizer = smollm_tokenizer()
    source = publish(llama_model(tokenizer), tokenizer, tmp_path / "made")
    weights = (source / "model.safetensors").read_bytes()
    (source / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(ImportSourceError, match="cannot be loaded"):
        load_imported(find_source(str(source)))
    (source / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ImportSourceError, match=r"config\.json cannot be read"):
        load_imported(find_source(str(source)))


def test_a_tokenizer_that_is_not_byte_level_is_refused(tmp_path: Path) -> None:
    tokenizer = smollm_tokenizer()
    source = publish(llama_model(tokenizer), tokenizer, tmp_path / "made")
    edit(source / "tokenizer.json", decoder={"type": "Fuse"})
    with pytest.raises(UnsupportedModelError, match="SentencePiece"):
        load_imported(find_source(str(source)))


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path: Path) -> None:
    tokenizer = smollm_tokenizer()
    model = llama_model(tokenizer)
    tokenizer.add_tokens(["one", "more", START_TOKEN])
    with pytest.raises(ImportSourceError, match="do not belong together"):
        load_imported(find_source(str(publish(model, tokenizer, tmp_path / "made"))))


@pytest.mark.parametrize("length", [1, CONTEXT + 1])
def test_a_context_that_the_model_does_not_have_is_refused(length: int, tmp_path: Path) -> None:
    tokenizer = smollm_tokenizer()
    source = publish(llama_model(tokenizer), tokenizer, tmp_path / "made")
    with pytest.raises(ImportSourceError, match=f"holds 8 to {CONTEXT} tokens"):
        load_imported(find_source(str(source)), length)


def test_rows_without_tokens_stay(tmp_path: Path) -> None:
    """Some publishers round the vocabulary up: the start token takes one of those rows."""
    tokenizer = smollm_tokenizer()
    model = llama_model(tokenizer)
    model.resize_token_embeddings(512, mean_resizing=False)
    source = publish(model, tokenizer, tmp_path / "made")
    checkpoint, _ = load_imported(find_source(str(source)))
    assert checkpoint.start_id == len(tokenizer)
    assert checkpoint.model.get_input_embeddings().num_embeddings == 512
    rows = checkpoint.model.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(rows[checkpoint.start_id], rows[tokenizer.bos_token_id])


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("HuggingFaceTB/SmolLM2-135M", "smollm2-135m"),
        ("maxmyn/a__b..c", "a-b-c"),
        ("x/Ünïcode", "n-code"),
        ("x/--", "imported"),
        ("o/" + "long-" * 40, ("long-" * 13)[:64].rstrip("-")),
    ],
)
def test_a_name_becomes_a_slug(name: str, slug: str) -> None:
    from pydantic import TypeAdapter

    from greentext.manifest import Slug

    assert slug_of(name) == slug
    TypeAdapter(Slug).validate_python(slug)
