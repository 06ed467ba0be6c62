"""Which rows a step sees, in which process and pass: pure functions of seed and step.

Nothing has to be remembered to resume in the midst of an epoch, and processes agree without talking.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def rows_of_step(step: int, *, batch_rows: int, rows: int, seed: int) -> NDArray[np.int64]:
    """The rows of batch ``step`` of all processes: each epoch shows each row once, in an order of its own.

    A batch may begin in one epoch and end in the next, so no row is left out.
    """
    wanted = np.arange(step * batch_rows, (step + 1) * batch_rows)
    epochs, places = np.divmod(wanted, rows)
    chosen = np.empty(batch_rows, np.int64)
    for epoch in np.unique(epochs).tolist():
        of_epoch = epochs == epoch
        chosen[of_epoch] = _epoch_order(epoch, rows, seed)[places[of_epoch]]
    return chosen


def share_of(
    rows: NDArray[np.int64], *, process: int, processes: int, micro_batch_rows: int
) -> list[NDArray[np.int64]]:
    """The rows of a batch that one process computes, pass by pass; passes differ by at most one row.

    With ``micro_batch_rows`` 0 it is a single pass. Raises ValueError when there are fewer rows than processes.
    """
    if len(rows) < processes:
        raise ValueError(f"batch_rows is {len(rows)}, fewer than the {processes} processes; raise it or start fewer")
    mine = np.array_split(rows, processes)[process]
    passes = -(-len(mine) // micro_batch_rows) if micro_batch_rows else 1
    return np.array_split(mine, passes)


@lru_cache(maxsize=2)  # a batch lies in two epochs at most, but for tiny data
def _epoch_order(epoch: int, rows: int, seed: int) -> NDArray[np.int64]:
    order: NDArray[np.int64] = np.random.default_rng([seed, epoch]).permutation(rows)
    order.setflags(write=False)
    return order
