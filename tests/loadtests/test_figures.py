"""Quantiles, outcomes, the knee."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.load.figures import Limits, Recorder, Step, knee, next_rate, quantile, summary


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_quantiles_are_those_of_numpy(values: list[float], share: float) -> None:
    expected = float(np.quantile(values, share, method="inverted_cdf"))
    # Where share * n is whole but for rounding, either neighbour is right.
    near = {quantile(sorted(values), share + by) for by in (-1e-9, 0, 1e-9) if share + by <= 1}
    assert expected in near


def test_of_nothing_there_are_no_figures() -> None:
    assert summary([]) == {"count": 0}
    assert math.isnan(quantile([], 0.5))


def test_a_request_is_timed_from_when_it_was_meant_to_start_and_counted_by_its_outcome() -> None:
    recorder = Recorder(measure_from_s=1.0)
    recorder.note("write", "ok", 0.9, 5.0)  # meant to start in the warm-up
    recorder.note("write", "ok", 1.0, 1.5)
    recorder.note("write", "refused", 2.0, 2.001, "429")
    recorder.note("stream", "lost", 3.0, 3.5, "closed")
    recorder.note("rude: leave", "wrong", 3.0, 3.5, "200")
    recorder.metric("ITL", [0.010, 0.030], 1.0)
    recorder.metric("ITL", [9.0], 0.5)
    result = recorder.result(11.0)
    assert result["series"]["write"]["ms"] == {"count": 1, "mean": 500, "p50": 500, "p95": 500, "p99": 500, "max": 500}
    assert result["polite"] == {"ok": 1, "refused": 1, "failed": 0, "wrong": 0, "lost": 1}
    assert (result["asked_per_s"], result["answers_per_s"]) == (0.3, 0.1)
    assert result["metrics_ms"]["ITL"]["max"] == 30
    assert result["remarks"] == {"write: 429": 1, "stream: closed": 1, "rude: leave: 200": 1}


def test_answers_that_come_late_are_fewer_a_second() -> None:
    recorder = Recorder()
    for number in range(10):
        recorder.note("write", "ok", number, 20.0)
    result = recorder.result(10.0)
    assert (result["asked_per_s"], result["answers_per_s"], result["overrun_s"]) == (1.0, 0.5, 10.0)


def a_queue(capacity_per_s: float, rate_per_s: float) -> Step:
    """One server whose waits grow without end at its capacity."""
    used = rate_per_s / capacity_per_s
    p95_ms = 3 * 20 / (1 - used) if used < 1 else 60_000
    return Step(rate_per_s, rate_per_s, min(rate_per_s, capacity_per_s), p95_ms, 0.0)


@given(st.floats(0.5, 5000))
def test_a_ramp_finds_the_knee_from_wherever_it_begins(capacity_per_s: float) -> None:
    limits = Limits(p95_ms=300)
    true_knee = capacity_per_s * (1 - 3 * 20 / 300)
    steps: list[Step] = []
    while (rate := next_rate(steps, limits, first_per_s=10, factor=1.5, within=0.1)) is not None:
        steps.append(a_queue(capacity_per_s, rate))
        assert len(steps) < 40
    found = knee(steps, limits)
    if found is None:
        assert true_knee < 10 / 1.5**5
    else:
        assert true_knee / 1.1001 <= found.rate_per_s <= true_knee * 1.0001


def test_a_rate_that_held_above_one_that_did_not_was_luck() -> None:
    limits = Limits(p95_ms=300)
    steps = [Step(10, 10, 10, 100, 0), Step(20, 20, 20, 400, 0), Step(30, 30, 30, 100, 0)]
    found = knee(steps, limits)
    assert found is not None
    assert found.rate_per_s == 10


@pytest.mark.parametrize(
    "step",
    [Step(10, 10, 10, 501, 0), Step(10, 10, 8.9, 100, 0), Step(10, 10, 10, 100, 0.02), Step(10, 10, 0, math.nan, 0)],
)
def test_each_limit_alone_is_enough_not_to_hold(step: Step) -> None:
    assert not Limits().hold(step)
