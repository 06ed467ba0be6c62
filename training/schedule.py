"""Learning rates over a run, as shares of their peak: pure functions of the step.

All begin with a linear warm-up. Steps count from 0; the last one is ``steps - 1``.
"""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["cooldown", "cosine", "constant"]


def rate_at(step: int, *, schedule: Schedule, steps: int, warmup_steps: int, cooldown_steps: int) -> float:
    """The share of the peak rate at a step, from 0 to 1; ``cooldown_steps`` counts for ``cooldown`` alone."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "cosine":
        return cosine(step - warmup_steps, steps - warmup_steps)
    if schedule == "cooldown":
        return cooldown(step - (steps - cooldown_steps), cooldown_steps)
    return 1.0


def cosine(step: int, steps: int) -> float:
    """Half a cosine from 1 down to almost 0 (Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * min(step, steps) / max(steps, 1)))


def cooldown(step: int, steps: int) -> float:
    """1 before step 0, then ``1 - sqrt`` down to almost 0 (Hägele et al. 2024, arXiv:2405.18392)."""
    if step < 0 or steps == 0:
        return 1.0
    return 1.0 - math.sqrt((step + 1) / (steps + 1))
