"""What docs/operations.md holds of figures: measured part by part, kept as JSON, written between the page's marks.

    python -m loadtests.load --full                        # all of it: an hour, on a machine that does nothing else
    python -m loadtests.load --full --parts memory rolling # some of it; the others' figures stay
    python -m loadtests.load --full --parts                # nothing: only writes the page from what is kept

On one core, the service has processor 0, and the generator the others.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from loadtests.load.bench import Bench
from loadtests.load.cost import Watch
from loadtests.load.figures import Limits, knee
from loadtests.load.operations_page import write_page
from loadtests.load.plan import Plan
from loadtests.load.rolling import SETTINGS as ROLLING_SETTINGS
from loadtests.load.rolling import roll
from loadtests.load.servers import ROOT, nginx_is_there, start_nginx, start_service
from loadtests.load.thresholds import quarters
from loadtests.load.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMITS: Final = Limits(p95_ms=500.0)
REPLICAS: Final = (1, 2, 4)
SLOTS: Final = (1, 16, 64, 128)
TEXTS_A_REQUEST: Final = 16
BARE: Final = {"GREENTEXT_DATABASE_URL": "none"}
"""Replicas share no file; and one core is to be measured without a database's part."""
PAGE: Final = ROOT / "docs" / "operations.md"


class Capacity:
    """Measures; each method is a part, and answers with its figures. `scale` shrinks durations, to try it out."""

    def __init__(self, folder: Path, scale: float, soak_s: float) -> None:
        self.folder, self.scale, self.soak_s = folder, scale, soak_s
        cores = sorted(os.sched_getaffinity(0))
        self.service_core = str(cores[0])
        self.other_cores = ",".join(map(str, cores[1:]))

    def core(self) -> dict[str, Any]:
        """One process on one core, the generator elsewhere: whole answers, then streams."""
        figures = {}
        for name, mix in (("whole", {"board": 1.0}), ("streamed", {"stream": 1.0})):
            with start_service(self.folder / "core", cores=self.service_core, settings=BARE) as service:
                service.wait_until_ready()
                bench = Bench([service], self.folder, cores=self.other_cores)
                figures[name] = self._ramp(bench, Plan(f"core-{name}", "open", mix, 30, 5, rate_per_s=1, rates=False))
        return figures

    def replicas(self) -> dict[str, Any]:
        """1, 2 and 4 processes behind nginx, on all cores together with nginx and the generator."""
        figures = {}
        for count in REPLICAS:
            with ExitStack() as stack:
                settings = {**BARE, "GREENTEXT_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
                services = [
                    stack.enter_context(start_service(self.folder / f"replica-{i}", settings=settings))
                    for i in range(count)
                ]
                for service in services:
                    service.wait_until_ready()
                nginx = stack.enter_context(start_nginx(self.folder / "nginx", [service.url for service in services]))
                plan = Plan(f"replicas-{count}", "open", duration_s=20, warm_s=4, rate_per_s=1, rates=False)
                figures[str(count)] = self._ramp(Bench(services, self.folder, nginx), plan)
        return figures

    def memory(self) -> dict[str, Any]:
        """A process with so many slots: when it is ready, and when all of them have written texts of full length."""
        figures: dict[str, Any] = {}
        for slots in SLOTS:
            settings = {**BARE, "GREENTEXT_MAX_SLOTS": str(slots), "GREENTEXT_KV_MEMORY_BYTES": str(2**30)}
            with start_service(self.folder / "memory", settings=settings) as service:
                service.wait_until_ready()
                with Watch(service.pid, every_s=0.5) as watch:
                    sizes = [min(TEXTS_A_REQUEST, slots - first) for first in range(0, slots, TEXTS_A_REQUEST)]
                    with ThreadPoolExecutor(len(sizes)) as pool:
                        for tokens in pool.map(lambda n, url=service.url: _fill(url, n), sizes):
                            figures["tokens_a_text"] = tokens
                figures[str(slots)] = {"start_mib": watch.memory_mib[0], "full_mib": max(watch.memory_mib)}
        return figures

    def rude(self) -> dict[str, Any]:
        """The same polite users, without and with rude ones."""
        polite = {"board": 6.0, "stream": 2.0, "openai": 1.0}
        figures = {}
        for name, mix in (("without", polite), ("with", {**polite, "rude": 4.5})):
            # As many polite requests a second in both.
            rate = 12 * sum(mix.values()) / sum(polite.values())
            with start_service(self.folder / f"rude-{name}", settings={"GREENTEXT_BODY_TIMEOUT_S": "2"}) as service:
                service.wait_until_ready()
                plan = Plan(f"rude-{name}", "open", mix, 60 * self.scale, 5 * self.scale, rate_per_s=rate)
                figures[name] = _kept(Bench([service], self.folder).run(plan))
        return figures

    def soak(self) -> dict[str, Any]:
        """All kinds of users for a long time, with a database, at a rate that leaves room."""
        mix = {"board": 6.0, "stream": 2.0, "openai": 1.0, "rude": 0.5}
        with start_service(self.folder / "soak", settings={"GREENTEXT_BODY_TIMEOUT_S": "2"}) as service:
            service.wait_until_ready()
            plan = Plan("soak", "open", mix, self.soak_s * self.scale, 5 * self.scale, rate_per_s=20)
            run = Bench([service], self.folder).run(plan)
        first, last = quarters(run["memory_mib"])
        windows = [window["p95"] for window in run["windows"] if "p95" in window]
        return {**_kept(run), "memory_first_mib": first, "memory_last_mib": last, "p95_windows_ms": windows}

    def rolling(self) -> dict[str, Any]:
        """5,500 requests behind nginx while two services are restarted in turn."""
        with tempfile.TemporaryDirectory(prefix="gtx-rolling-") as name:
            return roll(Path(name), requests=round(5500 * self.scale), rate_per_s=20, settings=dict(ROLLING_SETTINGS))

    def _ramp(self, bench: Bench, plan: Plan) -> dict[str, Any]:
        shrunk = replace(plan, duration_s=plan.duration_s * self.scale, warm_s=plan.warm_s * self.scale)
        within = 0.1 if self.scale == 1 else 0.5
        steps = list(bench.ramp(shrunk, LIMITS, first_per_s=10, within=within))
        for step, _ in steps:
            print(f"  {plan.name}: {step.rate_per_s:.1f}/s, p95 {step.p95_ms:.0f} ms", flush=True)
        found = knee([step for step, _ in steps], LIMITS)
        runs = [_kept(run) for _, run in steps]
        at = next((run for run in runs if found and run["plan"]["rate_per_s"] == found.rate_per_s), None)
        return {"knee": at, "steps": runs, "p95_ms": LIMITS.p95_ms}


def _kept(run: dict[str, Any]) -> dict[str, Any]:
    names = (
        "plan",
        "polite",
        "asked_per_s",
        "answers_per_s",
        "write_ms",
        "metrics_ms",
        "cost",
        "generator_late_ms",
        "remarks",
    )
    return {name: run[name] for name in names} | {"rude_ok": _rude(run)}


def _rude(run: dict[str, Any]) -> list[int]:
    """How many rude acts were answered as they should be, of how many."""
    acts = [figures for name, figures in run["series"].items() if name.startswith("rude")]
    return [
        sum(act["ok"] for act in acts),
        sum(sum(act[o] for o in ("ok", "refused", "failed", "wrong", "lost")) for act in acts),
    ]


def _fill(url: str, texts: int) -> int:
    """Has so many texts written, of as many tokens as there may be; that number."""
    wire = Wire.to(url)
    most = int(wire.ask("GET", "/info").json()["max_total_tokens"]) - 2
    # Longer than the deadline lets a text be is as good: its slot's memory is there from the first token of a row on.
    body = {"n": texts, "max_new_tokens": min(most, 1000), "min_new_tokens": min(most, 1000), "ignore_eos": True}
    reply = wire.ask("POST", "/generate", body)
    if reply.status != 200:
        raise RuntimeError(f"{reply.status} {reply.body[:200]!r}")
    return int(reply.json()["usage"]["completion_tokens"]) // texts


PARTS: Final = ("core", "replicas", "memory", "rude", "rolling", "soak")


def machine() -> dict[str, str]:
    """What was measured on, and when."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if line.startswith("model name")
    ]
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": models[0].partition(": ")[2] if models else platform.machine(),
        "load": f"{os.getloadavg()[1]:.1f}",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="load --full", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/load"), help="where results go (default: runs/load)")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS), help="what to measure (default: all)")
    parser.add_argument("--soak-s", type=float, default=900.0, help="how long the soak lasts (default: %(default)g)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="shrinks durations, to try it out; then no page is written"
    )
    parser.add_argument("--page", type=Path, help=f"the page to fill in (default: {PAGE.relative_to(ROOT)})")
    options = parser.parse_args(arguments)
    folder: Path = options.folder.resolve() / "full"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "capacity.json"
    figures: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    capacity = Capacity(folder, options.scale, options.soak_s)
    if {"replicas", "rolling"} & set(options.parts) and not nginx_is_there():
        parser.error("nginx is not there: on Debian, apt-get install nginx-light")
    for part in options.parts:
        began_s = time.monotonic()
        print(f"{part} ...", flush=True)
        figures[part] = {**getattr(capacity, part)(), "machine": machine()}
        kept.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        print(f"{part}: {time.monotonic() - began_s:.0f} s", flush=True)
    page = options.page or (PAGE if options.scale == 1 else None)
    if page is not None:
        write_page(page, figures)
    print(kept)
    return 0


if __name__ == "__main__":
    sys.exit(main())
