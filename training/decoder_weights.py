"""The weights of a GPT-2 or GPT-Neo checkpoint in one shape, as numpy arrays, for building graphs from.

The two differ in names, in the orientation of their matrices, in biases, in the scaling of attention and in local
attention; after this module nothing needs to know which one it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    Array = NDArray[np.float32]


class UnsupportedModelError(ValueError):
    """A checkpoint has an architecture or a setting that the serving graph does not know."""


@dataclass(frozen=True, slots=True)
class Affine:
    """``x @ weight + bias``; weight [in, out], bias [out] or None."""

    weight: Array
    bias: Array | None


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation; weight and bias [width]."""

    weight: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """One transformer block. ``window`` is the width of local attention, 0 where all tokens are seen."""

    attention_norm: Norm
    qkv: Affine
    attention_out: Affine
    mlp_norm: Norm
    mlp_in: Affine
    mlp_out: Affine
    window: int


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """A pre-norm decoder with learned positions; the output projection is the token embedding, transposed."""

    architecture: Literal["gpt2", "gpt_neo"]
    token_embedding: Array
    """[vocab_size, width]"""
    position_embedding: Array
    """[context_length, width]"""
    layers: tuple[DecoderLayer, ...]
    final_norm: Norm
    num_heads: int
    attention_scale: float
    norm_epsilon: float

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(self.token_embedding)

    @property
    def context_length(self) -> int:
        """Number of positions."""
        return len(self.position_embedding)

    @property
    def width(self) -> int:
        """Size of a hidden state."""
        return int(self.token_embedding.shape[1])

    @property
    def head_dim(self) -> int:
        """Size of one head's query, key and value."""
        return self.width // self.num_heads


def read_decoder(model: PreTrainedModel) -> DecoderWeights:
    """Takes the weights out of a ``transformers`` GPT-2 or GPT-Neo causal model.

    Raises UnsupportedModelError for other architectures and for settings that would change the result.
    """
    config = model.config
    activation = getattr(config, "activation_function", None)
    if config.model_type not in ("gpt2", "gpt_neo"):
        msg = f"{config.model_type} is not supported; the serving graph knows gpt2 and gpt_neo"
        raise UnsupportedModelError(msg)
    if activation not in ("gelu_new", "gelu_pytorch_tanh"):
        msg = f"activation {activation} is not supported; expected gelu_new"
        raise UnsupportedModelError(msg)
    head = model.get_output_embeddings().weight
    if head is not model.get_input_embeddings().weight and not bool(
        (head == model.get_input_embeddings().weight).all()
    ):
        msg = "the output projection is not tied to the token embedding; tie them before export"
        raise UnsupportedModelError(msg)
    state = {name.removeprefix("transformer."): tensor for name, tensor in model.state_dict().items()}
    return _read_neo(config, state) if config.model_type == "gpt_neo" else _read_gpt2(config, state)


def _array(tensor: torch.Tensor) -> Array:
    array: Array = np.ascontiguousarray(tensor.detach().float().cpu().numpy())
    return array


def _norm(state: dict[str, torch.Tensor], name: str) -> Norm:
    return Norm(_array(state[f"{name}.weight"]), _array(state[f"{name}.bias"]))


def _linear(state: dict[str, torch.Tensor], name: str) -> Affine:
    """A torch ``Linear``, whose weight is [out, in]."""
    bias = state.get(f"{name}.bias")
    return Affine(_array(state[f"{name}.weight"].T), None if bias is None else _array(bias))


def _conv1d(state: dict[str, torch.Tensor], name: str) -> Affine:
    """GPT-2's ``Conv1D``, whose weight is [in, out]."""
    return Affine(_array(state[f"{name}.weight"]), _array(state[f"{name}.bias"]))


def _read_neo(config: object, state: dict[str, torch.Tensor]) -> DecoderWeights:
    def layer(i: int) -> DecoderLayer:
        at = f"h.{i}"
        qkv = [_linear(state, f"{at}.attn.attention.{part}_proj").weight for part in "qkv"]
        local = config.attention_layers[i] == "local"  # type: ignore[attr-defined]
        return DecoderLayer(
            attention_norm=_norm(state, f"{at}.ln_1"),
            qkv=Affine(np.ascontiguousarray(np.concatenate(qkv, axis=1)), None),
            attention_out=_linear(state, f"{at}.attn.attention.out_proj"),
            mlp_norm=_norm(state, f"{at}.ln_2"),
            mlp_in=_linear(state, f"{at}.mlp.c_fc"),
            mlp_out=_linear(state, f"{at}.mlp.c_proj"),
            window=config.window_size if local else 0,  # type: ignore[attr-defined]
        )

    return DecoderWeights(
        architecture="gpt_neo",
        token_embedding=_array(state["wte.weight"]),
        position_embedding=_array(state["wpe.weight"]),
        layers=tuple(layer(i) for i in range(config.num_layers)),  # type: ignore[attr-defined]
        final_norm=_norm(state, "ln_f"),
        num_heads=config.num_heads,  # type: ignore[attr-defined]
        attention_scale=1.0,
        norm_epsilon=config.layer_norm_epsilon,  # type: ignore[attr-defined]
    )


def _read_gpt2(config: object, state: dict[str, torch.Tensor]) -> DecoderWeights:
    for name in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        if getattr(config, name, False):
            msg = f"{name} is not supported; the serving graph knows plain GPT-2"
            raise UnsupportedModelError(msg)

    def layer(i: int) -> DecoderLayer:
        at = f"h.{i}"
        return DecoderLayer(
            attention_norm=_norm(state, f"{at}.ln_1"),
            qkv=_conv1d(state, f"{at}.attn.c_attn"),
            attention_out=_conv1d(state, f"{at}.attn.c_proj"),
            mlp_norm=_norm(state, f"{at}.ln_2"),
            mlp_in=_conv1d(state, f"{at}.mlp.c_fc"),
            mlp_out=_conv1d(state, f"{at}.mlp.c_proj"),
            window=0,
        )

    heads, width = config.n_head, config.n_embd  # type: ignore[attr-defined]
    scaled = getattr(config, "scale_attn_weights", True)
    return DecoderWeights(
        architecture="gpt2",
        token_embedding=_array(state["wte.weight"]),
        position_embedding=_array(state["wpe.weight"]),
        layers=tuple(layer(i) for i in range(config.n_layer)),  # type: ignore[attr-defined]
        final_norm=_norm(state, "ln_f"),
        num_heads=heads,
        attention_scale=(width // heads) ** -0.5 if scaled else 1.0,
        norm_epsilon=config.layer_norm_epsilon,  # type: ignore[attr-defined]
    )
