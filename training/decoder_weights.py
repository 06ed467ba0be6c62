"""The weights of a GPT-2, GPT-Neo or Llama model in one shape, as numpy arrays, for building graphs from.

They differ in names, in the orientation of their matrices, in biases, in the scaling of attention, in how a position
is told (learned or rotary), in normalisation, in the MLP (Llama's is gated) and in whether the output projection is
the token embedding. After this module nothing needs to know which one it was.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

Architecture = Literal["gpt2", "gpt_neo", "llama"]
Activation = Literal["gelu", "gelu_tanh", "silu", "relu"]


class UnsupportedModelError(ValueError):
    """A checkpoint has an architecture or a setting that the serving graph does not know."""


@dataclass(frozen=True, slots=True)
class Affine:
    """``x @ weight + bias``; weight [in, out], bias [out] or None."""

    weight: Array
    bias: Array | None


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation; weight and bias [width]. Without a bias it is RMS normalisation (Zhang & Sennrich 2019)."""

    weight: Array
    bias: Array | None


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary positions (Su et al. 2021), the halves of a head being the pairs; both [context_length, head_dim / 2]."""

    cos: Array
    sin: Array


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """One transformer block. ``window`` is the width of local attention, 0 where all tokens are seen.

    ``qkv`` gives a token's queries, keys and values one behind the other. With ``mlp_gate`` the MLP is
    ``out(activation(gate(x)) * in(x))``, without it ``out(activation(in(x)))``.
    """

    attention_norm: Norm
    qkv: Affine
    attention_out: Affine
    mlp_norm: Norm
    mlp_in: Affine
    mlp_out: Affine
    window: int = 0
    mlp_gate: Affine | None = None


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """A pre-norm decoder with learned or rotary positions, one of which is there."""

    architecture: Architecture
    token_embedding: Array
    """[vocab_size, width]"""
    position_embedding: Array | None
    """[context_length, width]"""
    rotary: Rotary | None
    head: Array | None
    """[vocab_size, width], the output projection; None where it is the token embedding"""
    head_bias: Array | None
    """[vocab_size]"""
    layers: tuple[DecoderLayer, ...]
    final_norm: Norm
    activation: Activation
    context_length: int
    num_heads: int
    num_kv_heads: int
    """Heads of keys and values; each serves ``num_heads / num_kv_heads`` query heads (Ainslie et al. 2023)."""
    head_dim: int
    """Size of one head's query, key and value."""
    attention_scale: float
    norm_epsilon: float
    filled_numbers: int = 0
    """Zeros that fill heads up to a size that the serving graph's attention takes; nobody trained them."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(self.token_embedding)

    @property
    def width(self) -> int:
        """Size of a hidden state."""
        return int(self.token_embedding.shape[1])

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        angles = 0 if self.rotary is None else self.rotary.cos.size + self.rotary.sin.size
        return _numbers_in(self) - angles - self.filled_numbers


def _numbers_in(part: Any) -> int:
    if isinstance(part, np.ndarray):
        return part.size
    if isinstance(part, tuple):
        return sum(map(_numbers_in, part))
    return sum(_numbers_in(getattr(part, field.name)) for field in fields(part)) if is_dataclass(part) else 0
