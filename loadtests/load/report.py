"""Tables of what was measured: Markdown for people at a terminal and for docs, HTML for a browser."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0;width:100%}td,th{padding:.25rem .6rem;border-bottom:1px solid #ddd;"
    "text-align:right}td:first-child,th:first-child{text-align:left}.bad{color:#a00;font-weight:600}.good{color:#060}"
)


def number(value: float | None, digits: int = 0) -> str:
    """With commas; a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def times(figures: Mapping[str, float], digits: int = 0) -> str:
    """p50 / p95 / p99, in milliseconds."""
    return " / ".join(number(figures.get(name), digits) for name in ("p50", "p95", "p99"))


def series_rows(runs: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """A row for each kind of request of each run, and for the metrics of streams."""
    rows = []
    for run in runs:
        name = run["plan"]["name"]
        for series, figures in run["series"].items():
            bad = ", ".join(
                f"{figures[outcome]} {outcome}"
                for outcome in ("refused", "failed", "wrong", "lost")
                if figures[outcome]
            )
            ms = figures["ms"]
            rows.append(
                [
                    name,
                    series,
                    number(figures["ok"]),
                    bad or "-",
                    number(figures["per_s"], 1),
                    times(ms),
                    number(ms.get("max")),
                ]
            )
        for metric, ms in run["metrics_ms"].items():
            rows.append([name, metric, number(ms["count"]), "-", "", times(ms, 1), number(ms.get("max"), 1)])
    return rows


SERIES_HEAD: Final = ("run", "what", "good", "not good", "a second", "p50 / p95 / p99, ms", "max, ms")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; numbers to the right, where a column's first cell is one."""
    rows = [list(row) for row in rows]
    right = [
        bool(rows) and rows[0][column].replace(",", "").replace(".", "").isdecimal() for column in range(len(head))
    ]
    rule = ["---:" if is_right else "---" for is_right in right]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def page(
    title: str,
    parts: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]],
    verdicts: Sequence[str],
    links: Sequence[Path],
) -> str:
    """A page of its own: what is wrong (`verdicts`; nothing, if all is well), tables, and Locust's own reports."""
    said = (
        "".join(f'<p class="bad">{html.escape(text)}</p>' for text in verdicts)
        or '<p class="good">All within limits.</p>'
    )
    tables = "".join(f"<h2>{html.escape(name)}</h2>{_table(head, rows)}" for name, head, rows in parts)
    listed = "".join(f'<li><a href="{html.escape(link.name)}">{html.escape(link.stem)}</a></li>' for link in links)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>{said}{tables}<h2>Locust's reports</h2><ul>{listed}</ul>"
        "</html>\n"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"<tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def ramp_rows(runs: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """A row for each step of a ramp, by its rate."""
    return [
        [
            number(run["plan"]["rate_per_s"], 1),
            number(run["answers_per_s"], 1),
            times(run["write_ms"]),
            number(run["cost"]["service_cpu_ms_a_request"], 1),
            number(run["cost"]["tokens_per_s"]),
            number(sum(run["polite"].values()) - run["polite"]["ok"]),
        ]
        for run in sorted(runs, key=lambda run: run["plan"]["rate_per_s"])
    ]


RAMP_HEAD: Final = (
    "asked a second",
    "answered",
    "p50 / p95 / p99, ms",
    "service's CPU, ms a request",
    "tokens/s",
    "not good",
)
