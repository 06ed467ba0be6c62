"""Any number of evaluations side by side: one table, differences to the first with intervals, and a picture."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.evaluation.figures import Figure, difference, paired_difference
from training.evaluation.measures import MEASURES
from training.evaluation.plots import draw_compared
from training.evaluation.report import number, table
from training.evaluation.result import read_result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from training.evaluation.result import Evaluation

COMPARISON = "comparison"
"""The name of the files that ``write_comparison`` writes."""
MATTERS = {
    "how they were sampled": ("samples", "sampling"),
    "their prompts": ("samples", "prompt"),
    "whether samples begin with the start token": ("samples", "start_token"),
    "how many samples there are": ("samples", "count"),
    "their data": ("data", "sha256"),
    "the texts that were scored": ("held_out", "texts_sha256"),
    "how many words distinct-n is of": ("details", "diversity_of"),
    "the judge": ("details", "judge", "model"),
}
"""What must be the same for figures to be comparable, and where it is kept."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Results by label, their differences to the first, and what makes them hard to compare."""

    results: dict[str, Evaluation]
    differences: dict[str, dict[str, Figure]]
    """By label, the first one's left out, and measure."""
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Every figure and difference, by label."""
        return {
            "models": {
                label: {name: figure.as_json() for name, figure in result.figures.items()}
                for label, result in self.results.items()
            },
            "differences_to_the_first": {
                label: {name: figure.as_json() for name, figure in found.items()}
                for label, found in self.differences.items()
            },
            "warnings": list(self.warnings),
        }

    def as_markdown(self) -> str:
        """The page."""
        labels = list(self.results)
        names = [name for name in MEASURES if any(name in result.figures for result in self.results.values())]
        rows = [[_title(name), *(self._cell(label, name) for label in labels)] for name in names]
        lines = ["# Comparison", "", *table(("", *labels), rows), ""]
        lines.append(
            "Arrows: where more (↑) or less (↓) is better. Intervals are of 95 %, and over texts, not trainings."
        )
        if self.differences:
            lines += ["", f"## Differences to {labels[0]}", ""]
            lines += table(
                ("", *labels[1:]),
                [[_title(name), *(self._difference(label, name) for label in labels[1:])] for name in names],
            )
            lines += [
                "",
                (
                    "Bold where the interval leaves out zero. Bits per byte are compared text by text where the same "
                    "texts were scored. Of so many figures, one in twenty is bold by chance."
                ),
            ]
        if self.warnings:
            lines += ["", "## What to beware of", "", *(f"- {warning}" for warning in self.warnings)]
        return "\n".join([*lines, ""])

    def _cell(self, label: str, name: str) -> str:
        figure = self.results[label].figures.get(name)
        return number(figure, MEASURES[name].digits) if figure else ""

    def _difference(self, label: str, name: str) -> str:
        figure = self.differences[label].get(name)
        if figure is None:
            return ""
        digits = MEASURES[name].digits
        factor, unit = (100, " points") if figure.kind == "share" else (1, "")
        digits = 1 if figure.kind == "share" else digits
        value, low, high = (f"{part * factor:+.{digits}f}" for part in (figure.value, figure.low, figure.high))
        text = f"{value}{unit} ({low} to {high})"
        return f"**{text}**" if figure.low > 0 or figure.high < 0 else text


def compare(paths: Sequence[Path]) -> Comparison:
    """Reads results (``evaluation.json`` or their directories). Raises ResultError, and ValueError for none."""
    if not paths:
        raise ValueError("there is nothing to compare; name directories that `evaluate` wrote")
    return compare_results([read_result(path) for path in paths])


def compare_results(results: Sequence[Evaluation]) -> Comparison:
    """As ``compare``; results of the same name are numbered."""
    labelled: dict[str, Evaluation] = {}
    for result in results:
        label, count = result.name, 1
        while label in labelled:
            count += 1
            label = f"{result.name} ({count})"
        labelled[label] = result
    first = results[0]
    return Comparison(
        labelled,
        {label: _differences(result, first) for label, result in list(labelled.items())[1:]},
        tuple(_warnings(list(labelled.values()))),
    )


def write_comparison(comparison: Comparison, directory: Path) -> Path:
    """Writes ``comparison.md``, ``comparison.json`` and the picture; returns the page's path."""
    directory.mkdir(parents=True, exist_ok=True)
    picture = draw_compared(directory, comparison.results)
    (directory / f"{COMPARISON}.json").write_text(json.dumps(comparison.as_json(), indent=1) + "\n", encoding="utf-8")
    page = directory / f"{COMPARISON}.md"
    page.write_text(f"{comparison.as_markdown()}\n![figures with intervals]({picture})\n", encoding="utf-8")
    return page


def _differences(result: Evaluation, first: Evaluation) -> dict[str, Figure]:
    found = {
        name: difference(figure, first.figures[name])
        for name, figure in result.figures.items()
        if name in first.figures and name != "mauve"  # which has no interval
    }
    one, other = result.held_out, first.held_out
    if one.tokens != other.tokens:  # of another tokenizer, or other texts: perplexities have nothing in common
        found.pop("perplexity", None)
    if one.texts_sha256 != other.texts_sha256:
        return found
    text_bytes = np.array(one.text_bytes, np.float64)
    nats, other_nats = np.array(one.nats), np.array(other.nats)
    found["bits_per_byte"] = paired_difference(nats / math.log(2), other_nats / math.log(2), text_bytes)
    return found


def _warnings(results: Sequence[Evaluation]) -> list[str]:
    warnings = []
    for what, keys in MATTERS.items():
        values = {json.dumps(value, sort_keys=True) for result in results if (value := _at(result, keys)) is not None}
        if len(values) > 1:
            warnings.append(f"These evaluations differ in {what}.")
    if len({json.dumps(result.model["sha256"]) for result in results}) < len(results):
        warnings.append("Some of these evaluations are of the same model.")
    return warnings


def _at(result: Evaluation, keys: Sequence[str]) -> Any:
    value: Any = getattr(result, keys[0])
    for key in keys[1:]:
        value = getattr(value, key) if hasattr(value, key) else (value or {}).get(key)
    return value


def _title(name: str) -> str:
    arrow = {"higher": " ↑", "lower": " ↓", "": ""}[MEASURES[name].better]
    return MEASURES[name].title + arrow
