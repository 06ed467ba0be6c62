"""95 % intervals of what seeds and texts give: of one condition, or of the difference between two.

Conditions are paired: the same seed draws the same texts and the same order, and all are scored on the same held-out
texts. An interval says what other seeds, and other texts of the kind, would give. It knows nothing of other bases.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from training.evaluation.figures import Figure, difference, share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.evaluation.figures import Kind

TAIL = 0.975
STEPS = 2000


def t_quantile(degrees: float, probability: float = TAIL) -> float:
    """Student's t: what it stays below with a probability above 1/2; degrees of freedom need not be whole.

    Found by bisection over an integral (Simpson's rule in the angle, where the density is a power of a cosine).
    """
    if not (degrees > 0 and 0.5 < probability < 1):
        raise ValueError(f"needs degrees above 0 and a probability between 0.5 and 1, got {degrees} and {probability}")
    constant = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(math.pi)
    # With t = sqrt(degrees) tan(angle) the density becomes constant * cos(angle) ** (degrees - 1).
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        points = np.cos(np.linspace(0, angle, STEPS + 1)) ** (degrees - 1)
        area = angle / STEPS / 3 * (points[0] + points[-1] + 4 * points[1::2].sum() + 2 * points[2:-1:2].sum())
        low, high = (angle, high) if 0.5 + constant * area < probability else (low, angle)
    return math.sqrt(degrees) * math.tan(low)


def over_seeds(values: NDArray[np.float64], kind: Kind = "number") -> Figure:
    """The mean of a number a seed, with a t interval. Raises ValueError for fewer than two seeds."""
    _require_two(len(values), "seeds")
    mean = float(values.mean())
    half = t_quantile(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Figure(mean, mean - half, mean + half, len(values), kind)


def over_seeds_and_texts(values: NDArray[np.float64]) -> Figure:
    """The mean of a number for each seed and text, [seeds, texts], where both are a sample of many.

    The variance is that of the seeds' means plus that of the texts' means (Clark 1973, whose min F' this is), with
    Satterthwaite's degrees of freedom: a little too wide rather than too narrow.
    """
    seeds, texts = values.shape
    _require_two(seeds, "seeds")
    _require_two(texts, "texts")
    of_seeds = float(values.mean(axis=1).var(ddof=1)) / seeds
    of_texts = float(values.mean(axis=0).var(ddof=1)) / texts
    mean, variance = float(values.mean()), of_seeds + of_texts
    if variance == 0:
        return Figure(mean, mean, mean, seeds)
    degrees = variance**2 / (of_seeds**2 / (seeds - 1) + of_texts**2 / (texts - 1))
    half = t_quantile(degrees) * math.sqrt(variance)
    return Figure(mean, mean - half, mean + half, seeds)


def share_of(hits: NDArray[np.int64]) -> Figure:
    """A share of samples, [seeds, samples] of 0 and 1: the wider of a t interval over seeds and Wilson's over samples.

    Seeds that all give the same tell nothing of how rare the rare is; samples do.
    """
    seeds = over_seeds(hits.mean(axis=1), "share")
    samples = share(int(hits.sum()), hits.size)
    return _wider(seeds, samples, least=0.0, most=1.0)


def share_difference(one: NDArray[np.int64], other: NDArray[np.int64]) -> Figure:
    """Difference of two shares of samples, paired by seed: the wider of a t interval and Newcombe's over samples."""
    if len(one) != len(other):
        raise ValueError(f"pairs seeds with seeds, got {len(one)} and {len(other)}")
    seeds = over_seeds(one.mean(axis=1) - other.mean(axis=1), "share")
    samples = difference(share(int(one.sum()), one.size), share(int(other.sum()), other.size))
    return _wider(seeds, samples, least=-1.0, most=1.0)


def _wider(seeds: Figure, samples: Figure, *, least: float, most: float) -> Figure:
    low, high = max(least, min(seeds.low, samples.low)), min(most, max(seeds.high, samples.high))
    return Figure(seeds.value, low, high, seeds.of, "share")


def _require_two(count: int, what: str) -> None:
    if count < 2:
        raise ValueError(f"an interval over {what} needs at least two, got {count}")
