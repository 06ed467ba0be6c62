"""Pictures for a report: rates, lengths, shared runs; and for a comparison, every model's figures with intervals."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from training.evaluation.measures import MEASURES
from training.evaluation.novelty import LONG_RUN_WORDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from training.evaluation.figures import Figure
    from training.evaluation.result import Evaluation

RATES, LENGTHS, RUNS, COMPARED = "plots/rates.png", "plots/lengths.png", "plots/shared_runs.png", "plots/compared.png"
SAMPLES_COLOR, ORIGINALS_COLOR = "#789922", "#888888"
COLUMNS = 4


def draw(directory: Path, result: Evaluation) -> list[str]:
    """Draws what there is to draw of a result, and returns the files' names. The same result, the same pictures."""
    drawn = []
    if result.samples["count"]:
        drawn += [_save(directory, RATES, _rates(result)), _save(directory, LENGTHS, _lengths(result))]
        drawn.append(_save(directory, RUNS, _shared_runs(result)))
    return drawn


def draw_compared(directory: Path, results: Mapping[str, Evaluation]) -> str:
    """One small picture a measure, a point and its interval a model."""
    names = [name for name in MEASURES if any(name in result.figures for result in results.values())]
    rows = -(-len(names) // COLUMNS)
    figure = _figure(3.1 * COLUMNS, rows * (0.9 + 0.22 * len(results)))
    axes = figure.subplots(rows, COLUMNS, squeeze=False, sharey=True).flatten()
    for axis, name in zip(axes, names, strict=False):
        for place, result in enumerate(results.values()):
            if name in result.figures:
                _point(axis, place, result.figures[name], SAMPLES_COLOR)
        axis.set_title(MEASURES[name].title, fontsize="small")
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    axes[0].set_yticks(range(len(results)), [_plain(label) for label in results])
    axes[0].invert_yaxis()
    return _save(directory, COMPARED, figure)


def _rates(result: Evaluation) -> Any:
    names = [name for name in MEASURES if name in result.figures and result.figures[name].kind == "share"]
    figure = _figure(8, 0.9 + 0.36 * len(names))
    axes = figure.subplots()
    for place, name in enumerate(names):
        _point(axes, place - 0.12, result.figures[name], SAMPLES_COLOR, "samples" if place == 0 else None)
        if name in result.reference:
            original = "held-out texts" if place == 0 else None
            _point(axes, place + 0.12, result.reference[name], ORIGINALS_COLOR, original)
    axes.set_yticks(range(len(names)), [MEASURES[name].title for name in names])
    axes.invert_yaxis()
    axes.set(xlim=(-0.02, 1.02), xlabel="share of texts, with 95 % intervals")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def _lengths(result: Evaluation) -> Any:
    return _histograms(result, "words", "words a text", None)


def _shared_runs(result: Evaluation) -> Any:
    return _histograms(
        result, "longest_shared_runs", "longest run of words shared with a training text", LONG_RUN_WORDS
    )


def _histograms(result: Evaluation, name: str, label: str, limit: int | None) -> Any:
    figure = _figure(8, 2.8)
    axes = figure.subplots()
    for which, color, title in (
        ("samples", SAMPLES_COLOR, "samples"), ("held_out", ORIGINALS_COLOR, "held-out texts"),
    ):  # fmt: skip
        counts = {int(value): count for value, count in result.details[which][name].items()}
        total = sum(counts.values())
        shares = [count / total for count in counts.values()]
        largest = max(counts) + 1
        axes.hist(
            list(counts), bins=range(largest + 1) if largest <= 60 else 60, weights=shares,
            histtype="step", color=color, label=title,
        )  # fmt: skip
    if limit is not None:
        axes.axvline(limit + 1, color="black", linewidth=0.6, linestyle=":")
    axes.set(xlabel=label, ylabel="share of texts")
    axes.legend(frameon=False)
    return figure


def _point(axes: Any, place: float, figure: Figure, color: str, label: str | None = None) -> None:
    errors = [[max(0.0, figure.value - figure.low)], [max(0.0, figure.high - figure.value)]]
    axes.errorbar([figure.value], [place], xerr=errors, fmt="o", markersize=4, capsize=2, color=color, label=label)


def _figure(width: float, height: float) -> Any:
    # The figure's own class, not pyplot: no window system, no state between calls.
    from matplotlib.figure import Figure as Picture  # noqa: PLC0415  a second that --help need not pay

    return Picture(figsize=(width, height), layout="constrained")


def _save(directory: Path, name: str, figure: Any) -> str:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a model's name in a script that the font lacks
        figure.savefig(path, dpi=110, metadata={"Software": None})
    return name


def _plain(label: str) -> str:
    """A name as an axis may show it: no formula whatever its dollar signs."""
    return label.replace("$", r"\$")
