"""Heads of a size that the serving graph's attention can compute: others are padded with zeros, which is exact.

ONNX Runtime's GroupQueryAttention wants heads of a multiple of eight; TinyStories-1M has sixteen heads of four. Zeros
behind each query and key add nothing to their product, zeros behind each value meet zeros in the matrix after it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from training.decoder_weights import Affine, UnsupportedModelError

if TYPE_CHECKING:
    from training.decoder_weights import Array, DecoderLayer, DecoderWeights

MULTIPLE = 8


def with_whole_heads(decoder: DecoderWeights) -> DecoderWeights:
    """The decoder with heads of a multiple of eight; itself where it has them.

    Raises UnsupportedModelError for odd heads with rotary positions, whose halves padding would tear apart.
    """
    size = -(-decoder.head_dim // MULTIPLE) * MULTIPLE
    if size == decoder.head_dim:
        return decoder
    if decoder.rotary is not None:
        raise UnsupportedModelError(
            f"heads of {decoder.head_dim} with rotary positions are not supported; the serving graph takes multiples "
            f"of {MULTIPLE}"
        )
    heads = decoder.num_heads + 2 * decoder.num_kv_heads

    def padded(layer: DecoderLayer) -> DecoderLayer:
        qkv, out = layer.qkv, layer.attention_out
        bias = None if qkv.bias is None else _pad(qkv.bias[None], heads, size)[0]
        return replace(
            layer,
            qkv=Affine(_pad(qkv.weight, heads, size), bias),
            attention_out=Affine(np.ascontiguousarray(_pad(out.weight.T, decoder.num_heads, size).T), out.bias),
        )

    filled = (heads + decoder.num_heads) * (size - decoder.head_dim) * decoder.width
    filled += 0 if decoder.layers[0].qkv.bias is None else heads * (size - decoder.head_dim)
    return replace(
        decoder,
        layers=tuple(map(padded, decoder.layers)),
        head_dim=size,
        filled_numbers=decoder.filled_numbers + filled * len(decoder.layers),
    )


def _pad(columns: Array, heads: int, size: int) -> Array:
    """[n, heads * old size] as [n, heads * size], zeros behind each head."""
    by_head = columns.reshape(len(columns), heads, -1)
    padded: Array = np.zeros((len(columns), heads, size), np.float32)
    padded[..., : by_head.shape[-1]] = by_head
    return np.ascontiguousarray(padded.reshape(len(columns), -1))
