"""From intervals to verdicts, by one rule for every claim; nothing here knows what came out.

A comparison speaks for a claim when its whole interval lies on the side that the claim names, against it when the
whole interval lies on the other side, or so close to 0 that it would not matter. Otherwise it leaves the claim open.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from training.findings.outcomes import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from training.evaluation.figures import Figure
    from training.findings.designs import Comparison, Direction, Experiment


class Verdict(StrEnum):
    """What the measurements say of a claim, at this scale."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison with what came of it."""

    comparison: Comparison
    figure: Figure
    verdict: Verdict | None
    """None where the claim says nothing of it."""

    @property
    def too_close(self) -> bool:
        """Whether the difference is too close to 0 to matter, as far as the interval goes."""
        return _too_close(self.figure, OUTCOMES[self.comparison.outcome].negligible)


@dataclass(frozen=True, slots=True)
class Finding:
    """An experiment with its figures: ``levels`` by condition and outcome, and every comparison."""

    experiment: Experiment
    records: Mapping[str, Sequence[dict[str, Any]]]
    levels: Mapping[str, Mapping[str, Figure]]
    compared: tuple[Compared, ...]

    @property
    def deciding(self) -> list[Compared]:
        """The comparisons that the verdict rests on."""
        return [compared for compared in self.compared if compared.comparison.decides]

    @property
    def verdict(self) -> Verdict:
        """Supported when every deciding comparison speaks for the claim, not supported when one speaks against it."""
        verdicts = {compared.verdict for compared in self.deciding}
        if verdicts == {Verdict.SUPPORTED}:
            return Verdict.SUPPORTED
        return Verdict.NOT_SUPPORTED if Verdict.NOT_SUPPORTED in verdicts else Verdict.UNDECIDED


def judge(figure: Figure, expected: Direction, negligible: float) -> Verdict:
    """What a difference says of a claim that expects it lower than 0, or higher."""
    if _too_close(figure, negligible):
        return Verdict.NOT_SUPPORTED
    if figure.low <= 0 <= figure.high:
        return Verdict.UNDECIDED
    lower = figure.high < 0
    return Verdict.SUPPORTED if lower == (expected == "lower") else Verdict.NOT_SUPPORTED


def _too_close(figure: Figure, negligible: float) -> bool:
    return -negligible <= figure.low and figure.high <= negligible


def find(experiment: Experiment, records: Mapping[str, Sequence[dict[str, Any]]]) -> Finding:
    """Analyses the cells of an experiment: figures of each seed, by condition."""
    compared = []
    for comparison in experiment.comparisons:
        outcome = OUTCOMES[comparison.outcome]
        one, other = (_as_many(records, label, comparison) for label in (comparison.one, comparison.other))
        figure = outcome.difference(one, other)
        verdict = judge(figure, comparison.expected, outcome.negligible) if comparison.expected else None
        compared.append(Compared(comparison, figure, verdict))
    return Finding(
        experiment,
        records,
        {
            label: {name: OUTCOMES[name].figure(records[label]) for name in experiment.outcomes}
            for label in experiment.conditions
        },
        tuple(compared),
    )


def _as_many(
    records: Mapping[str, Sequence[dict[str, Any]]], label: str, comparison: Comparison
) -> Sequence[dict[str, Any]]:
    found = records[label]
    if len(found) != len(records[comparison.one]):
        raise ValueError(f"{comparison.one} and {comparison.other} have not as many seeds")
    return found
