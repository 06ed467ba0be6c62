from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data_order import rows_of_step, share_of


@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 5))
def test_each_epoch_shows_each_row_once(rows: int, batch_rows: int, seed: int) -> None:
    steps = -(-3 * rows // batch_rows)
    seen = np.concatenate([rows_of_step(step, batch_rows=batch_rows, rows=rows, seed=seed) for step in range(steps)])
    for epoch in seen[: 3 * rows].reshape(3, rows).tolist():
        assert sorted(epoch) == list(range(rows))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    def epoch(number: int, seed: int) -> list[int]:
        return rows_of_step(number, batch_rows=50, rows=50, seed=seed).tolist()

    orders = {tuple(epoch(number, seed)) for number in range(3) for seed in range(3)}
    assert len(orders) == 9
    assert epoch(1, 2) == epoch(1, 2)


@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 9))
def test_processes_and_passes_share_a_batch_out(rows: int, processes: int, micro: int) -> None:
    batch = np.arange(100, 100 + rows)
    if rows < processes:
        with pytest.raises(ValueError, match="fewer than the"):
            share_of(batch, process=0, processes=processes, micro_batch_rows=micro)
        return
    shares = [
        share_of(batch, process=process, processes=processes, micro_batch_rows=micro) for process in range(processes)
    ]
    assert np.concatenate([rows_ for share in shares for rows_ in share]).tolist() == batch.tolist()
    for share in shares:
        sizes = [len(rows_) for rows_ in share]
        assert min(sizes) > 0
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= micro or not micro
        assert len(sizes) == 1 or micro
