"""Draws for a few rows whose SamplingParams ask for nothing but temperature, top_k and top_p, in plain Python.

When the model has run, the processor's caches hold the model, and each kind of numpy call costs several microseconds
for its own code to come back: at one row a good part of the step. Floats in lists cost half of that. For many rows it
is the other way round, so this is for a few. ``Sampler`` draws the same for any number: both weigh tokens in 64 bits,
so that what the two exponential functions differ in is below 1e-15 of the probability mass.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate
from math import exp
from typing import TYPE_CHECKING

from service.engine.errors import NonFiniteLogitsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(slots=True)
class PlainRows:
    """What stays the same for these rows from step to step; ``steps`` counts those drawn."""

    top_k: int
    inverse_temperature: list[float]
    top_p: list[float]
    uniforms: list[list[float]]
    """Of each row, the numbers in [0, 1) that are left to it."""
    steps: int = 0

    def draw(self, top_logits: NDArray[np.float32], top_ids: NDArray[np.int64]) -> list[int] | None:
        """The rows' next tokens of ``top_logits`` and ``top_ids`` [rows, more than top_k], best first.

        None, and nothing drawn, where the score behind the last that top_k keeps equals it: then more may have to be
        kept. Raises NonFiniteLogitsError.
        """
        tokens = []
        for i, scores in enumerate(top_logits[:, : self.top_k + 1].tolist()):
            behind = scores.pop()
            if behind == scores[-1]:
                return None
            best, inverse_temperature = scores[0], self.inverse_temperature[i]
            cumulative = list(accumulate([exp((score - best) * inverse_temperature) for score in scores]))
            total = cumulative[-1]
            if not total < math.inf:
                raise NonFiniteLogitsError
            last = bisect_left(cumulative, self.top_p[i] * total)
            place = bisect_right(cumulative, self.uniforms[i][self.steps] * cumulative[last], 0, last)
            tokens.append(top_ids.item(i, place))
        self.steps += 1
        return tokens
