"""The runner against ``transformers`` on the same tokens: prefill, chunks, decode, and files that are no model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from service.engine.errors import ModelLoadError
from service.engine.kv_cache import CacheShape, KVCache
from service.engine.model_runner import CANDIDATE_STEP, ModelRunner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.service.engine.conftest import TinyModel

ROOT = Path(__file__).resolve().parents[3]
TOLERANCE = 1e-4


def texts(model: TinyModel, *lengths: int) -> list[list[int]]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, model.vocab_size, length).tolist() for length in lengths]


def feed(runner: ModelRunner, row: int, rows: list[list[int]], cached: list[int], candidates: int = 1) -> Any:
    """Runs rows of any lengths, padded on the right."""
    padded = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for i, ids in enumerate(rows):
        padded[i, : len(ids)] = ids
    new = np.array([len(ids) for ids in rows], np.int32)
    return runner.run(row, padded, np.array(cached, np.int32), new, candidates)


def last(model: TinyModel, ids: list[int]) -> NDArray[np.float32]:
    return model.logits(ids)[-1]


def test_rows_of_different_lengths_are_fed_together_and_decoded(exact_model: TinyModel) -> None:
    runner = ModelRunner(exact_model.model_path, slots=5, threads=1)
    rows = texts(exact_model, 1, 30, 7, 12)
    step = feed(runner, 0, rows, [0] * 4)
    for i, ids in enumerate(rows):
        np.testing.assert_allclose(step.logits[i], last(exact_model, ids), atol=TOLERANCE)
    for _ in range(6):
        tokens = step.logits.argmax(axis=1)
        cached = np.array([len(ids) for ids in rows], np.int32)
        for ids, token in zip(rows, tokens.tolist(), strict=True):
            ids.append(token)
        step = runner.decode(tokens, cached, 1)
        for i, ids in enumerate(rows):
            np.testing.assert_allclose(step.logits[i], last(exact_model, ids), atol=TOLERANCE)


@pytest.mark.parametrize("chunk", [1, 3, 8, 16, 50])
def test_a_prompt_in_chunks_gives_what_it_gives_at_once(exact_model: TinyModel, chunk: int) -> None:
    runner = ModelRunner(exact_model.model_path, slots=3, threads=1)
    (ids,) = texts(exact_model, 50)
    step: Any = None
    for at in range(0, len(ids), chunk):
        step = feed(runner, 2, [ids[at : at + chunk]], [at])
        np.testing.assert_allclose(step.logits[0], last(exact_model, ids[: at + chunk]), atol=TOLERANCE)
    assert step is not None


def test_feeding_a_row_leaves_the_others_alone(exact_model: TinyModel) -> None:
    runner = ModelRunner(exact_model.model_path, slots=4, threads=1)
    rows = texts(exact_model, 20, 5, 33, 60)
    feed(runner, 0, rows[:2], [0, 0])
    feed(runner, 3, [rows[3][:40]], [0])
    feed(runner, 2, [rows[2]], [0])
    feed(runner, 3, [rows[3][40:]], [40])
    new = [9, 8, 7, 6]
    step = runner.decode(np.array(new), np.array([len(ids) for ids in rows], np.int32), 1)
    for i, ids in enumerate(rows):
        np.testing.assert_allclose(step.logits[i], last(exact_model, [*ids, new[i]]), atol=TOLERANCE)


def test_what_was_bound_for_a_row_is_good_for_any_prompt_and_forgotten_in_time(
    exact_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.engine.model_runner.MAX_PREFILL_BINDINGS", 3)
    runner = ModelRunner(exact_model.model_path, slots=4, threads=1)
    for ids in texts(exact_model, 20, 3, 41, 20, 1):
        for row in range(4):
            step = feed(runner, row, [ids], [0])
            np.testing.assert_allclose(step.logits[0], last(exact_model, ids), atol=TOLERANCE)
            assert len(runner._prefill_bindings) <= 3


def test_a_moved_row_goes_on_where_it_was(exact_model: TinyModel) -> None:
    runner = ModelRunner(exact_model.model_path, slots=3, threads=1)
    rows = texts(exact_model, 40, 25)
    feed(runner, 0, rows, [0, 0])
    runner.cache.move(1, 0, 25)
    step = runner.decode(np.array([4]), np.array([25], np.int32), 1)
    np.testing.assert_allclose(step.logits[0], last(exact_model, [*rows[1], 4]), atol=TOLERANCE)


def test_the_whole_context_can_be_used(exact_model: TinyModel) -> None:
    runner = ModelRunner(exact_model.model_path, slots=2, threads=1)
    (ids,) = texts(exact_model, runner.max_len)
    assert runner.max_len == runner.shape.context_length == exact_model.torch_model.config.max_position_embeddings
    feed(runner, 0, [ids[:-1]], [0])
    step = runner.decode(np.array(ids[-1:]), np.array([runner.max_len - 1], np.int32), 1)
    np.testing.assert_allclose(step.logits[0], last(exact_model, ids), atol=TOLERANCE)
    step = feed(runner, 1, [ids], [0])
    np.testing.assert_allclose(step.logits[0], last(exact_model, ids), atol=TOLERANCE)


@pytest.mark.parametrize("asked", [1, CANDIDATE_STEP, CANDIDATE_STEP + 1, 10_000])
def test_the_best_tokens_come_in_order(gpt2: TinyModel, asked: int) -> None:
    runner = ModelRunner(gpt2.model_path, slots=2, threads=1)
    rows = texts(gpt2, 4, 9)
    for step in (
        feed(runner, 0, rows, [0, 0], asked),
        runner.decode(np.array([1, 2]), np.array([4, 9], np.int32), asked),
    ):
        count = step.top_ids.shape[1]
        assert min(asked, gpt2.vocab_size) <= count <= min(asked + CANDIDATE_STEP, gpt2.vocab_size)
        order = np.argsort(-step.logits, axis=1, kind="stable")[:, :count]
        np.testing.assert_array_equal(step.top_ids, order)
        np.testing.assert_array_equal(step.top_logits, np.take_along_axis(step.logits, order, axis=1))


def test_eight_bits_depend_on_nobody_in_the_batch(models: dict[str, TinyModel]) -> None:
    model = models["gpt_neo_int8"]
    rows = texts(model, 6, 18, 3)
    together = ModelRunner(model.model_path, slots=3, threads=1)
    feed(together, 0, rows, [0] * 3)
    batch = together.decode(np.array([5, 6, 7]), np.array([6, 18, 3], np.int32), 1)
    for i, ids in enumerate(rows):
        alone = ModelRunner(model.model_path, slots=1, threads=1)
        feed(alone, 0, [ids], [0])
        step = alone.decode(np.array([5 + i]), np.array([len(ids)], np.int32), 1)
        np.testing.assert_allclose(step.logits[0], batch.logits[i], atol=1e-4)
        # And the model is still the one it was made from.
        assert np.corrcoef(step.logits[0], last(model, [*ids, 5 + i]))[0, 1] > 0.99


def test_what_the_cache_cannot_hold_is_refused(gpt2: TinyModel) -> None:
    runner = ModelRunner(gpt2.model_path, slots=2, max_len=16, threads=1)
    assert runner.max_len == 16
    with pytest.raises(ValueError, match="one at a time"):
        feed(runner, 0, [[1, 2], [3, 4]], [4, 4])
    with pytest.raises(ValueError, match="exceed"):
        feed(runner, 1, [[1, 2], [3, 4]], [0, 0])
    with pytest.raises(ValueError, match="exceed"):
        feed(runner, 0, [[1] * 17], [0])
    with pytest.raises(ValueError, match="exceed"):
        feed(runner, 0, [[1, 2]], [15])


def test_the_context_cannot_be_made_longer_than_the_models(gpt2: TinyModel) -> None:
    runner = ModelRunner(gpt2.model_path, slots=1, max_len=10**6, threads=1)
    assert runner.max_len == runner.shape.context_length


def test_the_shape_is_read_from_the_graph(any_model: TinyModel) -> None:
    shape = ModelRunner(any_model.model_path, slots=1, threads=1).shape
    assert (shape.num_layers, shape.num_heads, shape.head_dim) == (2, 2, 16)
    assert shape.vocab_size == any_model.vocab_size


def test_threads_follow_the_limit_unless_given(gpt2: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engine.model_runner.cpu_limit", lambda: 2)
    assert ModelRunner(gpt2.model_path, slots=1).threads == 2
    assert ModelRunner(gpt2.model_path, slots=1, threads=1).threads == 1


def test_a_memory_budget_lowers_the_slots(gpt2: TinyModel) -> None:
    slot_bytes = 2 * 2 * 2 * 96 * 16 * 4
    for budget, slots in ((slot_bytes, 1), (3 * slot_bytes + 1, 3), (100 * slot_bytes, 8)):
        runner = ModelRunner(gpt2.model_path, slots=8, threads=1, cache_budget_bytes=budget)
        assert runner.slots == slots
        assert sum(buffer.nbytes for buffer in runner.cache.buffers.values()) == slots * slot_bytes <= budget
    halved = ModelRunner(gpt2.model_path, slots=8, max_len=48, threads=1, cache_budget_bytes=slot_bytes)
    assert halved.slots == 2


def test_a_budget_below_one_slot_is_told(gpt2: TinyModel) -> None:
    with pytest.raises(ModelLoadError, match="budget"):
        ModelRunner(gpt2.model_path, slots=8, threads=1, cache_budget_bytes=1000)


def test_a_cache_without_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="slot"):
        KVCache(CacheShape(1, 1, 8, 8), 0)


# ------------------------------------------------------------------------------------ files that are no model


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 0.999])
def test_a_graph_cut_short_is_refused(gpt2: TinyModel, tmp_path: Path, share: float) -> None:
    content = gpt2.model_path.read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelLoadError):
        ModelRunner(path, slots=1, threads=1)


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b">be me\n>not a graph\n" * 100)
    for no_graph in (path, tmp_path / "missing.onnx", tmp_path):
        with pytest.raises(ModelLoadError, match="cannot load"):
            ModelRunner(no_graph, slots=1, threads=1)


def save_graph(
    path: Path, inputs: dict[str, list[Any]], outputs: dict[str, list[Any]], metadata: dict[str, str]
) -> Path:
    """A valid graph whose outputs have nothing to do with its inputs."""
    import onnx
    from onnx import TensorProto, helper

    def values(shapes: dict[str, list[Any]]) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    nodes = [
        helper.make_node(
            "ConstantOfShape",
            ["shape"],
            [name],
            value=helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0]),
        )
        for name in outputs
    ]
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1, 1])
    graph = helper.make_graph(nodes, "foreign", values(inputs), values(outputs), [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.save(model, str(path))
    return path


GRAPH_INPUTS: dict[str, list[Any]] = {
    **{
        name: ["b", "s"] for name in ("input_ids", "position_ids", "seqlens_k", "total_len", "last_index", "candidates")
    },
    "past_k_0": ["b", 2, "max_len", 8],
    "past_v_0": ["b", 2, "max_len", 8],
}
GRAPH_OUTPUTS: dict[str, list[Any]] = {
    name: [1, 1] for name in ("logits", "top_logits", "top_ids", "present_k_0", "present_v_0")
}
METADATA = {"context_length": "32"}


def without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


@pytest.mark.parametrize("name", [*GRAPH_INPUTS, *GRAPH_OUTPUTS, *METADATA])
def test_a_graph_that_lacks_something_is_refused(tmp_path: Path, name: str) -> None:
    parts = [without(part, name) for part in (GRAPH_INPUTS, GRAPH_OUTPUTS, METADATA)]
    with pytest.raises(ModelLoadError, match="no serving graph"):
        ModelRunner(save_graph(tmp_path / "model.onnx", *parts), slots=1, threads=1)


@pytest.mark.parametrize(
    ("inputs", "outputs", "metadata"),
    [
        ({"past_k_0": ["b", 2, "max_len"]}, {}, {}),
        ({"past_k_0": ["b", "heads", "max_len", "dim"]}, {}, {}),
        ({"past_k_0": ["b", None, "max_len", 8]}, {}, {}),
        ({}, {}, {"context_length": "long"}),
        ({}, {}, {"context_length": "0"}),
        ({}, {}, {"context_length": "-5"}),
    ],
)
def test_a_graph_of_other_shapes_is_refused(
    tmp_path: Path, inputs: dict[str, Any], outputs: dict[str, Any], metadata: dict[str, str]
) -> None:
    path = save_graph(tmp_path / "model.onnx", GRAPH_INPUTS | inputs, GRAPH_OUTPUTS | outputs, METADATA | metadata)
    with pytest.raises(ModelLoadError):
        ModelRunner(path, slots=1, threads=1)


def test_the_graphs_of_these_tests_lack_only_what_they_say(tmp_path: Path) -> None:
    path = save_graph(tmp_path / "model.onnx", GRAPH_INPUTS, GRAPH_OUTPUTS, METADATA)
    assert ModelRunner(path, slots=1, threads=1).shape.context_length == 32


@pytest.mark.parametrize("package", ["service.engine.model_runner", "training.parity"])
def test_the_runtime_collects_nothing_about_anybody(package: str, tmp_path: Path) -> None:
    code = (
        f"import {package}, pathlib, sys\n"
        "from service.engine.model_runner import ModelRunner\n"
        "ModelRunner(pathlib.Path('models/greentext-thanks/model.onnx'), slots=1)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**environment, "HOME": str(tmp_path)}, check=True, timeout=120
    )
    assert [path.name for path in tmp_path.rglob("*") if "onnx" in str(path).lower() or path.suffix == ".db"] == []
