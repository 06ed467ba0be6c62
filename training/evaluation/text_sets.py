"""Figures of a set of texts, samples or originals alike: checks, repetition, diversity at equal size, novelty."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.evaluation.diversity import ORDERS, distinct, first_words, self_bleu, words_in
from training.evaluation.figures import mean, share
from training.evaluation.novelty import LONG_RUN_WORDS, novelty
from training.evaluation.text_checks import check, details, rates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.evaluation.figures import Figure
    from training.evaluation.novelty import Novelty
    from training.evaluation.text_checks import TextChecks


@dataclass(frozen=True, slots=True)
class TextSet:
    """Texts with what was found in each."""

    texts: tuple[str, ...]
    checks: tuple[TextChecks, ...]
    novelty: tuple[Novelty, ...]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of what distinct-n and self-BLEU are measured."""

    words: int
    texts: int


def text_sets(groups: Sequence[Sequence[str]], training: Sequence[str]) -> list[TextSet]:
    """Each group with its checks; the training texts are read once for all."""
    shared = iter(novelty([text for texts in groups for text in texts], training))
    return [
        TextSet(tuple(texts), tuple(check(text) for text in texts), tuple(next(shared) for _ in texts))
        for texts in groups
    ]


def common_sizes(sets: Sequence[TextSet]) -> Sizes:
    """The words and texts that every set has."""
    return Sizes(
        min(sum(one.words for one in each.checks) for each in sets),
        min(sum(bool(one.words) for one in each.checks) for each in sets),
    )


def figures_of(texts: TextSet, sizes: Sizes) -> tuple[dict[str, Figure], list[str]]:
    """Every figure of a set, and a sentence for each that could not be measured. Raises ValueError for no text."""
    of = len(texts.texts)
    runs = [one.longest_run for one in texts.novelty]
    # An empty text is like no other, and not long enough for anything.
    words = [one for one in words_in(texts.texts) if one]
    figures = rates(texts.checks) | {
        "repeated": share(sum(n - 1 for n in Counter(map(tuple, words)).values()), of),
        "exact_copies": share(sum(one.copied for one in texts.novelty), of),
        "long_shared_runs": share(sum(run > LONG_RUN_WORDS for run in runs), of),
        "longest_shared_run": mean(runs),
    }
    notes = []
    cut = first_words(words, sizes.words)
    for order in ORDERS:
        try:
            figures[f"distinct_{order}"] = distinct(cut, order)
        except ValueError as error:
            notes.append(f"There is no distinct-{order}: {error}.")
    try:
        figures["self_bleu_4"] = self_bleu(words[: sizes.texts])
    except ValueError as error:
        notes.append(f"There is no self-BLEU: {error}.")
    return figures, notes


def details_of(texts: TextSet) -> dict[str, Any]:
    """The counts behind the figures."""
    longest = max(texts.novelty, key=lambda one: one.longest_run, default=None)
    return details(texts.checks) | {
        "words": _histogram([one.words for one in texts.checks]),
        "longest_shared_runs": _histogram([one.longest_run for one in texts.novelty]),
        "longest_shared_run": longest.run if longest else "",
    }


def _histogram(values: Sequence[int]) -> dict[str, int]:
    """How many have each value, in the values' order."""
    return {str(value): count for value, count in sorted(Counter(values).items())}
