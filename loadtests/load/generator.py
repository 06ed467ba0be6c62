"""The process in which Locust lives: carries a plan out against a URL, and writes what it measured.

    python -m loadtests.load.generator PLAN.json URL RESULT.json REPORT.html

Locust makes the standard library cooperative when it is imported, so nothing else shares this process.

A closed run is Locust's own runner. An open one is not: its shapes set how many users there are, once a second, and a
user that waits for an answer asks for nothing meanwhile, so that a stall would thin out the very requests that it
delays (`poisson` as a user's wait draws its pauses only after an answer, too). Here each arrival of the plan starts at
its time in a greenlet of its own, with a user that is idle or a new one, and is timed from when it was meant to start.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import gevent
import gevent.pool
from locust import between, stats
from locust.env import Environment
from locust.html import get_html_report

from loadtests.load.figures import Recorder, summary
from loadtests.load.plan import Plan, arrivals
from loadtests.load.users import CLASSES, RECORDING, Asker

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE_S: Final = 30.0
"""How long after its end a run waits for what is under way; what has not come by then is lost."""
MOST_IN_FLIGHT: Final = 2000
"""Beyond, an open run does not send what arrives, and counts it as lost: no service is asked to hold more."""


def run(plan: Plan, url: str) -> tuple[dict[str, Any], str]:
    """Carries a plan out; the figures, and Locust's report as HTML."""
    # Three digits of each latency in Locust's report, in place of whole milliseconds and two.
    stats.bucket_response_time = lambda ms: float(f"{ms:.3g}")  # type: ignore[assignment, return-value]
    stats.HISTORY_STATS_INTERVAL_SEC = 1
    RECORDING.recorder = Recorder(measure_from_s=plan.warm_s)
    RECORDING.new_tokens, RECORDING.rates = plan.new_tokens, plan.rates
    kinds = {kind: type(cls.__name__, (cls,), {"wait_time": between(*plan.think_s)}) for kind, cls in CLASSES.items()}
    environment = Environment(user_classes=[kinds[kind] for kind in plan.mix], host=url, stop_timeout=PATIENCE_S)
    runner = environment.create_local_runner()
    runner.stats.reset_all()
    history = gevent.spawn(stats.stats_history, runner)
    gc.collect()
    gc.freeze()
    late_ms = _open(plan, environment, kinds) if plan.shape == "open" else _closed(plan, environment, kinds)
    result = RECORDING.recorder.result(plan.duration_s)
    result["generator_late_ms"] = summary(late_ms)
    report = str(get_html_report(environment, show_download_link=False))  # type: ignore[no-untyped-call]
    history.kill()
    runner.quit()
    return result, report


def _closed(plan: Plan, environment: Environment, kinds: dict[str, type[Asker]]) -> list[float]:
    counts = plan.users_by_kind()
    for kind, count in counts.items():
        kinds[kind].fixed_count = count
    runner = environment.runner
    assert runner is not None  # noqa: S101 - for the type checker
    chosen: list[Any] = [kinds[kind] for kind in counts]
    RECORDING.zero_s = time.perf_counter()
    # All within the time that is not counted.
    runner.start(plan.users, spawn_rate=max(1.0, plan.users / max(plan.warm_s, 0.1)), user_classes=chosen)
    gevent.sleep(plan.duration_s - (time.perf_counter() - RECORDING.zero_s))
    runner.stop()
    return []


def _open(plan: Plan, environment: Environment, kinds: dict[str, type[Asker]]) -> list[float]:
    idle: dict[str, list[Asker]] = defaultdict(list)
    in_flight = gevent.pool.Group()
    late_ms: list[float] = []

    def carry_out(kind: str, intended_s: float) -> None:
        late_ms.append((time.perf_counter() - intended_s) * 1000)
        user = idle[kind].pop() if idle[kind] else new(kind)
        try:
            user.act(intended_s)
        except gevent.GreenletExit:
            user.note(f"{kind}, unanswered", "lost", intended_s, remark="no answer in time")
            raise
        idle[kind].append(user)

    def new(kind: str) -> Asker:
        user = kinds[kind](environment)
        user.on_start()
        return user

    for kind in plan.mix:  # what a kind of user needs only once is there before the clock runs
        idle[kind].append(new(kind))
    RECORDING.zero_s = time.perf_counter()
    for at_s, kind in arrivals(plan):
        intended_s = RECORDING.zero_s + at_s
        gevent.sleep(max(0.0, intended_s - time.perf_counter()))
        if len(in_flight) < MOST_IN_FLIGHT:
            in_flight.start(gevent.Greenlet(carry_out, kind, intended_s))
        else:
            RECORDING.recorder.note(f"{kind}, unsent", "lost", at_s, at_s, "too many in flight")
    in_flight.join(timeout=PATIENCE_S)
    in_flight.kill()
    for users in idle.values():
        for user in users:
            user.on_stop()
    return late_ms


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="generator", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("url")
    parser.add_argument("result", type=Path)
    parser.add_argument("report", type=Path)
    options = parser.parse_args(arguments)
    result, report = run(Plan.read(options.plan), options.url)
    options.report.write_text(report, encoding="utf-8")
    options.result.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
