"""What one run of the load generator does: who asks, when, for how long. Plain data, written as JSON between processes.

Two shapes. *closed*: so many users, each waiting for its answer and then thinking; a service that is slow is asked
less. *open*: requests arrive by a Poisson process of a given rate, whether or not earlier ones were answered, and are
timed from when they were meant to start. Ramp and soak are made of open ones. Knows nothing of Locust or HTTP.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = ("board", "stream", "openai", "rude")


class PlanError(ValueError):
    """A plan that cannot be carried out."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. `mix` says how many of the users (closed) or arrivals (open) are of each kind: shares of their sum."""

    name: str
    shape: Literal["closed", "open"]
    mix: dict[str, float] = field(default_factory=lambda: {"board": 1.0})
    duration_s: float = 10.0
    warm_s: float = 1.0
    """What was meant to start earlier than this is sent, but not counted."""
    users: int = 0
    rate_per_s: float = 0.0
    think_s: tuple[float, float] = (1.0, 3.0)
    """Between which two times a user of a closed run thinks before its next request."""
    new_tokens: int = 45
    """What a request asks for; 45 is what the original front end does."""
    rates: bool = True
    """Whether users of the board also rate what they read, and open the board."""
    seed: int = 1

    def __post_init__(self) -> None:
        if unknown := set(self.mix) - set(KINDS):
            raise PlanError(f"no such kind of user: {', '.join(sorted(unknown))}")
        if not self.mix or min(self.mix.values()) < 0 or sum(self.mix.values()) <= 0:
            raise PlanError("a mix needs a positive share")
        if self.shape == "closed" and self.users < 1:
            raise PlanError("a closed run needs users")
        if self.shape == "open" and self.rate_per_s <= 0:
            raise PlanError("an open run needs a rate")
        if not 0 <= self.warm_s < self.duration_s:
            raise PlanError("warm_s must be within duration_s")

    def users_by_kind(self) -> dict[str, int]:
        """How many users of each kind a closed run has: largest remainders, `users` in all."""
        total = sum(self.mix.values())
        exact = {kind: self.users * share / total for kind, share in self.mix.items()}
        counts = {kind: int(number) for kind, number in exact.items()}
        for kind in sorted(exact, key=lambda kind: counts[kind] - exact[kind])[: self.users - sum(counts.values())]:
            counts[kind] += 1
        return {kind: count for kind, count in counts.items() if count}

    def to_json(self) -> str:
        """For the generator."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `to_json` wrote. Raises PlanError."""
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**values, "think_s": tuple(values["think_s"])})


def arrivals(plan: Plan) -> Iterator[tuple[float, str]]:
    """When, in seconds from the start, who is meant to start: a Poisson process, the same for the same seed."""
    rng = random.Random(plan.seed)
    kinds, weights = list(plan.mix), list(plan.mix.values())
    at_s = 0.0
    while True:
        at_s += rng.expovariate(plan.rate_per_s)
        if at_s >= plan.duration_s:
            return
        yield at_s, rng.choices(kinds, weights)[0]
