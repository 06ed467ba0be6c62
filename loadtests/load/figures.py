"""What was measured, and what follows from it: quantiles, outcomes, the knee of a ramp. Knows nothing of HTTP."""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OUTCOMES = ("ok", "refused", "failed", "wrong", "lost")
"""An answer as it should be; 429; 5xx, or a stream that ended with an error; another answer; no whole answer."""
WINDOW_S = 10.0


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that `share` of them do not exceed (nearest rank). NaN where there is none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def summary(values: Iterable[float]) -> dict[str, float]:
    """Count, mean and quantiles; of nothing, a count of 0."""
    ordered = sorted(values)
    if not ordered:
        return {"count": 0}
    figures = {
        "mean": sum(ordered) / len(ordered),
        "p50": quantile(ordered, 0.5),
        "p95": quantile(ordered, 0.95),
        "p99": quantile(ordered, 0.99),
        "max": ordered[-1],
    }
    return {"count": len(ordered), **{name: round(value, 3) for name, value in figures.items()}}


@dataclass(slots=True)
class Recorder:
    """Every latency of one run, in milliseconds. Times are seconds since the run began."""

    measure_from_s: float = 0.0
    latencies_ms: dict[str, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    began_s: dict[str, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    metrics_ms: dict[str, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    remarks: Counter[str] = field(default_factory=Counter)
    """What was wrong, in words, with how often."""
    last_s: float = 0.0

    def note(self, name: str, outcome: str, intended_s: float, ended_s: float, remark: str = "") -> None:
        """One request has ended. A latency is kept of good answers only: a refusal is quick, and would flatter."""
        if intended_s < self.measure_from_s:
            return
        self.outcomes[name][outcome] += 1
        self.last_s = max(self.last_s, ended_s)
        if outcome == "ok":
            self.latencies_ms[name].append((ended_s - intended_s) * 1000)
            self.began_s[name].append(intended_s)
        elif remark:
            self.remarks[f"{name}: {remark}"] += 1

    def metric(self, name: str, values_s: Iterable[float], intended_s: float) -> None:
        """Other times of a request that was meant to start then, such as those between its tokens."""
        if intended_s >= self.measure_from_s:
            self.metrics_ms[name].extend(value * 1000 for value in values_s)

    def result(self, duration_s: float) -> dict[str, Any]:
        """All of it as plain data. Rates are by the time in which requests were meant to start."""
        measured_s = duration_s - self.measure_from_s
        series = {
            name: {
                **{outcome: counts[outcome] for outcome in OUTCOMES},
                "per_s": round(counts["ok"] / measured_s, 2),
                "ms": summary(self.latencies_ms.get(name, ())),
            }
            for name, counts in sorted(self.outcomes.items())
        }
        polite = [name for name in self.outcomes if not name.startswith("rude")]
        counts: Counter[str] = sum((self.outcomes[name] for name in polite), Counter())
        return {
            "measured_s": round(measured_s, 3),
            "overrun_s": round(max(0.0, self.last_s - duration_s), 3),
            "series": series,
            "polite": {outcome: counts[outcome] for outcome in OUTCOMES},
            "asked_per_s": round(sum(counts.values()) / measured_s, 2),
            # How fast answers came: where they come later than asked for, this is below the rate of asking.
            "answers_per_s": round(counts["ok"] / max(measured_s, self.last_s - self.measure_from_s), 2),
            "write_ms": summary(ms for name in self._writes() for ms in self.latencies_ms[name]),
            "metrics_ms": {name: summary(values) for name, values in self.metrics_ms.items()},
            "windows": self._windows(),
            "remarks": dict(self.remarks.most_common(20)),
        }

    def _writes(self) -> list[str]:
        return [name for name in self.latencies_ms if name.startswith(("write", "stream", "openai"))]

    def _windows(self) -> list[dict[str, float]]:
        windows: dict[int, list[float]] = defaultdict(list)
        for name in self._writes():
            for began_s, ms in zip(self.began_s[name], self.latencies_ms[name], strict=True):
                windows[int(began_s // WINDOW_S)].append(ms)
        return [{"from_s": number * WINDOW_S, **summary(values)} for number, values in sorted(windows.items())]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a ramp: what was asked for a second, what was answered, how late, and how much was not."""

    rate_per_s: float
    """Of arrivals."""
    asked_per_s: float
    """Requests; an arrival may bring more than one."""
    answers_per_s: float
    p95_ms: float
    not_answered: float
    """Share of requests that got no good answer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Up to where a service holds: all three."""

    p95_ms: float = 500.0
    kept_up: float = 0.9
    """Answers a second, of what was asked for."""
    not_answered: float = 0.01

    def hold(self, step: Step) -> bool:
        """Whether a step is within them; what was not measured (NaN) is not."""
        return (
            step.p95_ms <= self.p95_ms
            and step.answers_per_s >= self.kept_up * step.asked_per_s
            and step.not_answered <= self.not_answered
        )


def next_rate(
    steps: Sequence[Step], limits: Limits, *, first_per_s: float, factor: float, within: float
) -> float | None:
    """The rate to try next in search of the knee; None once it is known to `within` (a share).

    Up by `factor` until a step does not hold (down, if the first does not), then halving the interval between the
    highest rate that held and the lowest that did not.
    """
    if not steps:
        return first_per_s
    bad = min((step.rate_per_s for step in steps if not limits.hold(step)), default=math.inf)
    # A rate that held above one that did not was luck.
    good = max((step.rate_per_s for step in steps if limits.hold(step) and step.rate_per_s < bad), default=0.0)
    if math.isinf(bad):
        return good * factor
    if good == 0.0:
        return bad / factor if bad > first_per_s / factor**6 else None
    return math.sqrt(good * bad) if bad / good > 1 + within else None


def knee(steps: Sequence[Step], limits: Limits) -> Step | None:
    """The highest step that held, of those below the lowest that did not; None where none held."""
    bad = min((step.rate_per_s for step in steps if not limits.hold(step)), default=math.inf)
    held = [step for step in steps if limits.hold(step) and step.rate_per_s < bad]
    return max(held, key=lambda step: step.rate_per_s, default=None)
