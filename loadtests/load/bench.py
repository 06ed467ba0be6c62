"""One run: a plan, carried out by a generator in a process of its own, and what each part cost meanwhile."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from loadtests.load.cost import Watch, cpu_s
from loadtests.load.figures import Limits, Step, next_rate
from loadtests.load.servers import ROOT, on_cores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from loadtests.load.plan import Plan
    from loadtests.load.servers import Server

MOST_STEPS: Final = 20


class GeneratorError(RuntimeError):
    """The generator did not come to its end."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Services whose costs are counted (none, where they come and go), perhaps behind nginx, and where results go.

    `cores` are the generator's processors, all if empty.
    """

    services: Sequence[Server]
    folder: Path
    front: Server | None = None
    cores: str = ""

    @property
    def url(self) -> str:
        """Where requests go."""
        return (self.front or self.services[0]).url

    def run(self, plan: Plan) -> dict[str, Any]:
        """Carries a plan out; its figures, with what they cost. Raises GeneratorError."""
        paths = [self.folder / f"{plan.name}.{end}" for end in ("plan.json", "json", "html")]
        paths[0].write_text(plan.to_json(), encoding="utf-8")
        command = [sys.executable, "-m", "loadtests.load.generator", str(paths[0]), self.url, *map(str, paths[1:])]
        pids = [service.pid for service in self.services]
        before_s = [cpu_s(pid) for pid in pids]
        nginx_s = cpu_s(self.front.pid) if self.front else 0.0
        tokens = self._tokens()
        children_s = _children_s()
        with Watch(pids[0]) if pids else nullcontext(Watch(0)) as watch:
            done = subprocess.run(  # noqa: S603 - our own
                on_cores(command, self.cores), cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False
            )
        if done.returncode:
            raise GeneratorError(f"plan {plan.name}: exit code {done.returncode}\n{done.stderr[-2000:]}")
        result: dict[str, Any] = json.loads(paths[1].read_text(encoding="utf-8"))
        # Of the whole run, as the costs are, also of what was not measured for its latency.
        writes = sum(counts["ok"] for name, counts in result["series"].items() if not name.startswith("rude"))
        share = result["measured_s"] / plan.duration_s
        service_s = sum(cpu_s(pid) for pid in pids) - sum(before_s)
        cost = {
            "service_cpu_s": service_s,
            "nginx_cpu_s": (cpu_s(self.front.pid) - nginx_s) if self.front else 0.0,
            "generator_cpu_s": _children_s() - children_s,
            "service_cpu_ms_a_request": 1000 * service_s * share / writes if writes else None,
            "tokens_per_s": (self._tokens() - tokens) / (plan.duration_s + result["overrun_s"]),
            "memory_mib": max(watch.memory_mib, default=0.0),
        }
        result["cost"] = {name: None if value is None else round(value, 3) for name, value in cost.items()}
        result["memory_mib"] = watch.memory_mib
        result["plan"] = asdict(plan)
        paths[1].write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        return result

    def ramp(
        self, plan: Plan, limits: Limits, *, first_per_s: float, factor: float = 1.5, within: float = 0.1
    ) -> Iterator[tuple[Step, dict[str, Any]]]:
        """The same open plan at rising rates, then between them, until the knee is known to `within`."""
        steps: list[Step] = []
        while len(steps) < MOST_STEPS:
            rate = next_rate(steps, limits, first_per_s=first_per_s, factor=factor, within=within)
            if rate is None:
                return
            result = self.run(replace(plan, name=f"{plan.name}-{len(steps) + 1}", rate_per_s=round(rate, 2)))
            steps.append(step_of(result))
            yield steps[-1], result

    def _tokens(self) -> float:
        return sum(service.metric("greentext_generation_tokens_total") for service in self.services)


def step_of(result: dict[str, Any]) -> Step:
    """What a ramp looks at, of an open run. Only requests for which a text was asked, and what follows them, count."""
    counts = result["polite"]
    asked = sum(counts.values())
    return Step(
        rate_per_s=result["plan"]["rate_per_s"],
        asked_per_s=result["asked_per_s"],
        answers_per_s=result["answers_per_s"],
        p95_ms=result["write_ms"].get("p95", float("nan")),
        not_answered=1 - counts["ok"] / asked if asked else 1.0,
    )


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
