"""Trains the content classifier and measures the content filter: `... filters.train_content STORIES`.

It learns from the lines of split `train` in `data/content_labelled.jsonl`, and from lines that are wholesome, all of
them: those of `data/greentexts/starter.jsonl`, sentences of a file of stories (TinyStories), and sentences made here
that name groups of people and say nothing bad of them. A category's threshold is set on out-of-fold probabilities of
ten-fold cross-validation: the lowest at which hardly a wholesome line is found. Lines of split `test` and every other
story are looked at by the report only. The same data give the same weights: nothing is drawn at random.

It prints the figures that docs/content-filter.md holds between its marks; `--write` renews them, and the weights.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from data_pipeline.build_vocabulary import StoriesError
from data_pipeline.filters.content_training import (
    LEARNT,
    Example,
    examples,
    fit,
    neutral_examples,
    out_of_fold,
    quantised,
    read_labelled,
    rows_of,
    starter_examples,
    story_examples,
    thresholds_of,
    with_words,
    write,
)
from greentext.content import Category
from greentext.content_classifier import WEIGHTS_FILE, Classifier, default_features

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from data_pipeline.filters.content_training import Matrix

DOCUMENT: Final = Path(__file__).parent.parent.parent / "docs" / "content-filter.md"
MARKS: Final = ("<!-- figures -->", "<!-- /figures -->")


@dataclass(slots=True)
class Tally:
    """How often a judgement was right."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    def add(self, *, found: bool, is_so: bool) -> None:
        """Counts one judgement."""
        self.right += found and is_so
        self.wrong += found and not is_so
        self.missed += is_so and not found

    def cells(self) -> str:
        """Number of lines, precision and recall, as cells of a table."""
        found, there = self.right + self.wrong, self.right + self.missed
        precision = f"{self.right / found:.2f}" if found else "-"
        recall = f"{self.right / there:.2f}" if there else "-"
        return f"{there} | {precision} | {recall}"


def tallies(chosen: Sequence[Example], chances: Matrix, thresholds: Matrix) -> dict[str, Tally]:
    """Right and wrong by category, and under `any` for whether a line is found at all."""
    result: dict[str, Tally] = {category.value: Tally() for category in Category} | {"any": Tally()}
    for example, row in zip(chosen, chances, strict=True):
        found = found_in(example, row, thresholds)
        for category in Category:
            result[category.value].add(found=category in found, is_so=category in example.labels)
        result["any"].add(found=bool(found), is_so=bool(example.labels))
    return result


def found_in(example: Example, chances: Matrix, thresholds: Matrix) -> set[Category]:
    """What words, patterns and the classifier together find."""
    over = zip(LEARNT, chances >= thresholds, strict=True)
    return {*example.listed, *(category for category, reached in over if reached)}


@dataclass(frozen=True, slots=True)
class Measured:
    """A trained classifier and its figures."""

    classifier: Classifier
    report: str


def train_and_measure(stories: Path) -> Measured:
    """Trains, and measures. Takes a minute or two. Raises OSError, ValueError, StoriesError."""
    lines = read_labelled()
    labelled = with_words(examples([line for line in lines if line.split == "train"]))
    held_out = with_words(examples([line for line in lines if line.split == "test"]))
    starter = with_words(starter_examples())
    told, untold = map(with_words, story_examples(stories))
    everything = [*labelled, *starter, *told, *with_words(neutral_examples())]
    chances = out_of_fold(everything)
    for_starter = slice(len(labelled), len(labelled) + len(starter))
    thresholds = thresholds_of(chances[len(labelled) :])
    features = default_features()
    weights, biases = fit(rows_of(everything, features.of), features.size)
    classifier = quantised(weights, biases, thresholds)
    own = {
        name: classifier.probabilities([example.words for example in part]).astype(np.float64)
        for name, part in (("held out", held_out), ("starter", starter), ("stories", untold))
    }
    report = "\n".join(
        _report(
            classifier,
            tallies(labelled, chances[: len(labelled)], thresholds),
            tallies(held_out, own["held out"], thresholds),
            {
                "Starter texts, by a model that has not seen them": _found(starter, chances[for_starter], thresholds),
                "Starter texts, by the model as it is shipped": _found(starter, own["starter"], thresholds),
                "Stories that it has not seen": _found(untold, own["stories"], thresholds),
            },
        )
    )
    return Measured(classifier, report)


def _found(chosen: Sequence[Example], chances: Matrix, thresholds: Matrix) -> str:
    """In how many of wholesome texts something is found."""
    found = {example.text for example, row in zip(chosen, chances, strict=True) if found_in(example, row, thresholds)}
    texts = len({example.text for example in chosen})
    return f"{len(found)} of {texts} ({len(found) / texts:.2%})"


def _report(
    classifier: Classifier,
    crossed: dict[str, Tally],
    held_out: dict[str, Tally],
    wholesome: dict[str, str],
) -> Iterator[str]:
    thresholds = dict(zip(classifier.categories, classifier.thresholds, strict=True))
    yield "| category | threshold | lines | precision | recall | held-out lines | precision | recall |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, tally in crossed.items():
        threshold = f"{thresholds[name]:.2f}" if name in thresholds else ""
        yield f"| {name} | {threshold} | {tally.cells()} | {held_out[name].cells()} |"
    yield ""
    yield "Found, though wholesome:"
    yield ""
    yield from (f"- {name}: {found}" for name, found in wholesome.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m data_pipeline.filters.train_content", description=__doc__.partition("\n\n")[0]
    )
    parser.add_argument("stories", type=Path, help="a file of stories, plain or .zst")
    parser.add_argument("--write", action="store_true", help="renew the weights and the figures in the document")
    options = parser.parse_args(arguments)
    try:
        measured = train_and_measure(options.stories)
    except (OSError, ValueError, StoriesError) as error:
        print(f"the data cannot be read: {error}", file=sys.stderr)
        return 1
    print(measured.report)
    if options.write:
        write(measured.classifier, WEIGHTS_FILE)
        before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        DOCUMENT.write_text(f"{before}{MARKS[0]}\n{measured.report}\n{MARKS[1]}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
