"""Measures the ranges that ``Int8Static`` quantises activations in, by running training texts through the graph.

Each tensor's range is chosen, among candidates that clip its extremes, by least squared error of the values seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from training.decode_graph import build_serving_graph
from training.weight_formats import Calibrating, Range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from training.decoder_weights import DecoderWeights

    Array = NDArray[np.float32]
    IntArray = NDArray[np.int64]

PREFIX = "calibrate."
ROWS = 8
BINS = 4096
SHARES = np.concatenate([np.linspace(1.0, 0.5, 21), [0.4, 0.3, 0.2, 0.15, 0.1]])
"""Candidate ends of a range, as shares of the extreme that was seen."""
LAST_TOKENS = 4
"""How many positions of each text the output projection's input is measured at (the graph reports one a run)."""


def calibrate(decoder: DecoderWeights, documents: Sequence[Sequence[int]], *, seed: int = 0) -> dict[str, Range]:
    """The range of each matrix's input, by the name under which the weight format asks for it.

    Two passes over ``documents`` (token ids): extremes first, then histograms between them.
    """
    if not documents:
        raise ValueError("calibration needs at least one text")
    graph = build_serving_graph(decoder, Calibrating(), every_position=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs() if output.name.startswith(PREFIX)]

    extremes = dict.fromkeys(names, (0.0, 0.0))

    def widen(name: str, values: Array) -> None:
        low, high = extremes[name]
        extremes[name] = min(low, float(values.min())), max(high, float(values.max()))

    _observe(session, decoder, names, documents, widen, seed=seed)
    counts = {name: np.zeros(BINS, np.int64) for name in names}

    def count(name: str, values: Array) -> None:
        counts[name] += np.histogram(values, bins=BINS, range=_with_room(extremes[name]))[0]

    _observe(session, decoder, names, documents, count, seed=seed)
    return {name.removeprefix(PREFIX): best_range(counts[name], *_with_room(extremes[name])) for name in names}


def best_range(counts: NDArray[np.int64], low: float, high: float) -> Range:
    """The range within [low, high], 0 included, with the least squared error of 8 bits.

    ``counts`` is the histogram of the values in bins of equal width between ``low`` and ``high``.
    """
    width = (high - low) / len(counts)
    values = low + width * (np.arange(len(counts)) + 0.5)

    def error(candidate: Range) -> float:
        codes = np.clip(np.round(values / candidate.scale) + candidate.zero_point, 0, 255)
        return float((counts * np.square((codes - candidate.zero_point) * candidate.scale - values)).sum())

    lows = [low * share for share in SHARES] if low < 0 else [0.0]
    highs = [high * share for share in SHARES] if high > 0 else [0.0]
    return min((Range(at_least, at_most) for at_least in lows for at_most in highs), key=error)


def _with_room(extremes: tuple[float, float]) -> tuple[float, float]:
    """The extremes, not equal even where a tensor is all zeros."""
    low, high = extremes
    return low, max(high, low + 1e-6)


def _observe(
    session: onnxruntime.InferenceSession,
    decoder: DecoderWeights,
    names: list[str],
    documents: Sequence[Sequence[int]],
    see: Callable[[str, Array], None],
    *,
    seed: int,
) -> None:
    """Shows ``see`` every value of the named outputs, without what stands on padding."""
    rng = np.random.default_rng(seed)
    for batch in _batches(documents, decoder.context_length):
        lengths = np.array([len(document) for document in batch], np.int32)
        ids = np.zeros((len(batch), int(lengths.max())), np.int64)
        for row, document in enumerate(batch):
            ids[row, : len(document)] = document
        real = np.arange(ids.shape[1]) < lengths[:, None]
        for repeat in range(LAST_TOKENS):
            last = rng.integers(0, lengths).astype(np.int64)[:, None]
            outputs = session.run(names, _feeds(decoder, ids, lengths, last))
            for name, values in zip(names, outputs, strict=True):
                if values.ndim == 2:  # [rows, width]: the input of the output projection
                    see(name, values)
                elif repeat == 0:
                    see(name, values[real])


def _batches(documents: Sequence[Sequence[int]], context_length: int) -> Iterator[list[Sequence[int]]]:
    for start in range(0, len(documents), ROWS):
        yield [document[:context_length] for document in documents[start : start + ROWS]]


def _feeds(
    decoder: DecoderWeights, ids: IntArray, lengths: NDArray[np.int32], last: IntArray
) -> dict[str, NDArray[np.generic]]:
    rows, tokens = ids.shape
    empty = np.zeros((rows, decoder.num_kv_heads, tokens, decoder.head_dim), np.float32)
    caches = [f"past_{part}_{i}" for i in range(len(decoder.layers)) for part in "kv"]
    return {
        "input_ids": ids,
        "position_ids": np.tile(np.arange(tokens, dtype=np.int64), (rows, 1)),
        "seqlens_k": lengths - 1,
        "total_len": np.array(tokens, np.int32),
        "last_index": last,
        "candidates": np.array([1], np.int64),
        **dict.fromkeys(caches, empty),
    }
