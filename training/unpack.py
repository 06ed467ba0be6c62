"""Makes a checkpoint of a model bundle, to tune further what came without one.

A bundle holds the weights in the serving graph, under the names that ``decode_graph`` gives them. 8-bit weights come
back as what the bundle computes with, not as what they were rounded from: the checkpoint writes what the bundle writes,
but for the rounding of activations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from tokenizers import Tokenizer
from transformers import GPTNeoConfig, GPTNeoForCausalLM

from greentext.bundle import verify
from greentext.control_tokens import END_TOKEN, START_TOKEN
from training.checkpoint import Checkpoint, CheckpointError, save_checkpoint
from training.decode_graph import UNEMBED
from training.tokenizer import wrap_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from greentext.manifest import ModelManifest

ACTIVATIONS = {"FastGelu": "gelu_new", "Gelu": "gelu", "Relu": "relu"}
"""What ``transformers`` calls the operators."""
EMBEDDING = "token_embedding"


def unpack(bundle: Path, directory: Path) -> Checkpoint:
    """Writes the checkpoint of a GPT-Neo bundle into ``directory`` and returns it.

    Raises BundleError for a broken bundle, CheckpointError for one that cannot be unpacked: of another architecture,
    with 4-bit weights or with control tokens that are not this project's.
    """
    manifest = verify(bundle)
    if manifest.architecture != "gpt_neo" or manifest.precision == "int4":
        raise CheckpointError(
            f"{bundle} is a {manifest.architecture} in {manifest.precision}; only GPT-Neo bundles in fp32 and int8 can "
            f"be unpacked: tune the checkpoint that it was made of"
        )
    tokens = manifest.control_tokens
    if (tokens.start.text, tokens.end.text) != (START_TOKEN, END_TOKEN):
        raise CheckpointError(
            f"{bundle} has the control tokens {tokens.start.text} and {tokens.end.text}; only bundles with this "
            f"project's can be unpacked: tune the checkpoint that it was made of"
        )
    graph = onnx.load(bundle / "model.onnx").graph
    weights = _Weights({tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer})
    if weights.has(UNEMBED):
        raise CheckpointError(
            f"{bundle} has an output matrix of its own; only those that share the embedding are known"
        )
    model = GPTNeoForCausalLM(_config(manifest, graph, weights))
    state = {name: torch.from_numpy(np.array(array, np.float32)) for name, array in _state(manifest, weights).items()}
    model.load_state_dict(state)
    model.tie_weights()
    checkpoint = Checkpoint(model.eval(), wrap_tokenizer(Tokenizer.from_file(str(bundle / "tokenizer.json"))))
    save_checkpoint(checkpoint.model, checkpoint.tokenizer, directory)
    return checkpoint


class _Weights:
    """The graph's stored arrays, matrices dequantised."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.arrays = arrays

    def has(self, name: str) -> bool:
        return f"{name}.weight" in self.arrays or f"{name}.q" in self.arrays

    def matrix(self, name: str) -> NDArray[np.float32]:
        """[out, in], as ``torch.nn.Linear`` has it."""
        if f"{name}.weight" in self.arrays:
            stored: NDArray[np.float32] = self.arrays[f"{name}.weight"].T
            return stored
        columns: NDArray[np.float32] = self.arrays[f"{name}.q"].astype(np.float32) * self.arrays[f"{name}.scale"]
        return columns.T

    def embedding(self) -> NDArray[np.float32]:
        """[vocab_size, width]."""
        if EMBEDDING in self.arrays:
            table: NDArray[np.float32] = self.arrays[EMBEDDING]
            return table
        rows: NDArray[np.float32] = (
            self.arrays[f"{EMBEDDING}.q"].astype(np.float32) * self.arrays[f"{EMBEDDING}.scale"][:, None]
        )
        return rows


def _config(manifest: ModelManifest, graph: onnx.GraphProto, weights: _Weights) -> GPTNeoConfig:
    attributes = [
        {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        for node in graph.node
        if node.op_type == "GroupQueryAttention"
    ]
    windows = [one.get("local_window_size", 0) for one in attributes]
    norm = next(node for node in graph.node if node.op_type == "LayerNormalization")
    epsilon = next(attribute.f for attribute in norm.attribute if attribute.name == "epsilon")
    return GPTNeoConfig(
        hidden_size=weights.embedding().shape[1],
        intermediate_size=len(weights.matrix("layer.0.mlp_in")),
        num_layers=manifest.num_layers,
        num_heads=manifest.num_heads,
        attention_types=[[["local" if window else "global"], 1] for window in windows],
        window_size=max(windows) or manifest.context_length,
        activation_function=next(ACTIVATIONS[node.op_type] for node in graph.node if node.op_type in ACTIVATIONS),
        max_position_embeddings=manifest.context_length,
        vocab_size=manifest.vocab_size,
        layer_norm_epsilon=epsilon,
        resid_dropout=0.0,
        embed_dropout=0.0,
        attention_dropout=0.0,
        bos_token_id=manifest.control_tokens.start.id,
        eos_token_id=manifest.control_tokens.end.id,
    )


def _state(manifest: ModelManifest, weights: _Weights) -> dict[str, NDArray[np.float32]]:
    """The weights by the names of ``transformers``' GPT-Neo."""
    arrays, table = weights.arrays, weights.embedding()
    state = {
        "transformer.wte.weight": table,
        "lm_head.weight": table,
        "transformer.wpe.weight": arrays["position_embedding"],
    }

    def norm(name: str, stored: str) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = arrays[f"{stored}.weight"], arrays[f"{stored}.bias"]

    norm("transformer.ln_f", "final_norm")
    width = table.shape[1]
    head = width // manifest.num_heads
    for i in range(manifest.num_layers):
        name, stored = f"transformer.h.{i}", f"layer.{i}"
        norm(f"{name}.ln_1", f"{stored}.attention_norm")
        norm(f"{name}.ln_2", f"{stored}.mlp_norm")
        # Heads of odd sizes are padded in the graph.
        qkv = weights.matrix(f"{stored}.qkv").reshape(3, manifest.num_heads, manifest.head_dim, width)[:, :, :head]
        for part, matrix in zip("qkv", qkv, strict=True):
            state[f"{name}.attn.attention.{part}_proj.weight"] = matrix.reshape(width, width)
        out = weights.matrix(f"{stored}.attention_out").reshape(width, manifest.num_heads, manifest.head_dim)
        state[f"{name}.attn.attention.out_proj.weight"] = out[:, :, :head].reshape(width, width)
        state[f"{name}.attn.attention.out_proj.bias"] = arrays[f"{stored}.attention_out.bias"]
        for theirs, ours in (("mlp.c_fc", "mlp_in"), ("mlp.c_proj", "mlp_out")):
            state[f"{name}.{theirs}.weight"] = weights.matrix(f"{stored}.{ours}")
            state[f"{name}.{theirs}.bias"] = arrays[f"{stored}.{ours}.bias"]
    return state
