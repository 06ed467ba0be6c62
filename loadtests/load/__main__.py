"""A short load test: every kind of user and every shape, against a service that it starts, in about two minutes.

    python -m loadtests.load

Prints a table, and writes it with Locust's reports into a folder (`report.html`, `report.md`). The exit code is 1 where
a threshold was exceeded, and each of them is named.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtests.load import report
from loadtests.load.bench import Bench, GeneratorError
from loadtests.load.figures import Limits, knee
from loadtests.load.plan import Plan
from loadtests.load.servers import SERVICE, Server, ServerError, start_service
from loadtests.load.thresholds import Thresholds

if TYPE_CHECKING:
    from collections.abc import Sequence

POLITE = {"board": 6.0, "stream": 2.0, "openai": 1.0}
SETTINGS = {"GREENTEXT_BODY_TIMEOUT_S": "2"}
IDLE_S = 10.0


def short(
    bench: Bench, thresholds: Thresholds, scale: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """Runs, the steps of the ramp, and what exceeded its threshold. `scale` stretches or shrinks all durations."""
    plans = [
        Plan("closed", "closed", POLITE, duration_s=12 * scale, warm_s=2 * scale, users=20),
        Plan("open", "open", POLITE, duration_s=12 * scale, warm_s=2 * scale, rate_per_s=8),
        # The slowest of the rude ones takes as long as a body may.
        Plan("rude", "open", {**POLITE, "rude": 4}, duration_s=12 * scale, warm_s=2 * scale, rate_per_s=8, seed=2),
    ]
    runs, said = [], []
    for plan in plans:
        runs.append(_told(bench.run(plan)))
        said += thresholds.exceeded(runs[-1])
    said += _at_rest(bench.services[0])
    ramp = Plan("ramp", "open", duration_s=6 * scale, warm_s=1 * scale, rate_per_s=1, rates=False)
    limits = Limits(p95_ms=thresholds.write_p95_ms / 3)
    steps = [(step, _told(run)) for step, run in bench.ramp(ramp, limits, first_per_s=10, factor=2, within=0.5)]
    found = knee([step for step, _ in steps], limits)
    if found is None:
        return runs, [run for _, run in steps], [*said, "ramp: not even its lowest rate was held"]
    soak = Plan("soak", "open", POLITE, duration_s=20 * scale, warm_s=2 * scale, rate_per_s=found.rate_per_s / 2)
    runs.append(_told(bench.run(soak)))
    said += thresholds.exceeded(runs[-1]) + thresholds.grown(runs[-1]) + _at_rest(bench.services[0])
    return runs, [run for _, run in steps], said


def _told(run: dict[str, Any]) -> dict[str, Any]:
    print(
        f"{run['plan']['name']}: {run['polite']['ok']} good answers, p95 {run['write_ms'].get('p95', 0):.0f} ms",
        flush=True,
    )
    return run


def _at_rest(service: Server) -> list[str]:
    """A sentence, if texts run or wait although nobody has asked for `IDLE_S`."""
    busy, end_s = 1.0, time.monotonic() + IDLE_S
    while time.monotonic() < end_s:
        busy = service.metric("greentext_requests_running") + service.metric("greentext_requests_waiting")
        if not busy:
            return []
        time.sleep(0.2)
    return [f"{busy:.0f} texts run or wait {IDLE_S:g} s after everybody went"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--full" in given:
        from loadtests.load import capacity  # noqa: PLC0415 - only when it is asked for

        given.remove("--full")
        return capacity.main(given)
    bound_ms = Thresholds().write_p95_ms
    parser = argparse.ArgumentParser(prog="load", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--full", action="store_true", help="measure what docs/operations.md holds: see --full --help")
    parser.add_argument("--folder", type=Path, default=Path("runs/load"), help="where results go (default: runs/load)")
    parser.add_argument("--write-p95-ms", type=float, default=bound_ms, help="threshold (default: %(default)g)")
    parser.add_argument("--scale", type=float, default=1.0, help="stretches all durations (default: 1)")
    parser.add_argument("--service", default=SERVICE, help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    folder: Path = options.folder.resolve()
    shutil.rmtree(folder / "short", ignore_errors=True)
    folder = folder / "short"
    folder.mkdir(parents=True)
    thresholds = Thresholds(write_p95_ms=options.write_p95_ms)
    try:
        with start_service(folder / "service", settings=SETTINGS, target=options.service) as service:
            service.wait_until_ready()
            runs, steps, said = short(Bench([service], folder), thresholds, options.scale)
    except (ServerError, GeneratorError) as error:
        print(error, file=sys.stderr)
        return 1
    rows, ramp = report.series_rows(runs), report.ramp_rows(steps)
    parts = [("Requests", report.SERIES_HEAD, rows), ("Ramp", report.RAMP_HEAD, ramp)]
    table = "\n\n".join(report.markdown(head, cells) for _, head, cells in parts)
    (folder / "report.md").write_text(table + "\n", encoding="utf-8")
    (folder / "report.html").write_text(
        report.page("Load test", parts, said, sorted(folder.glob("*.html"))), encoding="utf-8"
    )
    print(f"\n{table}\n\n{folder / 'report.html'}")
    for text in said:
        print(f"threshold exceeded: {text}", file=sys.stderr)
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
