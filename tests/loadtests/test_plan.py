"""When users are meant to start."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from loadtests.load.plan import Plan, PlanError, arrivals

if TYPE_CHECKING:
    from pathlib import Path


def test_arrivals_are_a_poisson_process_of_the_rate() -> None:
    plan = Plan("p", "open", duration_s=2000, warm_s=0, rate_per_s=10)
    at_s = [at for at, _ in arrivals(plan)]
    gaps_s = [later - earlier for earlier, later in itertools.pairwise(at_s)]
    mean_s = sum(gaps_s) / len(gaps_s)
    deviation_s = (sum((gap - mean_s) ** 2 for gap in gaps_s) / len(gaps_s)) ** 0.5
    assert mean_s == pytest.approx(0.1, rel=0.03)
    assert deviation_s == pytest.approx(mean_s, rel=0.05)  # of an exponential distribution
    # And no memory: as many short gaps behind a long one as anywhere.
    behind = [later for earlier, later in itertools.pairwise(gaps_s) if earlier > 0.2]
    assert sum(gap < 0.1 for gap in behind) / len(behind) == pytest.approx(0.632, abs=0.04)


def test_the_same_seed_gives_the_same_arrivals_and_another_gives_others() -> None:
    def of(seed: int) -> list[tuple[float, str]]:
        return list(arrivals(Plan("p", "open", {"board": 1, "stream": 1}, rate_per_s=5, seed=seed)))

    assert of(1) == of(1) != of(2)


def test_arrivals_are_of_each_kind_by_its_share() -> None:
    plan = Plan("p", "open", {"board": 3, "rude": 1}, duration_s=1000, rate_per_s=10)
    kinds = [kind for _, kind in arrivals(plan)]
    assert kinds.count("rude") / len(kinds) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(
    ("users", "mix", "expected"),
    [
        (10, {"board": 6.0, "stream": 2.0, "openai": 1.0}, {"board": 7, "stream": 2, "openai": 1}),
        (1, {"board": 1.0, "stream": 1.0}, {"board": 1}),
        (4, {"board": 1.0, "stream": 0.0}, {"board": 4}),
    ],
)
def test_users_of_a_closed_run_are_shared_out(users: int, mix: dict[str, float], expected: dict[str, int]) -> None:
    assert Plan("p", "closed", mix, users=users).users_by_kind() == expected


def test_a_plan_comes_back_as_it_was_written(tmp_path: Path) -> None:
    plan = Plan("p", "open", {"rude": 2.0}, rate_per_s=3, think_s=(0.5, 2.0))
    (tmp_path / "plan.json").write_text(plan.to_json())
    assert Plan.read(tmp_path / "plan.json") == plan


@pytest.mark.parametrize(
    "values",
    [
        {"shape": "closed"},
        {"shape": "open"},
        {"shape": "open", "rate_per_s": 1, "mix": {"nobody": 1}},
        {"shape": "open", "rate_per_s": 1, "mix": {}},
        {"shape": "open", "rate_per_s": 1, "mix": {"board": -1.0, "rude": 2.0}},
        {"shape": "open", "rate_per_s": 1, "warm_s": 10},
    ],
)
def test_a_plan_that_cannot_be_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(PlanError):
        Plan("p", **values)
