"""What a run must keep to, and what it says where it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Upper bounds of each run that is not a step of a ramp. Generous: they are to hold on a shared machine."""

    write_p95_ms: float = 3000.0
    ttft_p95_ms: float = 1500.0
    itl_p95_ms: float = 300.0
    refused: float = 0.01
    """429, as a share of polite requests."""
    memory_growth: float = 0.3
    """Of a soak, from its first to its last quarter, as a share."""

    def exceeded(self, result: Mapping[str, Any]) -> list[str]:
        """A sentence for each bound that a run broke."""
        name = result["plan"]["name"]
        said = []
        polite = result["polite"]
        total = sum(polite.values())
        if not polite["ok"]:
            said.append(f"{name}: nothing was answered")
        # Rude ones included: each of their acts has one right answer.
        for outcome in ("failed", "wrong", "lost"):
            if count := sum(figures[outcome] for figures in result["series"].values()):
                remarks = "; ".join(f"{text} ({times})" for text, times in list(result["remarks"].items())[:3])
                said.append(f"{name}: {count} {outcome}: {remarks}")
        if total and polite["refused"] > self.refused * total:
            said.append(f"{name}: {polite['refused']} of {total} requests were refused")
        times = {"p95 of texts": (result["write_ms"], self.write_p95_ms)}
        for metric, bound_ms in (("TTFT", self.ttft_p95_ms), ("ITL", self.itl_p95_ms)):
            times[f"p95 of {metric}"] = (result["metrics_ms"].get(metric, {}), bound_ms)
        for what, (figures, bound_ms) in times.items():
            if figures.get("p95", 0.0) > bound_ms:
                said.append(f"{name}: {what} is {figures['p95']:.0f} ms, above {bound_ms:.0f} ms")
        return said

    def grown(self, result: Mapping[str, Any]) -> list[str]:
        """A sentence, if memory grew in a soak."""
        first, last = quarters(result["memory_mib"])
        if last > first * (1 + self.memory_growth):
            return [f"{result['plan']['name']}: memory grew from {first:.0f} to {last:.0f} MiB"]
        return []


def quarters(values: list[float]) -> tuple[float, float]:
    """Means of the first and the last quarter, the very first value left out: of a list of at least two."""
    rest = values[1:] if len(values) > 2 else values
    size = max(1, len(rest) // 4)
    return sum(rest[:size]) / size, sum(rest[-size:]) / size
