"""``gtx-data ocr-report``: how well screenshots are read, on pages whose truth is known.

Without a folder it draws a set of pages (`data_pipeline.rendered`) and reads that. A folder may be such a set, or hold
pictures each with a `NAME.truth.txt` beside it. Figures are for the pages measured; others may be harder.

    error rate    edits (Levenshtein) between the story read and the true one, of the true one's characters
    exact lines   lines of the truth that were read letter for letter
    whole lines   lines of the truth that were read as one line from their beginning to their end: not lost, split or
                  joined to another, and with at most a quarter of their characters wrong
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from data_pipeline.atomic import atomic_file
from data_pipeline.errors import StageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping, Sequence

    from data_pipeline.ocr.workers import Outcome
    from data_pipeline.rendered.testset import Truth

WHOLE: Final = 0.75
"""A line is whole from that similarity (Levenshtein, of 1) to the line that was read in its place."""
STORIES: Final = Path(__file__).parent.parent / "data" / "greentexts" / "starter.jsonl"


@dataclass(frozen=True, slots=True)
class PageScore:
    """How well one page was read."""

    file: str
    attributes: Mapping[str, str]
    error_rate: float
    lines: int
    exact_lines: int
    whole_lines: int
    extra_lines: int
    """Lines read that no line of the truth accounts for."""
    reason: str = ""
    """Why it could not be read at all."""
    read: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """How well a number of pages were read."""

    pages: int
    lines: int
    error_rate_mean: float
    error_rate_median: float
    error_rate_worst_tenth: float
    """The 90th percentile."""
    exact_lines: float
    """Share of all lines."""
    whole_lines: float


@dataclass(frozen=True, slots=True)
class Report:
    """All figures."""

    overall: Score
    groups: dict[str, dict[str, Score]]
    """By attribute and its value: theme, layout, size, quality, …"""
    seconds: float
    lines_per_s: float
    cores: int
    core_use: float | None
    """Share of the cores' time that was spent reading; None where the system does not tell."""
    tesseract: str
    pages: list[PageScore] = field(default_factory=list)


def score_page(truth: Truth, outcome: Outcome) -> PageScore:
    """Compares a page's truth, canonical text, with what was read."""
    from rapidfuzz.distance import Levenshtein  # noqa: PLC0415

    read_lines = [line.text for line in outcome.reading.lines] if outcome.reading else []
    read = "\n".join(f">{line}" for line in read_lines)
    true_lines = [line.removeprefix(">") for line in truth.text.split("\n")]
    distance = Levenshtein.distance(truth.text, read)
    left = list(read_lines)
    exact = whole = 0
    for line in true_lines:
        likeness = [Levenshtein.normalized_similarity(line, other) for other in left]
        best = max(range(len(left)), key=likeness.__getitem__, default=None)
        if best is None or likeness[best] < WHOLE:
            continue
        whole += 1
        exact += left.pop(best) == line
    return PageScore(
        truth.file, truth.attributes, distance / len(truth.text), len(true_lines), exact, whole, len(left),
        outcome.reason, read,
    )  # fmt: skip


def summarise(pages: Sequence[PageScore]) -> Score:
    """The figures of a number of pages, at least one."""
    rates = sorted(page.error_rate for page in pages)
    lines = sum(page.lines for page in pages)
    return Score(
        pages=len(pages),
        lines=lines,
        error_rate_mean=statistics.fmean(rates),
        error_rate_median=statistics.median(rates),
        error_rate_worst_tenth=rates[min(len(rates) - 1, len(rates) * 9 // 10)],
        exact_lines=sum(page.exact_lines for page in pages) / lines,
        whole_lines=sum(page.whole_lines for page in pages) / lines,
    )


def measure(folder: Path, *, workers: int | None = None, page_timeout_s: float = 60.0) -> Report:
    """Reads the pages of a folder whose truth is known, and compares.

    Raises:
        StageError: There are none, or Tesseract is missing.
        OSError: The folder cannot be read.
    """
    from data_pipeline.images.picture import PictureLimits  # noqa: PLC0415
    from data_pipeline.ocr.engine import EngineMissingError, engine_version  # noqa: PLC0415
    from data_pipeline.ocr.workers import Task, cores, read_all  # noqa: PLC0415
    from data_pipeline.rendered import read_truths  # noqa: PLC0415
    from data_pipeline.stage import progress_bar  # noqa: PLC0415

    try:
        truths = {truth.file: truth for truth in read_truths(folder)}
    except ValueError as error:
        raise StageError(str(error)) from error
    if not truths:
        raise StageError(
            f"{folder} holds no page with its truth: a written set, or pictures with NAME.truth.txt beside"
        )
    limits = PictureLimits(max_pixels=25_000_000, max_side=32_768, min_width=1, min_height=1)
    tasks = [Task(name, folder / name, limits, page_timeout_s) for name in truths]
    count = workers or cores()
    pages: dict[str, PageScore] = {}
    try:
        version = engine_version()
        began_s, spent_s = time.monotonic(), _children_s()
        with progress_bar("ocr-report", len(tasks), "page") as bar:
            for outcome in read_all(tasks, count):
                pages[outcome.key] = score_page(truths[outcome.key], outcome)
                bar.update()
    except EngineMissingError as error:
        raise StageError(str(error)) from error
    seconds, used_s = time.monotonic() - began_s, _children_s()
    in_order = [pages[name] for name in truths]
    return Report(
        overall=summarise(in_order),
        groups=_groups(in_order),
        seconds=seconds,
        lines_per_s=sum(page.lines for page in in_order) / seconds,
        cores=count,
        core_use=None if used_s is None or spent_s is None else (used_s - spent_s) / seconds / count,
        tesseract=version,
        pages=in_order,
    )


def _groups(pages: Iterable[PageScore]) -> dict[str, dict[str, Score]]:
    by: dict[str, dict[str, list[PageScore]]] = defaultdict(lambda: defaultdict(list))
    for page in pages:
        for name, value in page.attributes.items():
            by[name][value].append(page)
    return {name: {value: summarise(by[name][value]) for value in sorted(by[name])} for name in by}


def _children_s() -> float | None:
    """Processor time of all processes that were started here and have ended."""
    try:
        import resource  # noqa: PLC0415  not on every system
    except ImportError:
        return None
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(report: Report) -> str:
    """For people: a line for all pages, and one for each value of each attribute."""
    head = f"{'':<24} {'pages':>6} {'lines':>6} {'median':>8} {'mean':>8} {'p90':>8} {'exact':>7} {'whole':>7}"
    rows = [head, _row("all", report.overall)]
    for name, scores in report.groups.items():
        rows += ["", name]
        rows += [_row(f"  {value}", score) for value, score in scores.items()]
    rows.append("")
    rows.append("median, mean, p90: character error rate of a page; exact, whole: lines read letter for letter, as one")
    speed = f"{report.lines_per_s:.1f} lines/s, {report.overall.pages / report.seconds:.2f} pages/s"
    used = "" if report.core_use is None else f", {report.core_use:.0%} of their time used"
    rows.append(f"{speed} on {report.cores} cores{used}; Tesseract {report.tesseract}")
    return "\n".join(rows)


def _row(name: str, score: Score) -> str:
    rates = (score.error_rate_median, score.error_rate_mean, score.error_rate_worst_tenth)
    figures = " ".join(f"{rate:>8.2%}" for rate in rates)
    return f"{name:<24} {score.pages:>6} {score.lines:>6} {figures} {score.exact_lines:>7.1%} {score.whole_lines:>7.1%}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``gtx-data ocr-report``."""
    parser.add_argument(
        "folder", nargs="?", type=Path, help="pages with their truth; without it a set is drawn, read and thrown away"
    )
    parser.add_argument("--pages", type=int, default=96, help="how many to draw (default: 96)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn set (default: 0)")
    parser.add_argument("--stories", type=Path, default=STORIES, help="JSON Lines whose text is drawn")
    parser.add_argument("--workers", type=int, default=None, help="pages read at a time (default: one a core)")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write all figures there, page by page")


def main(options: argparse.Namespace) -> int:
    """Measures and prints; returns the exit code, 0.

    Raises:
        StageError: Nothing can be measured; the message says why.
        OSError: A file cannot be read or written.
    """
    if options.folder is not None:
        report = measure(options.folder, workers=options.workers)
    else:
        with tempfile.TemporaryDirectory(prefix="gtx-pages-") as name:
            _draw(options, Path(name))
            report = measure(Path(name), workers=options.workers)
    print(table(report))
    if options.json is not None:
        with atomic_file(options.json) as file:
            file.write(orjson.dumps(asdict(report), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        print(f"page by page: {os.fspath(options.json)}", file=sys.stderr)
    return 0


def _draw(options: Any, folder: Path) -> None:
    from data_pipeline.rendered import FontsMissingError, page_specs, read_stories, write_testset  # noqa: PLC0415

    if options.pages < 1:
        raise StageError("--pages: draw at least one")
    try:
        write_testset(page_specs(read_stories(options.stories), options.pages, options.seed), folder)
    except (FontsMissingError, ValueError) as error:
        raise StageError(str(error)) from error
