"""Reads the weights out of ``transformers`` models: GPT-2, GPT-Neo and Llama, as ``DecoderWeights``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.decoder_weights import Affine, DecoderLayer, DecoderWeights, Norm, Rotary, UnsupportedModelError
from training.head_padding import with_whole_heads

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from training.decoder_weights import Activation, Array

    State = dict[str, torch.Tensor]

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""What ``transformers`` calls the activations that the graph knows."""
STATIC_ROTARY = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary embedding whose angles depend on the position alone, not on how long the text has become."""


def read_decoder(model: PreTrainedModel) -> DecoderWeights:
    """Takes the weights out of a ``transformers`` GPT-2, GPT-Neo or Llama causal model.

    The configuration's ``max_position_embeddings`` bounds the context: learned positions beyond it are left out.
    Raises UnsupportedModelError for other architectures and for settings that would change the result.
    """
    config = model.config
    if config.model_type not in _READERS:
        msg = f"{config.model_type} is not supported; the serving graph knows {', '.join(_READERS)}"
        raise UnsupportedModelError(msg)
    state = {name.removeprefix("transformer.").removeprefix("model."): t for name, t in model.state_dict().items()}
    return with_whole_heads(_READERS[config.model_type](model, state))


def _read_gpt_neo(model: PreTrainedModel, state: State) -> DecoderWeights:
    config = model.config

    def layer(i: int) -> DecoderLayer:
        at = f"h.{i}"
        return DecoderLayer(
            attention_norm=_norm(state, f"{at}.ln_1"),
            qkv=_side_by_side(*(_linear(state, f"{at}.attn.attention.{part}_proj") for part in "qkv")),
            attention_out=_linear(state, f"{at}.attn.attention.out_proj"),
            mlp_norm=_norm(state, f"{at}.ln_2"),
            mlp_in=_linear(state, f"{at}.mlp.c_fc"),
            mlp_out=_linear(state, f"{at}.mlp.c_proj"),
            window=config.window_size if config.attention_layers[i] == "local" else 0,
        )

    return DecoderWeights(
        **_learned(model, state),
        architecture="gpt_neo",
        layers=tuple(layer(i) for i in range(config.num_layers)),
        attention_scale=1.0,
    )


def _read_gpt2(model: PreTrainedModel, state: State) -> DecoderWeights:
    config = model.config
    _refuse(config, "scale_attn_by_inverse_layer_idx", "add_cross_attention")

    def layer(i: int) -> DecoderLayer:
        at = f"h.{i}"
        return DecoderLayer(
            attention_norm=_norm(state, f"{at}.ln_1"),
            qkv=_conv1d(state, f"{at}.attn.c_attn"),
            attention_out=_conv1d(state, f"{at}.attn.c_proj"),
            mlp_norm=_norm(state, f"{at}.ln_2"),
            mlp_in=_conv1d(state, f"{at}.mlp.c_fc"),
            mlp_out=_conv1d(state, f"{at}.mlp.c_proj"),
        )

    scaled = getattr(config, "scale_attn_weights", True)
    return DecoderWeights(
        **_learned(model, state),
        architecture="gpt2",
        layers=tuple(layer(i) for i in range(config.n_layer)),
        attention_scale=(config.n_embd // config.n_head) ** -0.5 if scaled else 1.0,
    )


def _learned(model: PreTrainedModel, state: State) -> dict[str, Any]:
    """What GPT-2 and GPT-Neo have in common."""
    config = model.config
    context_length = min(config.max_position_embeddings, len(state["wpe.weight"]))
    return {
        "token_embedding": _array(state["wte.weight"]),
        "position_embedding": _array(state["wpe.weight"][:context_length]),
        "rotary": None,
        **_output(state, "wte.weight"),
        "final_norm": _norm(state, "ln_f"),
        "activation": _activation(config.activation_function),
        "context_length": context_length,
        "num_heads": config.num_attention_heads,
        "num_kv_heads": config.num_attention_heads,
        "head_dim": config.hidden_size // config.num_attention_heads,
        "norm_epsilon": config.layer_norm_epsilon,
    }


def _read_llama(model: PreTrainedModel, state: State) -> DecoderWeights:
    config = model.config

    def layer(i: int) -> DecoderLayer:
        at = f"layers.{i}"
        return DecoderLayer(
            attention_norm=_norm(state, f"{at}.input_layernorm"),
            qkv=_side_by_side(*(_linear(state, f"{at}.self_attn.{part}_proj") for part in "qkv")),
            attention_out=_linear(state, f"{at}.self_attn.o_proj"),
            mlp_norm=_norm(state, f"{at}.post_attention_layernorm"),
            mlp_in=_linear(state, f"{at}.mlp.up_proj"),
            mlp_gate=_linear(state, f"{at}.mlp.gate_proj"),
            mlp_out=_linear(state, f"{at}.mlp.down_proj"),
        )

    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    output = _output(state, "embed_tokens.weight")
    return DecoderWeights(
        architecture="llama",
        token_embedding=_array(state["embed_tokens.weight"]),
        position_embedding=None,
        rotary=_rotary(model),
        head=output["head"],
        head_bias=output["head_bias"],
        layers=tuple(layer(i) for i in range(config.num_hidden_layers)),
        final_norm=_norm(state, "norm"),
        activation=_activation(config.hidden_act),
        context_length=config.max_position_embeddings,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_dim=head_dim,
        attention_scale=head_dim**-0.5,
        norm_epsilon=config.rms_norm_eps,
    )


_READERS = {"gpt2": _read_gpt2, "gpt_neo": _read_gpt_neo, "llama": _read_llama}


def _rotary(model: PreTrainedModel) -> Rotary:
    """The angles of every position, computed as the model itself computes them."""
    embedding = model.get_decoder().rotary_emb
    if embedding.rope_type not in STATIC_ROTARY:
        msg = (
            f"rotary positions of kind {embedding.rope_type} change with the length of the text; "
            f"the serving graph knows {', '.join(STATIC_ROTARY)}"
        )
        raise UnsupportedModelError(msg)
    positions = torch.arange(model.config.max_position_embeddings)[None]
    with torch.no_grad():
        cos, sin = embedding(torch.zeros(1, dtype=torch.float32), positions)
    half = cos.shape[-1] // 2  # both halves are the same
    return Rotary(_array(cos[0, :, :half]), _array(sin[0, :, :half]))


def _output(state: State, embedding: str) -> dict[str, Array | None]:
    """The output projection; none of its own where its numbers are the embedding's."""
    head, bias = state["lm_head.weight"], state.get("lm_head.bias")
    tied = head.shape == state[embedding].shape and bool((head == state[embedding]).all())
    return {"head": None if tied else _array(head), "head_bias": None if bias is None else _array(bias)}


def _activation(name: str) -> Activation:
    if name not in ACTIVATIONS:
        msg = f"activation {name} is not supported; the serving graph knows {', '.join(ACTIVATIONS)}"
        raise UnsupportedModelError(msg)
    return ACTIVATIONS[name]


def _refuse(config: Any, *settings: str) -> None:
    for name in settings:
        if getattr(config, name, False):
            msg = f"{name} is not supported; the serving graph knows plain {config.model_type}"
            raise UnsupportedModelError(msg)


def _array(tensor: torch.Tensor) -> Array:
    array: Array = np.ascontiguousarray(tensor.detach().float().cpu().numpy())
    return array


def _norm(state: State, name: str) -> Norm:
    bias = state.get(f"{name}.bias")
    return Norm(_array(state[f"{name}.weight"]), None if bias is None else _array(bias))


def _linear(state: State, name: str) -> Affine:
    """A torch ``Linear``, whose weight is [out, in]."""
    bias = state.get(f"{name}.bias")
    return Affine(_array(state[f"{name}.weight"].T), None if bias is None else _array(bias))


def _conv1d(state: State, name: str) -> Affine:
    """GPT-2's ``Conv1D``, whose weight is [in, out]."""
    return Affine(_array(state[f"{name}.weight"]), _array(state[f"{name}.bias"]))


def _side_by_side(*parts: Affine) -> Affine:
    """Several matrices of one input as one. All have a bias, or none has."""
    biases = [part.bias for part in parts if part.bias is not None]
    weight = np.ascontiguousarray(np.concatenate([part.weight for part in parts], axis=1))
    return Affine(weight, np.concatenate(biases) if biases else None)
