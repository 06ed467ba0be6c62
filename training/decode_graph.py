"""The serving graph: one decoder step over a batch, with a KV cache that is updated in place.

Inputs (b rows, s tokens a row)
    input_ids, position_ids  int64 [b, s]
    seqlens_k                int32 [b]     tokens in each row's cache after this step, minus one
    total_len                int32 []      the largest of those counts
    last_index               int64 [b, 1]  the position in the row whose logits are wanted
    candidates               int64 [1]     how many of the best tokens to report
    past_k_i, past_v_i       float [b, kv_heads, max_len, head_dim]
Outputs
    logits                   float [b, vocab_size]
    top_logits, top_ids      float, int64 [b, candidates], best first
    present_k_i, present_v_i bound to the memory of past_*: ONNX Runtime then writes the new keys and values only

Attention is com.microsoft.GroupQueryAttention, which takes rows of different lengths and, where positions are rotary,
turns queries and keys itself. Behind the last layer's attention only the wanted position goes on: the rest of that
layer has nothing left to do for the others. How the matrices are stored and multiplied is a WeightFormat's business
(``weight_formats``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.decoder_weights import Affine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.decoder_weights import Activation, DecoderWeights, Norm

MICROSOFT = "com.microsoft"
GRAPH_VERSION = 1
OPSET, IR_VERSION = 21, 10
UNEMBED = "unembed"
"""The name of the output projection among the matrices."""


class WeightFormat(Protocol):
    """How a decoder's matrices are stored in the graph and multiplied with."""

    def affine(self, graph: GraphBuilder, x: str, name: str, affine: Affine) -> str:
        """Adds ``x @ weight + bias`` and returns its name."""

    def embed(self, graph: GraphBuilder, ids: str, table: NDArray[np.float32]) -> str:
        """Adds the lookup of token embeddings [b, s, width] and returns its name."""

    def unembed(self, graph: GraphBuilder, x: str, table: NDArray[np.float32], bias: NDArray[np.float32] | None) -> str:
        """Adds ``x @ table.T + bias``, the logits, by the last node it adds, and returns their name.

        ``table`` is the one that ``embed`` was given, and is stored once for both. An output projection of its own
        comes as an ``affine`` named UNEMBED.
        """


class GraphBuilder:
    """Collects nodes and weights; weights and nodes of one name are added once."""

    def __init__(self) -> None:
        """An empty graph."""
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}
        self.extra_outputs: list[onnx.ValueInfoProto] = []

    def weight(self, name: str, array: NDArray[Any]) -> str:
        """Stores an array under ``name`` unless that is there, and returns the name."""
        if name not in self.weights:
            self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def scalar(self, value: float, dtype: type[np.generic] = np.float32) -> str:
        """A scalar constant, stored once for each value and type."""
        return self.weight(f"scalar.{np.dtype(dtype).name}.{value!r}", np.array(value, dtype))

    def op(self, kind: str, inputs: list[str], *, domain: str = "", **attributes: Any) -> str:
        """Adds a node with one output and returns the output's name."""
        return self.ops(kind, inputs, 1, domain=domain, **attributes)[0]

    def ops(self, kind: str, inputs: list[str], outputs: int, *, domain: str = "", **attributes: Any) -> list[str]:
        """Adds a node with several outputs and returns their names."""
        name = f"{kind}_{len(self.nodes)}"
        return self.named(kind, inputs, [f"{name}.{i}" for i in range(outputs)], domain=domain, **attributes)

    def named(
        self, kind: str, inputs: list[str], outputs: list[str], *, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Adds a node whose outputs have the given names."""
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs

    def name_last(self, output: str, name: str) -> None:
        """Gives the output of the last node another name, which costs nothing (an Identity copies)."""
        outputs = self.nodes[-1].output
        outputs[list(outputs).index(output)] = name

    def norm(self, x: str, name: str, norm: Norm, epsilon: float) -> str:
        """Layer or RMS normalisation of ``x``."""
        weights = self._norm_weights(name, norm)
        if norm.bias is not None:
            return self.op("LayerNormalization", [x, *weights], axis=-1, epsilon=epsilon)
        # ONNX has no RMS normalisation before opset 23. ONNX Runtime makes one operator of these when it loads them.
        squares = self.op("Pow", [x, self.scalar(2.0)])
        mean = self.op("ReduceMean", [squares, self.weight("last_axis", LAST_AXIS)], keepdims=1)
        root = self.op("Sqrt", [self.op("Add", [mean, self.scalar(epsilon)])])
        return self.op("Mul", [self.op("Div", [x, root]), *weights])

    def skip_norm(self, x: str, skip: str, name: str, norm: Norm, epsilon: float) -> tuple[str, str]:
        """(x + skip, layer or RMS normalisation of that)."""
        kind = "SkipSimplifiedLayerNormalization" if norm.bias is None else "SkipLayerNormalization"
        inputs = [x, skip, *self._norm_weights(name, norm)]
        outputs = self.ops(kind, inputs, 4, domain=MICROSOFT, epsilon=epsilon)
        return outputs[3], outputs[0]

    def activation(self, x: str, kind: Activation) -> str:
        """The activation of ``x``."""
        if kind == "relu":
            return self.op("Relu", [x])
        if kind == "silu":  # x * sigmoid(x)
            return self.op("QuickGelu", [x], domain=MICROSOFT, alpha=1.0)
        return self.op("FastGelu" if kind == "gelu_tanh" else "Gelu", [x], domain=MICROSOFT)

    def _norm_weights(self, name: str, norm: Norm) -> list[str]:
        weight = self.weight(f"{name}.weight", norm.weight)
        return [weight] if norm.bias is None else [weight, self.weight(f"{name}.bias", norm.bias)]


LAST_AXIS = np.array([-1], np.int64)


def build_serving_graph(
    decoder: DecoderWeights, weights: WeightFormat, *, every_position: bool = False
) -> onnx.ModelProto:
    """The serving graph of a decoder, its matrices stored in the given format.

    With ``every_position`` all tokens go through the whole of the last layer, which is of use to measure what it
    sees; the outputs are the same.
    """
    graph, epsilon = GraphBuilder(), decoder.norm_epsilon
    residual = weights.embed(graph, "input_ids", decoder.token_embedding)
    if decoder.position_embedding is not None:
        places = graph.op("Gather", [graph.weight("position_embedding", decoder.position_embedding), "position_ids"])
        residual = graph.op("Add", [residual, places])
    h = graph.norm(residual, "layer.0.attention_norm", decoder.layers[0].attention_norm, epsilon)
    for i, layer in enumerate(decoder.layers):
        at = f"layer.{i}"
        last = i == len(decoder.layers) - 1
        attended = _attention(graph, weights, decoder, i, h)
        if last and not every_position:
            attended, residual = (graph.op("GatherND", [x, "last_index"], batch_dims=1) for x in (attended, residual))
        out = weights.affine(graph, attended, f"{at}.attention_out", layer.attention_out)
        residual, h = graph.skip_norm(out, residual, f"{at}.mlp_norm", layer.mlp_norm, epsilon)
        pending = _mlp(graph, weights, decoder, i, h)
        name, norm = (
            ("final_norm", decoder.final_norm)
            if last
            else (f"layer.{i + 1}.attention_norm", decoder.layers[i + 1].attention_norm)
        )
        residual, h = graph.skip_norm(pending, residual, name, norm, epsilon)
    if every_position:
        h = graph.op("GatherND", [h, "last_index"], batch_dims=1)
    logits = (
        weights.unembed(graph, h, decoder.token_embedding, decoder.head_bias)
        if decoder.head is None
        else weights.affine(graph, h, UNEMBED, Affine(np.ascontiguousarray(decoder.head.T), decoder.head_bias))
    )
    graph.name_last(logits, "logits")
    graph.named("TopK", ["logits", "candidates"], ["top_logits", "top_ids"], axis=-1)
    return _as_model(graph, decoder)


def _attention(graph: GraphBuilder, weights: WeightFormat, decoder: DecoderWeights, i: int, h: str) -> str:
    """What layer ``i``'s heads have seen [b, s, heads * head_dim]."""
    layer, rotary = decoder.layers[i], decoder.rotary
    qkv = [weights.affine(graph, h, f"layer.{i}.qkv", layer.qkv), "", ""]
    angles: list[str] = []
    optional = {}
    if 0 < layer.window < decoder.context_length:
        optional["local_window_size"] = layer.window
    if rotary is not None:
        angles = [graph.weight("rotary.cos", rotary.cos), graph.weight("rotary.sin", rotary.sin)]
        if decoder.head_dim % ROTARY_MULTIPLE:
            qkv, angles = _turned(graph, decoder, qkv[0], angles), []
        else:
            optional["do_rotary"] = 1
    return graph.named(
        "GroupQueryAttention",
        [*qkv, f"past_k_{i}", f"past_v_{i}", "seqlens_k", "total_len", *angles],
        [f"layer.{i}.attended", f"present_k_{i}", f"present_v_{i}"],
        domain=MICROSOFT,
        num_heads=decoder.num_heads,
        kv_num_heads=decoder.num_kv_heads,
        scale=decoder.attention_scale,
        **optional,
    )[0]


ROTARY_MULTIPLE = 16
"""Heads of other sizes are not turned by GroupQueryAttention."""


def _turned(graph: GraphBuilder, decoder: DecoderWeights, qkv: str, angles: list[str]) -> list[str]:
    """Queries and keys turned by their positions, and values, from ``qkv``."""
    heads = np.array([decoder.num_heads, decoder.num_kv_heads, decoder.num_kv_heads], np.int64)
    sizes = graph.weight("rotary.sizes", heads * decoder.head_dim)
    queries, keys, values = graph.ops("Split", [qkv, sizes], 3, axis=-1)
    turned = [
        graph.op("RotaryEmbedding", [x, "position_ids", *angles], domain=MICROSOFT, interleaved=0)
        for x in (queries, keys)
    ]
    return [*turned, values]


def _mlp(graph: GraphBuilder, weights: WeightFormat, decoder: DecoderWeights, i: int, h: str) -> str:
    layer, at = decoder.layers[i], f"layer.{i}"
    inner = weights.affine(graph, h, f"{at}.mlp_in", layer.mlp_in)
    if layer.mlp_gate is None:
        inner = graph.activation(inner, decoder.activation)
    else:
        gate = graph.activation(weights.affine(graph, h, f"{at}.mlp_gate", layer.mlp_gate), decoder.activation)
        inner = graph.op("Mul", [gate, inner])
    return weights.affine(graph, inner, f"{at}.mlp_out", layer.mlp_out)


def _as_model(graph: GraphBuilder, decoder: DecoderWeights) -> onnx.ModelProto:
    def value(name: str, kind: int, shape: list[str | int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    caches = [f"{part}_{i}" for i in range(len(decoder.layers)) for part in "kv"]
    cache_shape: list[str | int] = ["b", decoder.num_kv_heads, "max_len", decoder.head_dim]
    inputs = [
        value("input_ids", TensorProto.INT64, ["b", "s"]),
        value("position_ids", TensorProto.INT64, ["b", "s"]),
        value("seqlens_k", TensorProto.INT32, ["b"]),
        value("total_len", TensorProto.INT32, []),
        value("last_index", TensorProto.INT64, ["b", 1]),
        value("candidates", TensorProto.INT64, [1]),
        *(value(f"past_{cache}", TensorProto.FLOAT, cache_shape) for cache in caches),
    ]
    outputs = [
        value("logits", TensorProto.FLOAT, ["b", decoder.vocab_size]),
        value("top_logits", TensorProto.FLOAT, ["b", "c"]),
        value("top_ids", TensorProto.INT64, ["b", "c"]),
        *(value(f"present_{cache}", TensorProto.FLOAT, cache_shape) for cache in caches),
        *graph.extra_outputs,
    ]
    proto = helper.make_graph(graph.nodes, "decoder", inputs, outputs, list(graph.weights.values()))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=IR_VERSION, producer_name="wholesome-greentext")
    model.metadata_props.add(key="graph_version", value=str(GRAPH_VERSION))
    model.metadata_props.add(key="context_length", value=str(decoder.context_length))
    return model
