"""The memory that holds keys and values: a row a slot, the first n rows being the running batch.

Knows where the rows are, not who owns them (that is the scheduler's).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What one layer's keys, and likewise its values, look like."""

    num_layers: int
    num_heads: int
    head_dim: int
    max_len: int

    @property
    def slot_bytes(self) -> int:
        """Memory of one slot, keys and values of all layers."""
        return 2 * self.num_layers * self.num_heads * self.max_len * self.head_dim * FLOAT_BYTES

    def slots_within(self, budget_bytes: int) -> int:
        """How many slots fit a memory budget."""
        return budget_bytes // self.slot_bytes


class KVCache:
    """fp32 keys and values, [slots, heads, max_len, head_dim] a layer. Memory is committed as rows are first used."""

    def __init__(self, shape: CacheShape, slots: int) -> None:
        """Reserves the memory of ``slots`` rows."""
        if slots < 1:
            msg = f"the KV cache needs at least one slot, got {slots}"
            raise ValueError(msg)
        self.shape = shape
        self.slots = slots
        size = (slots, shape.num_heads, shape.max_len, shape.head_dim)
        self.buffers: dict[str, NDArray[np.float32]] = {
            f"{part}_{layer}": np.zeros(size, np.float32) for layer in range(shape.num_layers) for part in "kv"
        }

    def rows(self, first: int, count: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Name and view of ``count`` rows of each buffer; a view's memory is contiguous."""
        for name, buffer in self.buffers.items():
            yield name, buffer[first : first + count]

    def move(self, source: int, destination: int, tokens: int) -> None:
        """Copies the first ``tokens`` tokens of one row over another."""
        for buffer in self.buffers.values():
            buffer[destination, :, :tokens] = buffer[source, :, :tokens]
