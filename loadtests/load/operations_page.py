"""Writes figures into docs/operations.md, between marks that the page has: `<!-- load:NAME -->` and `<!-- /load -->`.

A part that was not measured leaves what stands there.
"""

from __future__ import annotations

import functools
import math
import re
import textwrap
from typing import TYPE_CHECKING, Any, Final

from loadtests.load.report import RAMP_HEAD, markdown, number, ramp_rows, times

if TYPE_CHECKING:
    from pathlib import Path

MARKED: Final = re.compile(r"(<!-- load:(\w+) -->\n).*?(<!-- /load -->)", re.DOTALL)
USED: Final = 0.6
"""Of what a core can do, how much to plan with: the rest is for bursts, and for a replica that is away."""
PAUSE_S: Final = 20.0
"""Between two texts that somebody at the board asks for."""
POD_CORES: Final = 2
USERS: Final = (100, 1_000, 10_000, 50_000)


class PageError(ValueError):
    """The page lacks a mark."""


def write_page(path: Path, figures: dict[str, Any]) -> None:
    """Fills in what was measured. Raises PageError where the page has no place for it."""
    texts = page_parts(figures)
    text = path.read_text(encoding="utf-8")
    if missing := texts.keys() - {match[2] for match in MARKED.finditer(text)}:
        raise PageError(f"{path} has no mark for {', '.join(sorted(missing))}")
    filled = MARKED.sub(lambda m: f"{m[1]}{texts[m[2]]}\n{m[3]}" if m[2] in texts else m[0], text)
    path.write_text(filled, encoding="utf-8")


def page_parts(figures: dict[str, Any]) -> dict[str, str]:
    """The Markdown of each mark for which there are figures."""
    makers = {
        "core": _core, "replicas": _replicas, "memory": _memory, "rude": _rude, "rolling": _rolling, "soak": _soak,
    }  # fmt: skip
    texts = {name: _dated(make(figures[name]), figures[name]) for name, make in makers.items() if name in figures}
    if "core" in figures and "memory" in figures and figures["core"]["whole"]["knee"]:
        texts["users"] = _users(figures)
    return {name: _wrapped(text) for name, text in texts.items()}


def _wrapped(text: str) -> str:
    """Lines as long as the page's, but for tables."""
    lines = text.split("\n")
    wrap = functools.partial(textwrap.fill, width=120, break_long_words=False, break_on_hyphens=False)
    return "\n".join(line if line.startswith("|") else wrap(line) for line in lines)


def _dated(text: str, part: dict[str, Any]) -> str:
    machine = part["machine"]
    return f"{machine['when']}, {machine['cores']} cores of {machine['processor']}.\n\n{text}"


def _core(part: dict[str, Any]) -> str:
    said = []
    for name, what in (("whole", "Whole answers"), ("streamed", "Streams")):
        found = part[name]["knee"]
        if found is None:
            head = f"**{what}**: not even the lowest rate kept its p95 below {number(part[name]['p95_ms'])} ms."
        else:
            head = (
                f"**{what}**: {number(found['answers_per_s'], 1)} requests a second on one core with a p95 of "
                f"{number(found['write_ms']['p95'])} ms (limit {number(part[name]['p95_ms'])} ms), "
                f"{number(found['cost']['tokens_per_s'])} tokens a second."
            )
            if name == "streamed":
                metrics = found["metrics_ms"]
                head += f" TTFT {times(metrics['TTFT'], 1)}, ITL {times(metrics['ITL'], 1)} ms (p50 / p95 / p99)."
        said.append(f"{head}\n\n{markdown(RAMP_HEAD, ramp_rows(part[name]['steps']))}")
    return "\n\n".join(said)


def _replicas(part: dict[str, Any]) -> str:
    rows = []
    for count, ramp in part.items():
        if count == "machine":
            continue
        found = ramp["knee"]
        if found is None:
            rows.append([count, "-", "-", "-", "-", "-"])
            continue
        cost, requests = found["cost"], found["answers_per_s"] * found["plan"]["duration_s"]
        rows.append([
            count,
            number(found["answers_per_s"], 1),
            times(found["write_ms"]),
            number(cost["service_cpu_ms_a_request"], 1),
            number(1000 * cost["nginx_cpu_s"] / requests, 2),
            number(1000 * cost["generator_cpu_s"] / requests, 1),
        ])  # fmt: skip
    head = (
        "processes",
        "requests/s",
        "p50 / p95 / p99, ms",
        "services' CPU, ms a request",
        "nginx'",
        "the generator's",
    )
    return markdown(head, rows)


def _memory(part: dict[str, Any]) -> str:
    sizes = sorted(int(slots) for slots in part if slots.isdecimal())
    rows = [[str(n), number(part[str(n)]["start_mib"]), number(part[str(n)]["full_mib"])] for n in sizes]
    head = ("slots", "when it is ready, MiB", "when all have written, MiB")
    return (
        f"{markdown(head, rows)}\n\n{number(per_slot_mib(part), 2)} MiB a slot, with texts of "
        f"{part['tokens_a_text']} tokens, and {number(base_mib(part))} MiB for the process."
    )


def per_slot_mib(part: dict[str, Any]) -> float:
    """Memory of one more slot, from the fewest to the most slots that were measured."""
    sizes = sorted(int(slots) for slots in part if slots.isdecimal())
    first, last = sizes[0], sizes[-1]
    return float(part[str(last)]["full_mib"] - part[str(first)]["full_mib"]) / (last - first)


def base_mib(part: dict[str, Any]) -> float:
    """Memory of a process without a slot."""
    first = min(int(slots) for slots in part if slots.isdecimal())
    return float(part[str(first)]["full_mib"]) - first * per_slot_mib(part)


def _rude(part: dict[str, Any]) -> str:
    rows = []
    for name, label in (("without", "no"), ("with", "one in three")):
        run = part[name]
        right, acts = run["rude_ok"]
        not_good = sum(run["polite"].values()) - run["polite"]["ok"]
        rows.append(
            [label, times(run["write_ms"]), number(run["polite"]["ok"]), number(not_good), f"{right} of {acts}"]
        )
    head = (
        "rude ones",
        "p50 / p95 / p99 of the others, ms",
        "good answers",
        "not good",
        "rude acts met as they should be",
    )
    return markdown(head, rows)


def _rolling(part: dict[str, Any]) -> str:
    codes, ms = " or ".join(map(str, part["exit_codes"])), part["write_ms"]
    return (
        f"{number(part['sent'])} requests at {number(part['rate_per_s'])} a second, {part['restarts']} restarts, each "
        f"with exit code {codes}: **{number(part['lost'])} lost**. Texts took {times(ms)} ms (p50 / p95 / p99), "
        f"{number(ms['max'])} ms at most; a service was gone after {number(max(part['drain_s']), 1)} s at most, and "
        f"back {number(max(part['start_s']), 1)} s later."
    )


def _soak(part: dict[str, Any]) -> str:
    windows, plan = part["p95_windows_ms"], part["plan"]
    size = max(1, len(windows) // 4)
    not_good = sum(part["polite"].values()) - part["polite"]["ok"]
    right, acts = part["rude_ok"]
    return (
        f"{number(plan['duration_s'] / 60, 1)} minutes at {number(plan['rate_per_s'])} arrivals a second, of all kinds"
        f": {number(part['polite']['ok'])} good answers, {number(not_good)} not good, {right} of {acts} rude acts met "
        f"as they should be. p95 (windows of 10 s, mean) {number(sum(windows[:size]) / size)} ms in the first quarter "
        f"and {number(sum(windows[-size:]) / size)} in the last; memory {number(part['memory_first_mib'])} MiB and "
        f"then {number(part['memory_last_mib'])}."
    )


def _users(figures: dict[str, Any]) -> str:
    """Calculated from one core's knee and a slot's memory; says so."""
    found = figures["core"]["whole"]["knee"]
    per_core = found["answers_per_s"]
    in_flight = per_core * POD_CORES * found["write_ms"]["mean"] / 1000
    slots = max(16, 2 ** math.ceil(math.log2(2 * in_flight)))
    memory = base_mib(figures["memory"]) + slots * per_slot_mib(figures["memory"])
    rows = []
    for users in USERS:
        rate = users / PAUSE_S
        cores = rate / (USED * per_core)
        pods = max(2, math.ceil(cores / POD_CORES))
        rows.append([number(users), number(rate, 1), number(cores, 1), number(pods), number(pods * memory)])
    head = ("people at the board", "requests/s", "cores", f"pods of {POD_CORES} cores", "MiB in all")
    return (
        f"Calculated, not measured: each asks for a text every {number(PAUSE_S)} s; a core does {number(per_core, 1)} "
        f"a second (above), of which {number(100 * USED)} % are planned with; pods add up (below, as far as that was "
        f"measured). By Little's law {number(in_flight)} texts are under way in a pod at its limit: "
        f"`GREENTEXT_MAX_SLOTS={slots}` leaves room for twice that, and a pod then has {number(memory)} MiB."
        f"\n\n{markdown(head, rows)}"
    )
