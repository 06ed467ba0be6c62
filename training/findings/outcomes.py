"""What is measured of a condition, and how two conditions are compared in it.

Bits per byte are of held-out texts and paired text by text; shares are of samples; the rest is a number a seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from training.findings.intervals import over_seeds, over_seeds_and_texts, share_difference, share_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.evaluation.figures import Figure


@dataclass(frozen=True, slots=True)
class Outcome:
    """Something measured. A difference within ``negligible`` of 0 would not matter to anybody."""

    name: str
    label: str
    kind: Literal["bits", "share", "mean", "number"]
    negligible: float
    unit: str = ""
    source: str = ""
    """Where a record has it."""
    genre: str = ""
    """Of the texts that bits are of; empty takes all."""

    def figure(self, records: Sequence[dict[str, Any]]) -> Figure:
        """What one condition has."""
        if self.kind == "bits":
            return over_seeds_and_texts(self._bits(records))
        if self.kind == "share":
            return share_of(self._samples(records))
        return over_seeds(self._numbers(records))

    def difference(self, one: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> Figure:
        """What ``one`` has less what ``other`` has, seeds paired with seeds and texts with texts."""
        if self.kind == "bits":
            return over_seeds_and_texts(self._bits(one) - self._bits(other))
        if self.kind == "share":
            return share_difference(self._samples(one), self._samples(other))
        return over_seeds(self._numbers(one) - self._numbers(other))

    def by_seed(self, records: Sequence[dict[str, Any]]) -> list[float]:
        """One number for each seed, for plots."""
        if self.kind == "bits":
            return [float(value) for value in self._bits(records).mean(axis=1)]
        return [float(value) for value in self._numbers(records)]

    def _bits(self, records: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
        """[seeds, texts], so that the mean of a seed's row is its bits per byte."""
        rows = []
        for record in records:
            wanted = np.array([self.genre in ("", genre) for genre in record["genres"]])
            nats = np.array(record[f"{self.source}nats"])[wanted]
            text_bytes = np.array(record[f"{self.source}bytes"])[wanted]
            rows.append(nats / math.log(2) * len(nats) / text_bytes.sum())
        return np.array(rows)

    def _samples(self, records: Sequence[dict[str, Any]]) -> NDArray[np.int64]:
        return np.array([record["samples"][self.source] for record in records], np.int64)

    def _numbers(self, records: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
        values = [
            record[self.source] if self.source in record else record["samples"][self.source] for record in records
        ]
        # A set of samples without words has no distinct pairs of them.
        return np.array([0.0 if value is None else np.mean(value) for value in values], np.float64)


NEGLIGIBLE_BITS = 0.01
NEGLIGIBLE_SHARE = 0.02
OUTCOMES = {
    outcome.name: outcome
    for outcome in (
        Outcome("thanks_bits", "bits per byte, thanks texts", "bits", NEGLIGIBLE_BITS, genre="thanks"),
        Outcome("bits", "bits per byte, all texts", "bits", NEGLIGIBLE_BITS),
        Outcome("kept_bits", "bits per byte, words never swapped", "bits", NEGLIGIBLE_BITS, source="kept_"),
        Outcome("thanks", "end in a thank-you", "share", NEGLIGIBLE_SHARE, "%", "thanks"),
        Outcome("valid", "valid shape", "share", NEGLIGIBLE_SHARE, "%", "valid"),
        Outcome("code", "look like code", "share", NEGLIGIBLE_SHARE, "%", "code"),
        Outcome("ended", "end by themselves", "share", NEGLIGIBLE_SHARE, "%", "ended"),
        Outcome("simple", "lines of simple words", "mean", NEGLIGIBLE_SHARE, "%", "simple_lines"),
        Outcome("distinct", "distinct-2", "number", NEGLIGIBLE_SHARE, "", "distinct_2"),
        Outcome("prompt", "chance of a second `>` after the first", "number", 0.005, "%", "second_marker_first"),
    )
}
