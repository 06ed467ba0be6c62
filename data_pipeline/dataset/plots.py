"""Pictures for the card: how long the texts are, and what the configurations consist of."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from data_pipeline.rows import Source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from data_pipeline.dataset.rows import DatasetRow
    from data_pipeline.dataset.tables import Tables

LENGTHS: Final = "plots/lengths.png"
COMPOSITION: Final = "plots/composition.png"
THEMES: Final = "plots/themes.png"
MAX_THEMES: Final = 24
MAX_LABEL_CHARACTERS: Final = 32


def draw(folder: Path, tables: Tables) -> list[str]:
    """Draws what there is to draw, and answers the files' names. The same tables give the same pictures."""
    # The figure's own class, not pyplot: no window system, no state between calls.
    from matplotlib.figure import Figure  # noqa: PLC0415  a second that --help need not pay

    (folder / "plots").mkdir()
    full = [row for part in next(iter(tables.values())).values() for row in part]
    drawn = []

    def save(figure: Any, name: str) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # of a theme in a script that the font lacks
            figure.savefig(folder / name, dpi=110, metadata={"Software": None})
        drawn.append(name)

    save(_lengths(Figure, full), LENGTHS)
    save(_composition(Figure, tables), COMPOSITION)
    if any(row.theme for row in full):
        save(_themes(Figure, full), THEMES)
    return drawn


def _lengths(figure_of: Any, rows: Sequence[DatasetRow]) -> Any:
    figure = figure_of(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    lines = Counter(row.lines for row in rows)
    left.bar(list(lines), list(lines.values()), width=0.9, color="#789922")
    left.set(xlabel="lines", ylabel="texts")
    right.hist([len(row.text) for row in rows], bins=40, color="#789922")
    right.set(xlabel="characters")
    return figure


def _composition(figure_of: Any, tables: Tables) -> Any:
    figure = figure_of(figsize=(9, 0.6 + 0.7 * len(tables)), layout="constrained")
    axes = figure.subplots()
    rows = {name: [row for part in splits.values() for row in part] for name, splits in tables.items()}
    names = list(rows)
    before = [0] * len(names)
    for source in sorted({row.source for part in rows.values() for row in part}):
        counts = [sum(row.source is source for row in rows[name]) for name in names]
        axes.barh(names, counts, left=before, label=source)
        before = [sum(pair) for pair in zip(before, counts, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="texts")
    figure.legend(loc="outside upper center", ncols=len(Source), frameon=False)
    return figure


def _themes(figure_of: Any, rows: Sequence[DatasetRow]) -> Any:
    counts = Counter(row.theme for row in rows if row.theme)
    shown = sorted(counts, key=lambda theme: (-counts[theme], theme))[:MAX_THEMES]
    figure = figure_of(figsize=(9, 0.8 + 0.28 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.barh([_label(theme) for theme in shown], [counts[theme] for theme in shown], color="#789922")
    axes.invert_yaxis()
    axes.set(xlabel="texts")
    return figure


def _label(theme: str) -> str:
    """A theme as an axis may show it: short, and no formula whatever its dollar signs."""
    short = theme if len(theme) <= MAX_LABEL_CHARACTERS else f"{theme[: MAX_LABEL_CHARACTERS - 1]}…"
    return "".join(character if character.isprintable() else " " for character in short).replace("$", r"\$")
