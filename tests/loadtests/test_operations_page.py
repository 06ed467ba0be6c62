"""docs/operations.md has a place for each figure, and what fills it is written once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from loadtests.load.operations_page import MARKED, PageError, page_parts, write_page
from loadtests.load.servers import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = {"when": "2026-01-02", "cores": "2", "processor": "a processor"}
MS = {"count": 9, "mean": 200.0, "p50": 190.0, "p95": 400.0, "p99": 450.0, "max": 900.0}


def a_run(rate_per_s: float = 20.0) -> dict[str, Any]:
    return {
        "plan": {"rate_per_s": rate_per_s, "duration_s": 60.0},
        "polite": {"ok": 1000, "refused": 0, "failed": 0, "wrong": 0, "lost": 1},
        "answers_per_s": rate_per_s,
        "write_ms": MS,
        "metrics_ms": {"TTFT": MS, "ITL": MS},
        "cost": {"service_cpu_ms_a_request": 15.0, "tokens_per_s": 800.0, "nginx_cpu_s": 1.0, "generator_cpu_s": 2.0},
        "rude_ok": [7, 7],
    }


def all_figures() -> dict[str, Any]:
    ramp = {"knee": a_run(), "steps": [a_run(30), a_run(20)], "p95_ms": 500.0}
    slots = {str(n): {"start_mib": 200.0, "full_mib": 200.0 + 2.5 * n} for n in (1, 16, 64, 128)}
    parts = {
        "core": {"whole": ramp, "streamed": ramp},
        "replicas": {"1": ramp, "2": ramp, "4": {**ramp, "knee": None}},
        "memory": {**slots, "tokens_a_text": 254},
        "rude": {"without": a_run(), "with": a_run()},
        "rolling": {
            "sent": 5500, "lost": 0, "rate_per_s": 20.0, "restarts": 14, "exit_codes": [0], "write_ms": MS,
            "drain_s": [0.9], "start_s": [4.0],
        },
        "soak": {**a_run(), "memory_first_mib": 300.0, "memory_last_mib": 301.0, "p95_windows_ms": [100.0] * 9},
    }  # fmt: skip
    return {name: {**part, "machine": MACHINE} for name, part in parts.items()}


def test_the_page_has_a_mark_for_each_figure_and_no_other() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert {match[2] for match in MARKED.finditer(text)} == set(page_parts(all_figures()))


def test_what_was_measured_is_filled_in_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs" / "operations.md").read_text(encoding="utf-8"), encoding="utf-8")
    before = page.read_text(encoding="utf-8")
    figures = all_figures()
    write_page(page, {"rolling": figures["rolling"]})
    once = page.read_text(encoding="utf-8")
    assert "5,500 requests at 20 a second, 14 restarts, each with exit code 0: **0 lost**" in once
    assert all(len(line) <= 120 for line in once.splitlines() if not line.startswith("|"))
    assert MARKED.sub("", once) == MARKED.sub("", before)
    assert before.count("Not measured yet.") - once.count("Not measured yet.") in (0, 1)
    write_page(page, {"rolling": figures["rolling"]})
    assert page.read_text(encoding="utf-8") == once


def test_the_table_of_users_is_calculated_and_says_so() -> None:
    text = page_parts(all_figures())["users"].replace("\n", " ")
    # 1,000 people, a text every 20 s each: 50 a second, at 60 % of 20 a second a core.
    assert "| 1,000 | 50.0 | 4.2 | 3 | 720 |" in text
    assert "Calculated, not measured" in text
    # 20 a second a core, two cores, 0.2 s each.
    assert "8 texts are under way" in text
    assert "GREENTEXT_MAX_SLOTS=16" in text


def test_memory_is_split_into_slots_and_the_process() -> None:
    assert (
        "2.50 MiB a slot, with texts of 254 tokens, and 200 MiB for the process" in page_parts(all_figures())["memory"]
    )


def test_a_page_without_a_mark_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Nothing")
    with pytest.raises(PageError, match="memory"):
        write_page(page, {"memory": all_figures()["memory"]})
