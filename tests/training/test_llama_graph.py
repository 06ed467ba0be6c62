"""The serving graph of Llama-architecture checkpoints, and of output projections of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoConfig, GPTNeoForCausalLM, LlamaConfig, LlamaForCausalLM

from service.engine.model_runner import ModelRunner
from training.calibrate import calibrate
from training.decode_graph import build_serving_graph
from training.decoder_reader import read_decoder
from training.decoder_weights import UnsupportedModelError
from training.parity import serve_chunks, serve_ragged, serve_stepwise
from training.quantize import QuantizationError, candidates, write_serving_graph
from training.weight_formats import UNEMBED, Fp32, Int8Static

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from training.decoder_weights import DecoderWeights

CONTEXT, VOCAB = 64, 300
TOLERANCE = 1e-4
rng = np.random.default_rng(0)
TEXTS = sorted((rng.integers(2, VOCAB, n).tolist() for n in (CONTEXT, 50, 41, 33, 20, 9, 2, 1)), key=len)[::-1]
GROUPS = {"num_attention_heads": 4, "num_key_value_heads": 2}
YARN = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32}
LLAMA3 = {**YARN, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMAS: dict[str, dict[str, Any]] = {
    "smollm": {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": True},
    "untied": {**GROUPS, "rope_theta": 500.0},
    "a key head each": {"num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": True},
    "one key head": {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 32, "rope_theta": 1e5},
    "biases": {**GROUPS, "attention_bias": True, "mlp_bias": True},
    "heads that are no multiple of 16": {"num_attention_heads": 8, "num_key_value_heads": 2, "rope_theta": 500.0},
    "linear rope": {**GROUPS, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    "llama3 rope": {**GROUPS, "rope_scaling": LLAMA3},
    "yarn rope": {**GROUPS, "rope_scaling": YARN},
}


def awake(model: PreTrainedModel) -> PreTrainedModel:
    """With weights that show: fresh biases are 0 and fresh norms 1, and a graph without them would pass."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1)
            elif "norm" in name:
                parameter.normal_(1, 0.2)
    return model.eval()


def llama(**settings: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    common = {
        "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": VOCAB,
        "max_position_embeddings": CONTEXT, "initializer_range": 0.12,
    }  # fmt: skip
    return awake(LlamaForCausalLM(LlamaConfig(**common | settings)))


def untied(architecture: str) -> PreTrainedModel:
    """A model whose output projection is not its embedding, and has a bias."""
    torch.manual_seed(0)
    common = {"vocab_size": VOCAB, "initializer_range": 0.15, "tie_word_embeddings": False}
    if architecture == "gpt2":
        model: PreTrainedModel = GPT2LMHeadModel(
            GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT, **common)
        )
    else:
        neo = GPTNeoConfig(
            hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], window_size=8,
            max_position_embeddings=CONTEXT, **common,
        )  # fmt: skip
        model = GPTNeoForCausalLM(neo)
    model.lm_head.bias = torch.nn.Parameter(torch.zeros(VOCAB))
    return awake(model)


def logits_of(model: PreTrainedModel) -> list[NDArray[np.float32]]:
    with torch.no_grad():
        return [model(torch.tensor([text]), use_cache=False).logits[0].numpy() for text in TEXTS]


def runner_of(decoder: DecoderWeights, directory: Path, weights: Any = None) -> ModelRunner:
    path = write_serving_graph(decoder, weights or Fp32(), directory / "model.onnx")
    return ModelRunner(path, slots=len(TEXTS), threads=1)


def check_every_way_of_use(model: PreTrainedModel, runner: ModelRunner) -> None:
    wanted = logits_of(model)
    assert max(np.abs(logits).max() for logits in wanted) > 1, "logits this small could agree by chance"
    for logits, stepped in zip(wanted, serve_stepwise(runner, TEXTS), strict=True):
        np.testing.assert_allclose(stepped, logits, atol=TOLERANCE, rtol=0)
    for ends, rows in serve_ragged(runner, TEXTS):
        for logits, end, row in zip(wanted, ends, rows, strict=True):
            np.testing.assert_allclose(row[0], logits[end - 1], atol=TOLERANCE, rtol=0)
    for logits, text in zip(wanted, TEXTS, strict=True):
        for end, row in serve_chunks(runner, text):
            np.testing.assert_allclose(row, logits[end - 1], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", LLAMAS)
def test_fp32_agrees_with_transformers_in_every_way_of_use(name: str, tmp_path: Path) -> None:
    model = llama(**LLAMAS[name])
    decoder = read_decoder(model)
    assert decoder.parameters == sum(parameter.numel() for parameter in model.parameters())
    runner = runner_of(decoder, tmp_path)
    assert runner.shape.num_heads == decoder.num_kv_heads == model.config.num_key_value_heads
    assert runner.shape.context_length == CONTEXT
    check_every_way_of_use(model, runner)


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neo"])
def test_an_output_projection_of_its_own_with_a_bias(architecture: str, tmp_path: Path) -> None:
    model = untied(architecture)
    decoder = read_decoder(model)
    assert decoder.head is not None
    assert decoder.head_bias is not None
    assert decoder.parameters == sum(parameter.numel() for parameter in model.parameters())
    check_every_way_of_use(model, runner_of(decoder, tmp_path))


def test_a_bias_on_the_tied_output(tmp_path: Path) -> None:
    model = llama(**LLAMAS["smollm"])
    model.lm_head.bias = torch.nn.Parameter(torch.randn(VOCAB))
    decoder = read_decoder(model)
    assert decoder.head is None
    check_every_way_of_use(model, runner_of(decoder, tmp_path))
    wanted = np.concatenate(logits_of(model))
    for candidate in candidates(decoder, TEXTS):
        got = np.concatenate(serve_stepwise(runner_of(decoder, tmp_path, candidate.weights), TEXTS))
        assert np.corrcoef(got.ravel(), wanted.ravel())[0, 1] > 0.97, candidate.name


ALLOWED = {"fp32": 1e-5, "int8-static-7": 0.1, "int8-static-8": 0.08, "int8-rows-7": 0.08, "int8-rows-8": 0.05}
ALLOWED |= {"blocks-8": 0.04, "blocks-4": 0.4}


@pytest.mark.parametrize("name", ["smollm", "untied", "biases", "gpt2"])
def test_every_format_costs_little(name: str, tmp_path: Path) -> None:
    model = untied(name) if name == "gpt2" else llama(**LLAMAS[name])
    decoder = read_decoder(model)
    wanted = np.concatenate(logits_of(model))
    found = candidates(decoder, TEXTS)
    assert [candidate.name for candidate in found] == list(ALLOWED)
    for candidate in found:
        got = np.concatenate(serve_stepwise(runner_of(decoder, tmp_path, candidate.weights), TEXTS))
        error = np.sqrt(np.square(got - wanted).mean()) / wanted.std()
        assert 0 < error < ALLOWED[candidate.name], candidate.name


def test_formats_of_one_precision_are_held_against_fp32() -> None:
    decoder = read_decoder(llama(**LLAMAS["smollm"]))
    assert [one.name for one in candidates(decoder, [], "fp32")] == ["fp32"], "needs no calibration"
    assert {one.precision for one in candidates(decoder, TEXTS, "int8")} == {"fp32", "int8"}


def test_blocks_are_left_out_where_any_matrix_does_not_fit() -> None:
    decoder = read_decoder(llama(**LLAMAS["smollm"], intermediate_size=80))
    assert not [one.name for one in candidates(decoder, TEXTS) if one.name.startswith("blocks")]


def test_each_matrix_has_a_range_and_the_last_layer_is_measured_everywhere(tmp_path: Path) -> None:
    decoder = read_decoder(llama(**LLAMAS["untied"]))
    parts = ("qkv", "attention_out", "mlp_in", "mlp_gate", "mlp_out")
    ranges = calibrate(decoder, TEXTS)
    assert set(ranges) == {UNEMBED, *(f"layer.{i}.{part}" for i in range(2) for part in parts)}
    # The same ranges serve the graph in which the last layer works on one position alone.
    assert runner_of(decoder, tmp_path, Int8Static(ranges=ranges)).shape.num_layers == 2


@pytest.mark.parametrize("shape", ["smollm", "gpt2"])
def test_the_last_layer_works_on_the_wanted_position_alone_and_exactly(shape: str, tmp_path: Path) -> None:
    decoder = read_decoder(untied("gpt2") if shape == "gpt2" else llama(**LLAMAS["smollm"]))
    runners = []
    for every_position in (False, True):
        path = tmp_path / f"{every_position}.onnx"
        path.write_bytes(build_serving_graph(decoder, Fp32(), every_position=every_position).SerializeToString())
        runners.append(ModelRunner(path, slots=len(TEXTS), threads=1))
    for (_, early), (_, late) in zip(*(serve_ragged(runner, TEXTS) for runner in runners), strict=True):
        np.testing.assert_allclose(np.concatenate(early), np.concatenate(late), atol=1e-5, rtol=0)
    model = build_serving_graph(decoder, Fp32())
    names = [node.op_type for node in model.graph.node]
    attention = max(at for at, kind in enumerate(names) if kind == "GroupQueryAttention")
    assert names[attention + 1 : attention + 3] == ["GatherND", "GatherND"]


def test_a_lowered_context_is_a_shorter_graph(tmp_path: Path) -> None:
    for model in (llama(**LLAMAS["smollm"]), untied("gpt2"), untied("gpt_neo")):
        model.config.max_position_embeddings = 50
        decoder = read_decoder(model)
        runner = runner_of(decoder, tmp_path)
        assert runner.max_len == 50
        [stepped] = serve_stepwise(runner, [TEXTS[0][:50]])
        np.testing.assert_allclose(stepped, logits_of(model)[0][:50], atol=TOLERANCE, rtol=0)


def test_positions_that_depend_on_the_texts_length_are_refused() -> None:
    scaling = {"rope_type": "dynamic", "factor": 2.0}
    with pytest.raises(UnsupportedModelError, match="dynamic change with the length"):
        read_decoder(llama(num_attention_heads=4, rope_scaling=scaling))


@pytest.mark.parametrize("activation", ["gelu", "gelu_fast", "relu", "silu"])
def test_other_activations_agree(activation: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = GPT2Config(
        n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT, vocab_size=VOCAB, activation_function=activation,
        initializer_range=0.15,
    )  # fmt: skip
    model = awake(GPT2LMHeadModel(config))
    check_every_way_of_use(model, runner_of(read_decoder(model), tmp_path))


def test_a_graph_beyond_one_file_is_refused_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.quantize.MAX_FILE_BYTES", 4 * 1024**2 + 1000)
    with pytest.raises(QuantizationError, match="take a smaller model"):
        runner_of(read_decoder(llama(**LLAMAS["smollm"])), tmp_path)
    assert not list(tmp_path.iterdir())


def test_one_wrong_angle_shows(tmp_path: Path) -> None:
    model = llama(**LLAMAS["smollm"])
    decoder = read_decoder(model)
    assert decoder.rotary is not None
    shifted = replace(decoder.rotary, cos=np.roll(decoder.rotary.cos, 1, axis=0))
    with pytest.raises(AssertionError):
        check_every_way_of_use(model, runner_of(replace(decoder, rotary=shifted), tmp_path))
