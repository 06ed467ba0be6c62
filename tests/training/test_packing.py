from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.packing import IGNORED, pack

FILL = 0
DOCUMENTS = st.lists(st.lists(st.integers(1, 9), max_size=40), max_size=30)


@given(DOCUMENTS, st.integers(2, 16), st.sampled_from([0, 2, 5, 20]))
def test_every_piece_stands_once_with_its_own_positions_and_labels(
    documents: list[list[int]], row_tokens: int, document_tokens: int
) -> None:
    packed = pack(documents, row_tokens, fill_id=FILL, document_tokens=document_tokens)
    longest = min(row_tokens, document_tokens or row_tokens)
    wanted = [
        tuple(document[start : start + longest])
        for document in documents
        for start in range(0, len(document), longest)
        if len(document[start : start + longest]) > 1
    ]
    assert packed.input_ids.shape[1] == row_tokens
    found = []
    for row in range(len(packed)):
        for number in range(1, packed.document_ids[row].max(initial=0) + 1):
            (places,) = np.nonzero(packed.document_ids[row] == number)
            assert (np.diff(places) == 1).all()
            ids = packed.input_ids[row, places]
            assert packed.position_ids[row, places].tolist() == list(range(len(places)))
            assert packed.labels[row, places].tolist() == [*ids[1:].tolist(), IGNORED]
            found.append(tuple(ids.tolist()))
    assert sorted(found) == sorted(wanted)
    filling = packed.document_ids == 0
    assert (packed.labels[filling] == IGNORED).all()
    assert (packed.input_ids[filling] == FILL).all()
    assert packed.target_tokens == sum(len(piece) - 1 for piece in wanted)


def test_little_is_wasted_on_filling() -> None:
    rng = np.random.default_rng(0)
    documents = [[1] * int(length) for length in rng.integers(20, 100, 2000)]
    packed = pack(documents, 256, fill_id=FILL)
    assert (packed.document_ids == 0).mean() < 0.03


def test_packing_is_deterministic() -> None:
    documents = [[1] * length for length in range(2, 40)]
    first, second = (pack(documents, 48, fill_id=FILL) for _ in range(2))
    assert (first.input_ids == second.input_ids).all()


def test_rows_that_predict_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="row_tokens"):
        pack([[1, 2]], 1, fill_id=FILL)


def test_rows_can_be_taken_and_told_apart() -> None:
    rows = pack([[1, 2, 3], [4, 5, 6, 7], [8, 9]], 4, fill_id=FILL)
    taken = rows.take(np.array([2, 0]))
    assert taken.input_ids.tolist() == [rows.input_ids[2].tolist(), rows.input_ids[0].tolist()]
    taken.labels[:] = IGNORED
    assert rows.target_tokens == 6, "what is taken is a copy"
    other = pack([[1, 2, 3], [4, 5, 6, 7], [8, 8]], 4, fill_id=FILL)
    same = pack([[1, 2, 3], [4, 5, 6, 7], [8, 9]], 4, fill_id=FILL)
    assert rows.sha256() == same.sha256() != other.sha256()
    # The same tokens in a row, as one document and as two.
    assert pack([[1, 2, 3, 4]], 4, fill_id=FILL).sha256() != pack([[1, 2], [3, 4]], 4, fill_id=FILL).sha256()
