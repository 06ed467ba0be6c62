"""How much a set of texts varies: distinct-1, -2, -3 and self-BLEU-4, on words as ``greentext.vocabulary`` has them.

Both depend on how much text there is, so two sets are compared at the same size: distinct-n at as many words (the
first of each set), self-BLEU at as many texts. Marks, case and line ends do not count.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

from greentext.vocabulary import words_of
from training.evaluation.figures import Figure, jackknife, mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Words = list[str]
ORDERS = (1, 2, 3)
BLEU_ORDER = 4
EPSILON = 0.1
"""Stands for no n-gram in common: Chen and Cherry (2014), method 1, as self-BLEU was defined with."""


def words_in(texts: Iterable[str]) -> list[Words]:
    """Each text's words, in lower case."""
    return [words_of(text) for text in texts]


def first_words(texts: Sequence[Words], count: int) -> list[Words]:
    """The first ``count`` words of a set of texts, still by text; the last text may be cut."""
    taken: list[Words] = []
    for words in texts:
        if count <= 0:
            break
        taken.append(words[:count])
        count -= len(taken[-1])
    return taken


def distinct(texts: Sequence[Words], order: int) -> Figure:
    """Different n-grams of all n-grams in a set of texts (Li et al. 2016), with a jackknife interval over texts.

    N-grams do not cross texts. Raises ValueError when no text is long enough to have one.
    """
    counted = [Counter(_ngrams(words, order)) for words in texts]
    total: Counter[tuple[str, ...]] = Counter()
    for counts in counted:
        total.update(counts)
    of = total.total()
    if not of:
        raise ValueError(f"no text has {order} words; let the model write more, or longer ones")
    without = []
    for counts in counted:
        # Without this text, what only it has is gone.
        lost = sum(total[ngram] == count for ngram, count in counts.items())
        rest = of - counts.total()
        without.append((len(total) - lost) / rest if rest else 0.0)
    return jackknife(len(total) / of, without)


def self_bleu(texts: Sequence[Words]) -> Figure:
    """Mean BLEU-4 of each text with all others as its references (Zhu et al. 2018): 1 where all are the same.

    Exact, in time that grows with the words: of each n-gram, the largest two counts in any text are kept. The interval
    is a bootstrap over the texts' scores, the references as they are. Raises ValueError for fewer than two texts.
    """
    if len(texts) < 2:
        raise ValueError(f"self-BLEU compares texts with one another; got {len(texts)}, let the model write more")
    lengths = sorted(map(len, texts))
    matched = [[0] * BLEU_ORDER for _ in texts]
    for order in range(1, BLEU_ORDER + 1):
        counted = [Counter(_ngrams(words, order)) for words in texts]
        largest = _largest_two(counted)
        for place, counts in enumerate(counted):
            for ngram, count in counts.items():
                owner, first, second = largest[ngram]
                matched[place][order - 1] += min(count, second if owner == place else first)
    return mean(
        [
            _bleu(found, len(words), _closest_other(lengths, len(words)))
            for words, found in zip(texts, matched, strict=True)
        ]
    )


def bleu(hypothesis: Words, references: Sequence[Words]) -> float:
    """BLEU-4 of one text (Papineni et al. 2002): clipped precisions, brevity penalty, ``EPSILON`` for zero matches."""
    matched = []
    for order in range(1, BLEU_ORDER + 1):
        known = [Counter(_ngrams(words, order)) for words in references]
        counts = Counter(_ngrams(hypothesis, order))
        matched.append(sum(min(count, max(one[ngram] for one in known)) for ngram, count in counts.items()))
    closest = min((len(words) for words in references), key=lambda length: (abs(length - len(hypothesis)), length))
    return _bleu(matched, len(hypothesis), closest)


def _bleu(matched: Sequence[int], length: int, reference_length: int) -> float:
    """From the matches of each order. A text without a word in common scores 0."""
    if not matched[0]:
        return 0.0
    logs = 0.0
    for order, found in enumerate(matched, start=1):
        of = max(1, length - order + 1)
        logs += math.log((found or EPSILON) / of)
    brevity = 1.0 if length > reference_length else math.exp(1 - reference_length / length)
    return brevity * math.exp(logs / BLEU_ORDER)


def _largest_two(counted: Sequence[Counter[tuple[str, ...]]]) -> dict[tuple[str, ...], tuple[int, int, int]]:
    """Of each n-gram: the text that has it most often, how often, and how often the next one has it."""
    largest: dict[tuple[str, ...], tuple[int, int, int]] = {}
    for place, counts in enumerate(counted):
        for ngram, count in counts.items():
            owner, first, second = largest.get(ngram, (-1, 0, 0))
            if count > first:
                largest[ngram] = (place, count, first)
            elif count > second:
                largest[ngram] = (owner, first, count)
    return largest


def _closest_other(lengths: Sequence[int], length: int) -> int:
    """Of the sorted lengths but for one ``length``, the closest to it; the shorter of two as close."""
    place = bisect_left(lengths, length)
    others = [lengths[place + 1]] if place + 1 < len(lengths) else []
    if place:
        others.append(lengths[place - 1])
    return min(others, key=lambda other: (abs(other - length), other))


def _ngrams(words: Words, order: int) -> Iterable[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(order)), strict=False)
