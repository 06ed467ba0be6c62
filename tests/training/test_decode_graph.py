from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from service.engine.model_runner import ModelRunner
from tests.training.conftest import CONTEXT_LENGTH, WINDOW, tiny_model
from training.calibrate import calibrate
from training.decoder_reader import read_decoder
from training.decoder_weights import UnsupportedModelError
from training.parity import serve_chunks, serve_ragged, serve_stepwise
from training.quantize import write_serving_graph
from training.weight_formats import Blocks, Fp32, Int8Rows, Int8Static, Range, quantize_columns

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from training.checkpoint import Checkpoint
    from training.decode_graph import WeightFormat

TOLERANCE = 1e-4
rng = np.random.default_rng(0)
TEXTS = sorted((rng.integers(2, 300, n).tolist() for n in (CONTEXT_LENGTH, 50, 41, 33, 20, 9, 2, 1)), key=len)[::-1]


def logits_of(checkpoint: Checkpoint, text: list[int]) -> NDArray[np.float32]:
    with torch.no_grad():
        logits: NDArray[np.float32] = checkpoint.model(torch.tensor([text]), use_cache=False).logits[0].numpy()
    return logits


def runner_of(checkpoint: Checkpoint, weights: WeightFormat, directory: Path) -> ModelRunner:
    path = write_serving_graph(read_decoder(checkpoint.model), weights, directory / "model.onnx")
    return ModelRunner(path, slots=len(TEXTS), threads=1)


def formats(checkpoint: Checkpoint) -> dict[str, WeightFormat]:
    ranges = calibrate(read_decoder(checkpoint.model), TEXTS)
    return {
        "static-7": Int8Static(7, ranges),
        "static-8": Int8Static(8, ranges),
        "rows-7": Int8Rows(7),
        "rows-8": Int8Rows(8),
        "blocks-8": Blocks(8),
        "blocks-4": Blocks(4),
    }


def test_the_texts_are_longer_than_the_window() -> None:
    assert len(TEXTS[0]) > 4 * WINDOW


def test_fp32_agrees_with_transformers_in_every_way_of_use(tiny: Checkpoint, tmp_path: Path) -> None:
    wanted = [logits_of(tiny, text) for text in TEXTS]
    assert max(np.abs(logits).max() for logits in wanted) > 1, "logits this small could agree by chance"
    runner = runner_of(tiny, Fp32(), tmp_path)
    for logits, stepped in zip(wanted, serve_stepwise(runner, TEXTS), strict=True):
        np.testing.assert_allclose(stepped, logits, atol=TOLERANCE, rtol=0)
    for ends, rows in serve_ragged(runner, TEXTS):
        for logits, end, row in zip(wanted, ends, rows, strict=True):
            np.testing.assert_allclose(row[0], logits[end - 1], atol=TOLERANCE, rtol=0)
    for logits, text in zip(wanted, TEXTS, strict=True):
        for end, row in serve_chunks(runner, text):
            np.testing.assert_allclose(row, logits[end - 1], atol=TOLERANCE, rtol=0)


def test_the_best_candidates_are_reported(tiny: Checkpoint, tmp_path: Path) -> None:
    runner = runner_of(tiny, Fp32(), tmp_path)
    step = runner.decode(np.array([5, 6, 7]), np.zeros(3, np.int32), 10)
    best = np.argsort(-step.logits, axis=1)[:, : step.top_ids.shape[1]]
    assert (step.top_ids == best).all()
    assert (step.top_logits == np.take_along_axis(step.logits, best, axis=1)).all()


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("static-7", 0.08), ("static-8", 0.05), ("rows-7", 0.06), ("rows-8", 0.04), ("blocks-8", 0.04), ("blocks-4", 0.3)],
)
def test_a_format_costs_little(tiny: Checkpoint, tmp_path: Path, name: str, allowed: float) -> None:
    runner = runner_of(tiny, formats(tiny)[name], tmp_path)
    wanted = np.concatenate([logits_of(tiny, text) for text in TEXTS])
    got = np.concatenate(serve_stepwise(runner, TEXTS))
    error = np.sqrt(np.square(got - wanted).mean()) / wanted.std()
    assert 0 < error < allowed


@pytest.mark.parametrize("name", ["fp32", "static-7", "static-8", "rows-7", "rows-8"])
def test_a_text_does_not_depend_on_who_shares_its_batch(tiny: Checkpoint, tmp_path: Path, name: str) -> None:
    weights = Fp32() if name == "fp32" else formats(tiny)[name]
    runner = runner_of(tiny, weights, tmp_path)
    together = serve_stepwise(runner, TEXTS)
    tolerance = 1e-5 if name == "fp32" else 0
    for text, shared in zip(TEXTS, together, strict=True):
        [alone] = serve_stepwise(runner, [text])
        np.testing.assert_allclose(alone, shared, atol=tolerance, rtol=0)


def test_the_same_weights_give_the_same_bytes(tiny: Checkpoint, tmp_path: Path) -> None:
    decoder = read_decoder(tiny.model)
    paths = [write_serving_graph(decoder, Int8Rows(), tmp_path / f"{i}.onnx") for i in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_what_the_graph_does_not_know_is_refused() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

    tiny_gpt2 = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 8, "vocab_size": 20}
    neox = GPTNeoXConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=20)
    for model, message in (
        (GPTNeoXForCausalLM(neox), "gpt_neox"),
        (GPT2LMHeadModel(GPT2Config(**tiny_gpt2, activation_function="tanh")), "tanh"),
        (GPT2LMHeadModel(GPT2Config(**tiny_gpt2, scale_attn_by_inverse_layer_idx=True)), "inverse_layer_idx"),
    ):
        with pytest.raises(UnsupportedModelError, match=message):
            read_decoder(model)


def test_blocks_refuse_a_width_that_they_do_not_divide(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_embd=24, n_layer=1, n_head=2, n_positions=8, vocab_size=20))
    with pytest.raises(ValueError, match="multiple of the block size"):
        write_serving_graph(read_decoder(model), Blocks(), tmp_path / "model.onnx")


@pytest.mark.parametrize("bits", [7, 8])
def test_columns_are_quantised_within_half_a_step(bits: int) -> None:
    weight = np.random.default_rng(1).normal(size=(64, 10)).astype(np.float32)
    weight[:, 3] = 0
    codes, scales = quantize_columns(weight, bits)
    top = 2 ** (bits - 1) - 1
    assert np.abs(codes).max() <= top
    clipped = np.abs(codes) == top
    error = np.abs(codes * scales - weight)
    assert (error <= scales / 2 + 1e-6)[~clipped].all()
    naive = np.abs(weight).max(axis=0) / top
    naive_error = np.square(np.round(weight / np.maximum(naive, 1e-12)) * naive - weight).sum()
    assert np.square(error).sum() <= naive_error


def test_seven_bits_cannot_saturate_sixteen() -> None:
    codes, _ = quantize_columns(np.random.default_rng(1).normal(size=(512, 4)).astype(np.float32), 7)
    assert 255 * int(np.abs(codes).max()) * 2 <= 2**15 - 1


def test_a_range_holds_zero_exactly() -> None:
    for low, high in ((-1.0, 3.0), (0.0, 5.0), (-0.17, 12.0)):
        covered = Range(low, high)
        assert 0 <= covered.zero_point <= 255
        assert (covered.zero_point - covered.zero_point) * covered.scale == 0
        assert covered.zero_point * covered.scale == pytest.approx(-low, abs=covered.scale)


def test_an_export_for_another_seed_differs(tmp_path: Path) -> None:
    one, two = (
        write_serving_graph(read_decoder(tiny_model("gpt2", 40, seed)), Fp32(), tmp_path / f"{seed}.onnx")
        for seed in (0, 1)
    )
    assert one.read_bytes() != two.read_bytes()
