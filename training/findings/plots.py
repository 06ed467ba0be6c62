"""One plot for each experiment: what the conditions have, and the differences that were asked for, with intervals.

SVG without a time or a random name in it: the same figures give the same file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from training.findings.outcomes import OUTCOMES
from training.findings.verdicts import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from training.evaluation.figures import Figure
    from training.findings.verdicts import Finding

COLOURS: dict[Verdict | None, str] = {
    Verdict.SUPPORTED: "#2a7f3f",
    Verdict.NOT_SUPPORTED: "#b3402e",
    Verdict.UNDECIDED: "#777777",
    None: "#1f4e79",
}
SEED_COLOUR, LEVEL_COLOUR = "#8fb4d9", "#1f4e79"
ROW_INCHES, WIDTH_INCHES = 0.34, 9.0


def plot(finding: Finding, path: Path) -> None:
    """Draws a finding. Raises ImportError saying what to install when matplotlib is missing."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - takes a second, and only this needs it
        from matplotlib.figure import Figure as Canvas  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install matplotlib, and start again; cells are kept") from error
    outcome = OUTCOMES[finding.experiment.outcomes[0]]
    labels = list(finding.experiment.conditions)
    asked = [compared for compared in finding.compared if compared.comparison.outcome == outcome.name]
    with mpl.rc_context({"svg.hashsalt": finding.experiment.name, "svg.fonttype": "none", "font.size": 8}):
        canvas = Canvas(figsize=(WIDTH_INCHES, 1.1 + ROW_INCHES * max(len(labels), len(asked))), layout="constrained")
        levels, differences = canvas.subplots(1, 2)
        factor = 100 if outcome.unit == "%" else 1
        for row, label in enumerate(labels):
            seeds = [factor * value for value in outcome.by_seed(finding.records[label])]
            levels.plot(seeds, [row] * len(seeds), "o", color=SEED_COLOUR, markersize=4)
            _bar(levels, finding.levels[label][outcome.name], row, LEVEL_COLOUR, factor)
        _axes(levels, labels, f"{outcome.label}{' (%)' if factor > 1 else ''}")
        differences.axvline(0, color="black", linewidth=0.8)
        differences.axvspan(
            -factor * outcome.negligible, factor * outcome.negligible, color="#eeeeee", linewidth=0, zorder=0
        )
        for row, compared in enumerate(asked):
            _bar(differences, compared.figure, row, COLOURS[compared.verdict], factor)
        _axes(differences, [f"{c.comparison.one}\n- {c.comparison.other}" for c in asked], "difference")
        canvas.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _bar(axes: Any, figure: Figure, row: int, colour: str, factor: int) -> None:
    axes.plot([factor * figure.low, factor * figure.high], [row, row], color=colour, linewidth=2)
    axes.plot([factor * figure.value], [row], "|", color=colour, markersize=11, markeredgewidth=2)


def _axes(axes: Any, labels: list[str], title: str) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel(title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
