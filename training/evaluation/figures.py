"""Numbers with their 95 % intervals.

Each interval says what another draw of as many texts would give. It knows nothing of what texts a model would write
after another training: for that, train with several seeds and compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

Z = 1.959964
"""Of the normal distribution, 95 % lie within so many standard deviations."""
RESAMPLES = 1000
RESAMPLED_AT_ONCE = 50
"""Resamples held in memory together."""

Kind = Literal["share", "number"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A value, its 95 % interval, and how many texts it is of. A share is of 1."""

    value: float
    low: float
    high: float
    of: int
    kind: Kind = "number"

    def as_json(self) -> dict[str, Any]:
        """Fields by name, numbers to six digits."""
        return {
            "value": _rounded(self.value), "low": _rounded(self.low), "high": _rounded(self.high),
            "of": self.of, "kind": self.kind,
        }  # fmt: skip

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Figure:
        """What ``as_json`` wrote. Raises KeyError, TypeError, ValueError."""
        kind: Kind = "share" if content["kind"] == "share" else "number"
        return cls(float(content["value"]), float(content["low"]), float(content["high"]), int(content["of"]), kind)

    def mapped(self, function: Callable[[float], float]) -> Figure:
        """The figure of a rising function of the value."""
        return Figure(function(self.value), function(self.low), function(self.high), self.of, self.kind)


def share(count: int, of: int) -> Figure:
    """How many of so many, with Wilson's score interval (Wilson 1927; Brown, Cai and DasGupta 2001 compare it).

    Raises ValueError unless 0 <= count <= of, and of > 0.
    """
    if not 0 <= count <= of or of == 0:
        raise ValueError(f"a share is of at least one text, and of no more than there are; got {count} of {of}")
    value = count / of
    centre = (value + Z**2 / (2 * of)) / (1 + Z**2 / of)
    half = Z / (1 + Z**2 / of) * math.sqrt(value * (1 - value) / of + Z**2 / (4 * of**2))
    # At the ends the formula gives 0 and 1 but for rounding.
    low = 0.0 if count == 0 else centre - half
    high = 1.0 if count == of else centre + half
    return Figure(value, low, high, of, "share")


def mean(values: Sequence[float] | NDArray[np.float64]) -> Figure:
    """The mean of a value a text, with a bootstrap interval (Efron 1979, percentiles). Raises ValueError for none."""
    array = np.asarray(values, np.float64)
    return ratio(array, np.ones_like(array))


def ratio(numerators: Sequence[float] | NDArray[np.float64], denominators: Sequence[float] | NDArray[Any]) -> Figure:
    """The quotient of two sums over texts, with a bootstrap interval over texts. Raises ValueError for no text."""
    over, under = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    if not len(over) or len(over) != len(under):
        raise ValueError(f"needs as many numerators as denominators, at least one; got {len(over)} and {len(under)}")
    drawn = _resampled(over, under)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Figure(float(over.sum() / under.sum()), float(low), float(high), len(over))


def jackknife(value: float, without: Sequence[float] | NDArray[np.float64]) -> Figure:
    """A statistic of a set of texts; ``without`` is what it is without each of them (Tukey 1958, normal interval).

    For counts of distinct things, which a bootstrap would find too low: it draws texts twice.
    """
    left_out = np.asarray(without, np.float64)
    count = len(left_out)
    if not count:
        raise ValueError("a statistic is of at least one text")
    error = math.sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))
    return Figure(value, value - Z * error, value + Z * error, count)


def difference(one: Figure, other: Figure) -> Figure:
    """``one`` less ``other``, of texts that have nothing to do with one another.

    The interval is put together from the two intervals; for Wilson's that is Newcombe's (1998, method 10), in general
    Zou and Donner's (2008).
    """
    value = one.value - other.value
    low = value - math.hypot(one.value - one.low, other.high - other.value)
    high = value + math.hypot(one.high - one.value, other.value - other.low)
    return Figure(value, low, high, min(one.of, other.of), one.kind)


def paired_difference(
    one: NDArray[np.float64], other: NDArray[np.float64], denominators: NDArray[np.float64]
) -> Figure:
    """Difference of two ratios over the same texts, which the bootstrap draws together: far narrower than apart."""
    return ratio(np.asarray(one) - np.asarray(other), denominators)


def _resampled(over: NDArray[np.float64], under: NDArray[np.float64]) -> NDArray[np.float64]:
    rng = np.random.default_rng(len(over))
    drawn = []
    for _ in range(RESAMPLES // RESAMPLED_AT_ONCE):
        places = rng.integers(0, len(over), (RESAMPLED_AT_ONCE, len(over)))
        drawn.append(over[places].sum(axis=1) / under[places].sum(axis=1))
    return np.concatenate(drawn)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
