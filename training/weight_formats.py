"""How the serving graph stores and multiplies its matrices: fp32, and integers of 8 and 4 bits.

Activations are quantised either with ranges measured beforehand (``Int8Static``) or by each row's own largest value
(``Int8Rows``), never by a range taken over the batch as ONNX Runtime's dynamic quantisation does: a text must not
depend on who shares its batch.

Weights use 7 of 8 bits by default: on AVX2 without VNNI the product of two u8 x s8 pairs is added in 16 bits and
saturates with the full range (255 * 127 * 2 > 32767), and with 7 bits it cannot (255 * 64 * 2 < 32767). The same
bundle then gives the same text on every processor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper

from training.decode_graph import LAST_AXIS, MICROSOFT, UNEMBED, GraphBuilder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from training.decoder_weights import Affine

    Array = NDArray[np.float32]


def _plus(graph: GraphBuilder, y: str, name: str, bias: Array | None) -> str:
    return y if bias is None else graph.op("Add", [y, graph.weight(f"{name}.bias", bias)])


@dataclass(frozen=True, slots=True)
class Fp32:
    """Plain 32-bit floats."""

    def affine(self, graph: GraphBuilder, x: str, name: str, affine: Affine) -> str:
        """See WeightFormat."""
        y = graph.op("MatMul", [x, graph.weight(f"{name}.weight", affine.weight)])
        return _plus(graph, y, name, affine.bias)

    def embed(self, graph: GraphBuilder, ids: str, table: Array) -> str:
        """See WeightFormat."""
        return graph.op("Gather", [graph.weight("token_embedding", table), ids])

    def unembed(self, graph: GraphBuilder, x: str, table: Array, bias: Array | None) -> str:
        """See WeightFormat."""
        # ONNX Runtime folds the transposition when it loads the graph.
        stored = graph.op("Transpose", [graph.weight("token_embedding", table)], perm=[1, 0])
        return _plus(graph, graph.op("MatMul", [x, stored]), UNEMBED, bias)


@dataclass(frozen=True, slots=True)
class Calibrating(Fp32):
    """Fp32 that also reports the input of every matrix, as outputs named ``calibrate.NAME``."""

    def affine(self, graph: GraphBuilder, x: str, name: str, affine: Affine) -> str:
        """See WeightFormat."""
        self._report(graph, x, name)
        return Fp32.affine(self, graph, x, name, affine)

    def unembed(self, graph: GraphBuilder, x: str, table: Array, bias: Array | None) -> str:
        """See WeightFormat."""
        self._report(graph, x, UNEMBED)
        return Fp32.unembed(self, graph, x, table, bias)

    @staticmethod
    def _report(graph: GraphBuilder, x: str, name: str) -> None:
        graph.named("Identity", [x], [f"calibrate.{name}"])
        graph.extra_outputs.append(helper.make_tensor_value_info(f"calibrate.{name}", TensorProto.FLOAT, None))


def quantize_columns(weight: Array, bits: int) -> tuple[NDArray[np.int8], Array]:
    """Symmetric integers of ``bits`` bits for each column of [in, out], and the columns' scales [out].

    For each column the scale is chosen, of twelve that clip the largest values a little, by least squared error.
    """
    top = 2 ** (bits - 1) - 1
    largest = np.maximum(np.abs(weight).max(axis=0), 1e-12)
    best_error = np.full(weight.shape[1], np.inf)
    best_scale = largest / top
    for share in np.linspace(1.0, 0.78, 12):
        scale = largest * share / top
        error = np.square(np.clip(np.round(weight / scale), -top, top) * scale - weight).sum(axis=0)
        better = error < best_error
        best_error, best_scale = np.where(better, error, best_error), np.where(better, scale, best_scale)
    scales = best_scale.astype(np.float32)
    return np.clip(np.round(weight / scales), -top, top).astype(np.int8), scales


@dataclass(frozen=True, slots=True)
class Range:
    """The range of an activation that its 8 bits cover."""

    low: float
    high: float

    @property
    def scale(self) -> float:
        """What one step stands for."""
        return max(self.high - self.low, 1e-8) / 255.0

    @property
    def zero_point(self) -> int:
        """The integer that stands for 0."""
        return int(np.clip(round(-self.low / self.scale), 0, 255))


@dataclass(frozen=True, slots=True)
class _Int8Weights:
    """What the two 8-bit formats share: the embedding, stored once, row by row."""

    weight_bits: int = 7

    def embed(self, graph: GraphBuilder, ids: str, table: Array) -> str:
        """See WeightFormat."""
        stored, scales = self._table(graph, table)
        rows = graph.op("Cast", [graph.op("Gather", [stored, ids])], to=TensorProto.FLOAT)
        row_scales = graph.op("Unsqueeze", [graph.op("Gather", [scales, ids]), graph.weight("last_axis", LAST_AXIS)])
        return graph.op("Mul", [rows, row_scales])

    def _table(self, graph: GraphBuilder, table: Array) -> tuple[str, str]:
        if "token_embedding.q" in graph.weights:
            return "token_embedding.q", "token_embedding.scale"
        columns, scales = quantize_columns(np.ascontiguousarray(table.T), self.weight_bits)
        return graph.weight("token_embedding.q", columns.T), graph.weight("token_embedding.scale", scales)

    def _stored(self, graph: GraphBuilder, name: str, weight: Array) -> tuple[str, str]:
        columns, scales = quantize_columns(weight, self.weight_bits)
        return graph.weight(f"{name}.q", columns), graph.weight(f"{name}.scale", scales)

    def _stored_table(self, graph: GraphBuilder, table: Array) -> tuple[str, str]:
        stored, scales = self._table(graph, table)
        return graph.op("Transpose", [stored], perm=[1, 0]), scales


@dataclass(frozen=True, slots=True)
class Int8Static(_Int8Weights):
    """8-bit activations in ranges measured on sample texts (``calibrate``): one small step a matrix, the fastest."""

    ranges: Mapping[str, Range] = field(default_factory=dict)

    def affine(self, graph: GraphBuilder, x: str, name: str, affine: Affine) -> str:
        """See WeightFormat."""
        return self._multiply(graph, x, name, self._stored(graph, name, affine.weight), affine.bias)

    def unembed(self, graph: GraphBuilder, x: str, table: Array, bias: Array | None) -> str:
        """See WeightFormat."""
        return self._multiply(graph, x, UNEMBED, self._stored_table(graph, table), bias)

    def _multiply(self, graph: GraphBuilder, x: str, name: str, stored: tuple[str, str], bias: Array | None) -> str:
        covered = self.ranges[name]
        scale, zero = graph.scalar(covered.scale), graph.scalar(covered.zero_point, np.uint8)
        quantized = graph.op("QuantizeLinear", [x, scale, zero])
        inputs = [quantized, stored[0], scale, stored[1], zero, graph.scalar(0, np.int8)]
        if bias is not None:
            inputs.append(graph.weight(f"{name}.bias", bias))
        return graph.op("MatMulIntegerToFloat", inputs, domain=MICROSOFT)


@dataclass(frozen=True, slots=True)
class Int8Rows(_Int8Weights):
    """8-bit activations, each token's by its own largest value: no calibration, more steps."""

    def affine(self, graph: GraphBuilder, x: str, name: str, affine: Affine) -> str:
        """See WeightFormat."""
        return _plus(graph, self._multiply(graph, x, self._stored(graph, name, affine.weight)), name, affine.bias)

    def unembed(self, graph: GraphBuilder, x: str, table: Array, bias: Array | None) -> str:
        """See WeightFormat."""
        return _plus(graph, self._multiply(graph, x, self._stored_table(graph, table)), UNEMBED, bias)

    def _multiply(self, graph: GraphBuilder, x: str, stored: tuple[str, str]) -> str:
        axes = graph.weight("last_axis", LAST_AXIS)
        largest = graph.op("ReduceMax", [graph.op("Abs", [x]), axes], keepdims=1)
        scale = graph.op("Add", [graph.op("Mul", [largest, graph.scalar(1 / 127)]), graph.scalar(1e-9)])
        one, zero = graph.scalar(1.0), graph.scalar(128, np.uint8)
        quantized = graph.op("QuantizeLinear", [graph.op("Div", [x, scale]), one, zero])
        y = graph.op(
            "MatMulIntegerToFloat",
            [quantized, stored[0], one, stored[1], zero, graph.scalar(0, np.int8)],
            domain=MICROSOFT,
        )
        return graph.op("Mul", [y, scale])


@dataclass(frozen=True, slots=True)
class Blocks:
    """Weights in blocks of one scale each (MatMulNBits); activations are quantised within the operator, by block."""

    bits: int = 4
    block_size: int = 32

    def affine(self, graph: GraphBuilder, x: str, name: str, affine: Affine) -> str:
        """See WeightFormat."""
        return self._multiply(graph, x, name, np.ascontiguousarray(affine.weight.T), affine.bias)

    def embed(self, graph: GraphBuilder, ids: str, table: Array) -> str:
        """See WeightFormat."""
        return graph.op("Gather", [graph.weight("token_embedding", table), ids])

    def unembed(self, graph: GraphBuilder, x: str, table: Array, bias: Array | None) -> str:
        """See WeightFormat. The lookup keeps a table of its own in fp32."""
        return self._multiply(graph, x, UNEMBED, table, bias)

    def _multiply(self, graph: GraphBuilder, x: str, name: str, rows: Array, bias: Array | None) -> str:
        out, inner = rows.shape
        if inner % self.block_size:
            msg = f"{name}: {inner} inputs are not a multiple of the block size {self.block_size}"
            raise ValueError(msg)
        half = 2 ** (self.bits - 1)
        blocks = rows.reshape(out, inner // self.block_size, self.block_size)
        extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)
        scales = np.where(extreme == 0, 1.0, extreme / -half).astype(np.float32)
        codes = np.clip(np.round(blocks / scales) + half, 0, 2 * half - 1).astype(np.uint8)
        if self.bits == 4:
            codes = codes[..., 0::2] | (codes[..., 1::2] << 4)
        inputs = [x, graph.weight(f"{name}.q", codes), graph.weight(f"{name}.scale", scales.reshape(-1))]
        if bias is not None:
            inputs += ["", "", graph.weight(f"{name}.bias", bias)]
        return graph.op(
            "MatMulNBits",
            inputs,
            domain=MICROSOFT,
            K=inner,
            N=out,
            bits=self.bits,
            block_size=self.block_size,
            accuracy_level=4,
        )
