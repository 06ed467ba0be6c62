"""What makes `make load` fail."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.load.thresholds import Thresholds, quarters


def a_run(**changes: Any) -> dict[str, Any]:
    outcomes = {"ok": 100, "refused": 0, "failed": 0, "wrong": 0, "lost": 0}
    run = {
        "plan": {"name": "open"},
        "polite": dict(outcomes),
        "series": {"write": dict(outcomes), "rude: leave": {**outcomes, "ok": 5}},
        "write_ms": {"count": 100, "p95": 100.0},
        "metrics_ms": {"TTFT": {"count": 1, "p95": 10.0}},
        "remarks": {"write: 502": 1},
        "memory_mib": [100.0, 300.0, 301.0, 302.0, 303.0],
    }
    return {**run, **changes}


def test_a_good_run_exceeds_nothing() -> None:
    assert Thresholds().exceeded(a_run()) == []
    assert Thresholds().grown(a_run()) == []


@pytest.mark.parametrize("name", ["write", "rude: leave"])
@pytest.mark.parametrize("outcome", ["failed", "wrong", "lost"])
def test_a_single_bad_answer_is_told_with_what_it_was(name: str, outcome: str) -> None:
    run = a_run()
    run["series"][name][outcome] = 1
    assert Thresholds().exceeded(run) == [f"open: 1 {outcome}: write: 502 (1)"]


def test_some_refusals_are_fine_and_more_are_not() -> None:
    run = a_run()
    run["polite"]["refused"] = 1
    assert Thresholds().exceeded(run) == []
    run["polite"]["refused"] = 2
    assert Thresholds().exceeded(run) == ["open: 2 of 102 requests were refused"]


def test_latencies_and_silence_are_told() -> None:
    slow = a_run(write_ms={"p95": 3001.0}, metrics_ms={"TTFT": {"p95": 1501.0}, "ITL": {"p95": 301.0}})
    assert len(Thresholds().exceeded(slow)) == 3
    silent = a_run(polite=dict.fromkeys(a_run()["polite"], 0), write_ms={"count": 0}, metrics_ms={})
    assert Thresholds().exceeded(silent) == ["open: nothing was answered"]


def test_memory_that_grows_is_told_and_the_first_filling_of_slots_is_not() -> None:
    grown = a_run(memory_mib=[100.0, 200.0, 230.0, 250.0, 270.0])
    assert Thresholds().grown(grown) == ["open: memory grew from 200 to 270 MiB"]
    assert quarters([1.0, 2.0]) == (1.0, 2.0)
