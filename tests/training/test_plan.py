from __future__ import annotations

import math
from itertools import pairwise

import pytest

from training.plan import TrainingPlan
from training.schedule import cooldown, cosine, rate_at


def rates(**plan: object) -> list[float]:
    made = TrainingPlan(steps=100, warmup_steps=10, cooldown_steps=20, **plan)  # type: ignore[arg-type]
    return [made.rate_at(step) for step in range(100)]


def test_the_rate_warms_up_stays_and_cools_down() -> None:
    found = rates()
    assert found[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert found[9:80] == [1.0] * 71
    assert found[80] == pytest.approx(1 - math.sqrt(1 / 21))
    assert all(later < earlier for earlier, later in pairwise(found[79:]))
    assert 0 < found[-1] < 0.05


def test_a_cosine_falls_from_the_warm_up_to_the_end() -> None:
    found = rates(schedule="cosine")
    assert found[9] == found[10] == 1.0
    assert found[55] == pytest.approx(0.5)
    assert all(later < earlier for earlier, later in pairwise(found[10:]))
    assert 0 < found[-1] < 0.01
    assert found[20] - found[21] < found[55] - found[56] > found[90] - found[91], "steepest in the middle"


def test_a_constant_rate_only_warms_up() -> None:
    assert rates(schedule="constant")[9:] == [1.0] * 91


@pytest.mark.parametrize("schedule", ["cooldown", "cosine", "constant"])
def test_no_schedule_leaves_its_bounds(schedule: str) -> None:
    for steps, warmup, cooled in ((1, 0, 0), (1, 5, 5), (7, 7, 0), (7, 0, 7), (7, 3, 9), (50, 0, 50)):
        found = [
            rate_at(step, schedule=schedule, steps=steps, warmup_steps=warmup, cooldown_steps=cooled)  # type: ignore[arg-type]
            for step in range(steps)
        ]
        assert all(0 < rate <= 1 for rate in found), (steps, warmup, cooled)


def test_ends_of_the_curves() -> None:
    assert [cosine(0, 10), cosine(5, 10), cosine(10, 10), cosine(11, 10)] == pytest.approx([1, 0.5, 0, 0])
    assert [cooldown(-1, 3), cooldown(0, 3), cooldown(2, 3)] == pytest.approx([1, 0.5, 1 - math.sqrt(0.75)])


@pytest.mark.parametrize(
    "field",
    ["steps", "epochs", "batch_rows", "micro_batch_rows", "learning_rate", "weight_decay", "max_gradient_norm",
     "warmup_steps", "warmup_share", "cooldown_share", "evaluations", "patience_evaluations", "log_every_steps"],
)  # fmt: skip
def test_a_plan_that_makes_no_sense_names_its_field(field: str) -> None:
    how_long = {"steps": 0} if field == "epochs" else {"steps": 1}
    for value in (-1, float("nan")):
        if value == value or field in ("epochs", "learning_rate", "warmup_share"):
            with pytest.raises(ValueError, match=field):
                TrainingPlan(**{**how_long, field: value})


@pytest.mark.parametrize(("field", "value"), [("optimizer", "sgd"), ("schedule", "linear"), ("precision", "fp8")])
def test_a_choice_that_is_none_names_the_choices(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"{field} must be one of .*, got '{value}'"):
        TrainingPlan(**{"steps": 1, field: value})


def test_a_plan_says_how_long_exactly_once() -> None:
    with pytest.raises(ValueError, match="steps must be at least 1"):
        TrainingPlan()
    with pytest.raises(ValueError, match="exclude each other"):
        TrainingPlan(steps=10, epochs=1.0)


def test_epochs_and_shares_become_steps() -> None:
    plan = TrainingPlan(epochs=2.5, batch_rows=8, warmup_share=0.1, cooldown_share=0.5, evaluations=5)
    found = plan.for_rows(81)
    assert found.steps == 26, "2.5 * 81 / 8, rounded up: the last row is seen too"
    assert (found.warmup_steps, found.cooldown_steps, found.evaluate_every_steps) == (3, 13, 5)
    assert found.for_rows(1000) == found, "once in steps, rows matter no more"
    plain = TrainingPlan(steps=3000)
    assert plain.for_rows(5) == plain
    assert TrainingPlan(steps=30).for_rows(5).warmup_steps == 15, "a short run does not end in its warm-up"
    assert TrainingPlan(epochs=0.01, evaluations=9).for_rows(1).evaluate_every_steps == 1
