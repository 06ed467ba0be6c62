"""Runs the serving graph (see ``training.decode_graph`` for its contract) on ONNX Runtime.

The only module of the service that imports onnxruntime. Rows 0..n-1 of the cache are the running batch. Bindings
and input buffers of the decode step are made once for each batch size, so that a step only writes numbers into
place; what a step returns is a view of memory that the next step overwrites.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from service.engine.cpu import cpu_limit
from service.engine.errors import ModelLoadError
from service.engine.kv_cache import CacheShape, KVCache

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CANDIDATE_STEP = 32
MAX_PREFILL_BINDINGS = 256
"""To bind a cache's rows takes as long as half a decode step: what was bound is kept, up to so many."""


@dataclass(frozen=True, slots=True)
class StepLogits:
    """What a step gave for its rows; views, valid until the next step."""

    logits: NDArray[np.float32]
    """[rows, vocab_size]"""
    top_logits: NDArray[np.float32]
    """[rows, candidates], best first"""
    top_ids: NDArray[np.int64]
    """[rows, candidates]"""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the graph says of itself."""

    num_layers: int
    num_heads: int
    head_dim: int
    vocab_size: int
    context_length: int


class ModelRunner:
    """One ONNX Runtime session with the KV cache it works on. Not for use from two threads at once."""

    def __init__(
        self,
        model_path: Path,
        *,
        slots: int,
        max_len: int | None = None,
        threads: int = 0,
        cache_budget_bytes: int | None = None,
    ) -> None:
        """Loads the graph.

        ``max_len`` bounds the tokens a row can hold (default: the model's context). ``threads`` 0 takes the
        container's CPU limit. ``slots`` is lowered where the memory budget asks for it. Raises ModelLoadError.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or cpu_limit()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads spin within a step, not behind it: there the event loop and the sampler need the processors.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = onnxruntime.InferenceSession(str(model_path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises types of its own for each status
            msg = f"ONNX Runtime cannot load {model_path}: {error}"
            raise ModelLoadError(msg) from error
        self.threads: int = options.intra_op_num_threads
        self.shape = _shape_of(self._session)
        self.max_len = min(max_len or self.shape.context_length, self.shape.context_length)
        cache_shape = CacheShape(self.shape.num_layers, self.shape.num_heads, self.shape.head_dim, self.max_len)
        if cache_budget_bytes is not None:
            slots = min(slots, cache_shape.slots_within(cache_budget_bytes))
            if slots < 1:
                msg = (
                    f"a memory budget of {cache_budget_bytes} bytes holds no sequence of {self.max_len} tokens, "
                    f"which takes {cache_shape.slot_bytes} bytes; raise the budget or lower the context"
                )
                raise ModelLoadError(msg)
        self.slots = slots
        self.cache = KVCache(cache_shape, slots)
        self._logits = np.zeros((slots, self.shape.vocab_size), np.float32)
        self._top: dict[int, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}
        self._counts: dict[int, NDArray[np.int64]] = {}
        self._tokens = np.zeros((slots, 1), np.int64)
        self._places = np.zeros((slots, 1), np.int64)
        self._seqlens = np.zeros(slots, np.int32)
        self._total = np.zeros((), np.int32)
        self._zeros = np.zeros((slots, 1), np.int64)
        self._decode_bindings: dict[tuple[int, int], tuple[Any, StepLogits]] = {}
        self._prefill_bindings: dict[tuple[int, int, int], tuple[Any, StepLogits]] = {}

    def decode(self, tokens: NDArray[np.int64], cached: NDArray[np.int32], candidates: int) -> StepLogits:
        """One token for each of rows 0..n-1.

        ``tokens`` [n] are the newest tokens, ``cached`` [n] the tokens already in the rows' caches.
        """
        rows = len(tokens)
        count = self._round_up(candidates)
        bound = self._decode_bindings.get((rows, count))
        if bound is None:
            bound = self._decode_bindings[rows, count] = self._bind_decode(rows, count)
        binding, step = bound
        self._tokens[:rows, 0] = tokens
        self._places[:rows, 0] = cached
        self._seqlens[:rows] = cached
        self._total[...] = int(cached.max()) + 1
        self._session.run_with_iobinding(binding)
        return step

    def run(
        self,
        row: int,
        input_ids: NDArray[np.int64],
        cached: NDArray[np.int32],
        new: NDArray[np.int32],
        candidates: int = 1,
    ) -> StepLogits:
        """Feeds ``new`` [b] tokens of ``input_ids`` [b, s] (padded on the right) to rows ``row``.. of the cache.

        Rows with a cache to continue (``cached`` > 0) and s > 1 must come alone. The logits are those of each row's
        last new token.
        """
        rows, width = input_ids.shape
        if rows > 1 and width > 1 and cached.any():
            msg = "rows that continue a cache by several tokens must be run one at a time"
            raise ValueError(msg)
        lengths = (cached + new).astype(np.int32)
        if row + rows > self.slots or lengths.max() > self.max_len:
            msg = f"{rows} rows at {row} of up to {lengths.max()} tokens exceed {self.slots} slots of {self.max_len}"
            raise ValueError(msg)
        places = np.minimum(cached[:, None] + np.arange(width), self.max_len - 1).astype(np.int64)
        inputs: dict[str, NDArray[Any]] = {
            "input_ids": np.ascontiguousarray(input_ids, np.int64),
            "position_ids": places,
            "seqlens_k": lengths - 1,
            "total_len": np.array(max(int(lengths.max()), width), np.int32),
            "last_index": (new - 1).astype(np.int64)[:, None],
        }
        key = row, rows, self._round_up(candidates)
        bound = self._prefill_bindings.get(key)
        if bound is None:
            if len(self._prefill_bindings) >= MAX_PREFILL_BINDINGS:
                self._prefill_bindings.clear()
            bound = self._prefill_bindings[key] = self._bind(*key)
        binding, step = bound
        _bind_inputs(binding, inputs)
        self._session.run_with_iobinding(binding)
        return step

    def _round_up(self, candidates: int) -> int:
        return min(-(-candidates // CANDIDATE_STEP) * CANDIDATE_STEP, self.shape.vocab_size)

    def _bind_decode(self, rows: int, count: int) -> tuple[Any, StepLogits]:
        inputs: dict[str, NDArray[Any]] = {
            "input_ids": self._tokens[:rows],
            "position_ids": self._places[:rows],
            "seqlens_k": self._seqlens[:rows],
            "total_len": self._total,
            "last_index": self._zeros[:rows],
        }
        binding, step = self._bind(0, rows, count)
        _bind_inputs(binding, inputs)
        return binding, step

    def _bind(self, row: int, rows: int, count: int) -> tuple[Any, StepLogits]:
        """A binding over rows ``row``.. of the cache and the views it fills; other inputs are still to be bound."""
        if count not in self._top:
            shape = (self.slots, count)
            self._top[count] = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
            self._counts[count] = np.array([count], np.int64)
        top_logits, top_ids = self._top[count]
        step = StepLogits(self._logits[:rows], top_logits[:rows], top_ids[:rows])
        binding = self._session.io_binding()
        _bind_inputs(binding, {"candidates": self._counts[count]})
        outputs: dict[str, NDArray[Any]] = {
            "logits": step.logits,
            "top_logits": step.top_logits,
            "top_ids": step.top_ids,
        }
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, view in self.cache.rows(row, rows):
            binding.bind_input(f"past_{name}", "cpu", 0, view.dtype, view.shape, view.ctypes.data)
            binding.bind_output(f"present_{name}", "cpu", 0, view.dtype, view.shape, view.ctypes.data)
        return binding, step


def _bind_inputs(binding: Any, inputs: dict[str, NDArray[Any]]) -> None:
    """Over the arrays' own memory, in place of what was bound: they must live as long as it is used."""
    for name, array in inputs.items():
        binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)


def _shape_of(session: onnxruntime.InferenceSession) -> ModelShape:
    inputs = {value.name: value.shape for value in session.get_inputs()}
    outputs = {value.name: value.shape for value in session.get_outputs()}
    metadata = session.get_modelmeta().custom_metadata_map
    try:
        _, heads, _, head_dim = inputs["past_k_0"]
        sizes = ModelShape(
            num_layers=sum(name.startswith("past_k_") for name in inputs),
            num_heads=int(heads),
            head_dim=int(head_dim),
            vocab_size=int(outputs["logits"][1]),
            context_length=int(metadata["context_length"]),
        )
        for layer in range(sizes.num_layers):
            for part in "kv":
                _ = inputs[f"past_{part}_{layer}"], outputs[f"present_{part}_{layer}"]
        for name in ("input_ids", "position_ids", "seqlens_k", "total_len", "last_index", "candidates"):
            inputs[name]
        for name in ("top_logits", "top_ids"):
            outputs[name]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        msg = f"the graph is no serving graph ({error}); make one with `gtx-train package`"
        raise ModelLoadError(msg) from error
    if min(sizes.num_heads, sizes.head_dim, sizes.vocab_size, sizes.context_length) < 1:
        msg = f"the graph has impossible sizes: {sizes}"
        raise ModelLoadError(msg)
    return sizes
