"""Packing documents of token ids into rows of one length, so that no position is spent on padding.

A row holds several documents one after another. Each keeps its own positions (from 0) and its own attention
(``document_ids`` tells neighbours apart), so training sees exactly what serving sees: one document a sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

IGNORED = -100
"""The label that no loss is taken on (PyTorch's default ``ignore_index``)."""


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Packed documents; every array is int64 [rows, row_tokens].

    ``labels[i, j]`` is the token that position ``j`` must predict, or IGNORED at the end of a document and on
    filling. ``document_ids`` counts from 1 in each row; 0 is filling.
    """

    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    document_ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def target_tokens(self) -> int:
        """Positions that a loss is taken on."""
        return int((self.labels != IGNORED).sum())


def pack(documents: Sequence[Sequence[int]], row_tokens: int, *, fill_id: int) -> PackedRows:
    """Packs documents into rows of ``row_tokens``, cutting a document only where it is longer than a row.

    Best fit in the order given: a document goes into the open row that it fills best. The 64 emptiest rows stay open,
    which keeps it linear. Pieces of a cut document count as documents of their own.
    """
    if row_tokens < 2:  # a row of one token predicts nothing
        msg = f"row_tokens must be at least 2, got {row_tokens}"
        raise ValueError(msg)
    rows: list[list[Sequence[int]]] = []
    open_rows: list[tuple[int, int]] = []  # (free tokens, row), the fullest first
    for document in documents:
        for start in range(0, len(document), row_tokens):
            piece = document[start : start + row_tokens]
            if len(piece) < 2:
                continue
            place = next((i for i, (free, _) in enumerate(open_rows) if free >= len(piece)), None)
            if place is None:
                rows.append([piece])
                free, row = row_tokens - len(piece), len(rows) - 1
            else:
                free, row = open_rows.pop(place)
                rows[row].append(piece)
                free -= len(piece)
            if free > 1:
                open_rows.append((free, row))
                open_rows.sort()
                del open_rows[:-64]
    shape = (len(rows), row_tokens)
    packed = PackedRows(
        input_ids=np.full(shape, fill_id, np.int64),
        labels=np.full(shape, IGNORED, np.int64),
        position_ids=np.zeros(shape, np.int64),
        document_ids=np.zeros(shape, np.int64),
    )
    for row, pieces in enumerate(rows):
        end = 0
        for number, piece in enumerate(pieces, start=1):
            at, end = end, end + len(piece)
            packed.input_ids[row, at:end] = piece
            packed.labels[row, at : end - 1] = piece[1:]
            packed.position_ids[row, at:end] = np.arange(len(piece))
            packed.document_ids[row, at:end] = number
    return packed
