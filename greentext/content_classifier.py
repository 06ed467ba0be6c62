"""A small classifier for what single words do not tell: who does what to whom.

Logistic regression, one for each category, over a line's words, pairs of words, and pairs of kinds of words: the kinds
are listed in `data/content_concepts.txt`, so that what is learnt of a knife holds for an axe. The weights are made by
`python -m data_pipeline.filters.train_content` and lie in `data/content_weights.npz`: 8-bit numbers, nothing pickled.

It knows English lines as `greentext.content_terms` reads them, and no line but the one that it is given.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from greentext.content_terms import MASK, read_sections

CONCEPTS_FILE: Final = Path(__file__).parent / "data" / "content_concepts.txt"
WEIGHTS_FILE: Final = Path(__file__).parent / "data" / "content_weights.npz"

HASHED: Final = 1 << 13
"""Features of words and pairs of words share that many weights."""
CLOSE_WORDS: Final = 2
WINDOW_WORDS: Final = 5
"""Pairs of words are taken within the former, pairs of kinds within both, each for itself."""
_STEM_LETTERS: Final = 4
_MIX_FIRST: Final = 0x9E3779B1
_MIX_SECOND: Final = 0x85EBCA6B


@dataclass(frozen=True, slots=True, eq=False)
class _Word:
    code: int
    features: tuple[int, ...]
    """Itself, its beginning, its kinds."""
    kinds: tuple[int, ...]


_MASKED: Final = _Word(0, (), ())


class Features:
    """Numbers what is in a line: first hashed words and pairs, then kinds, then ordered pairs of kinds."""

    def __init__(self, concepts: Mapping[str, Iterable[str]]) -> None:
        self.kinds = list(concepts)
        self._exact: dict[str, list[int]] = {}
        self._prefixes: dict[str, list[int]] = {}
        for number, entries in enumerate(concepts.values()):
            for entry in entries:
                table = self._prefixes if entry.endswith("*") else self._exact
                table.setdefault(entry.removesuffix("*"), []).append(number)
        self._prefix_lengths = sorted({len(prefix) for prefix in self._prefixes})
        # Most words and pairs of a text have been seen before: half of the time that a text takes is saved.
        self._word = lru_cache(maxsize=1 << 14)(self._read)
        self._close_pair = lru_cache(maxsize=1 << 15)(self._close)
        self._far_pair = lru_cache(maxsize=1 << 14)(self._far)

    @property
    def size(self) -> int:
        """How many there are."""
        return HASHED + len(self.kinds) + 2 * len(self.kinds) ** 2

    def of(self, words: Sequence[str]) -> set[int]:
        """The features of a line. A mask parts what stands on its sides, and is nothing itself."""
        found: set[int] = set()
        before: list[_Word] = []
        """Nearest last."""
        for text in words:
            if text == MASK:
                before.append(_MASKED)
                continue
            word = self._word(text)
            found.update(word.features)
            for other in before[-CLOSE_WORDS:]:
                found.update(self._close_pair(other, word))
            if word.kinds:
                for other in before[-WINDOW_WORDS:-CLOSE_WORDS]:
                    if other.kinds:
                        found.update(self._far_pair(other, word))
            before.append(word)
        return found

    def _close(self, first: _Word, second: _Word) -> tuple[int, ...]:
        if first is _MASKED:
            return ()
        return (_mixed(first.code, second.code), *self._kinds_of(first, second, HASHED + len(self.kinds)))

    def _far(self, first: _Word, second: _Word) -> tuple[int, ...]:
        return tuple(self._kinds_of(first, second, HASHED + len(self.kinds) + len(self.kinds) ** 2))

    def _kinds_of(self, first: _Word, second: _Word, start: int) -> Iterator[int]:
        return (start + one * len(self.kinds) + other for one in first.kinds for other in second.kinds)

    def _read(self, word: str) -> _Word:
        code = zlib.crc32(word.encode())
        kinds = set(self._exact.get(word, ()))
        for length in self._prefix_lengths:
            kinds.update(self._prefixes.get(word[:length], ()))
        features = [code % HASHED]
        if len(word) > _STEM_LETTERS:
            features.append(zlib.crc32(f"{word[:_STEM_LETTERS]}*".encode()) % HASHED)
        return _Word(code, (*features, *(HASHED + kind for kind in kinds)), tuple(sorted(kinds)))


def _mixed(first: int, second: int) -> int:
    return ((first * _MIX_FIRST ^ second * _MIX_SECOND) >> 9) % HASHED


@dataclass(frozen=True, slots=True)
class Classifier:
    """Weights and what they mean."""

    features: Features
    categories: tuple[str, ...]
    weights: NDArray[np.int8]
    """[features, categories], to be multiplied by `scales`."""
    scales: NDArray[np.float32]
    biases: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    """Probabilities from which a line is of a category."""

    def probabilities(self, lines: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """How likely lines are of each category: [lines, categories]; 0.0 where a line has no words."""
        found = [self.features.of(words) for words in lines]
        counts = [len(features) for features in found]
        chances = np.zeros((len(found), len(self.categories)), np.float32)
        there = [at for at, count in enumerate(counts) if count]
        if not there:
            return chances
        # All lines at once: most of the time would go into calling numpy for each.
        rows = self.weights[np.fromiter(chain.from_iterable(found), np.intp, sum(counts))]
        starts = [0, *accumulate(counts[at] for at in there[:-1])]
        logits = np.add.reduceat(rows, starts, axis=0, dtype=np.int32) * self.scales + self.biases
        chances[there] = 1.0 / (1.0 + np.exp(-logits))
        return chances

    def judge(self, lines: Sequence[Sequence[str]]) -> list[tuple[int, str, float]]:
        """What lines are: index of the line, category, probability."""
        chances = self.probabilities(lines)
        return [
            (int(line), self.categories[at], float(chances[line, at]))
            for line, at in np.argwhere(chances >= self.thresholds)
        ]


def default_features() -> Features:
    """The features that this package brings."""
    return Features(read_sections(CONCEPTS_FILE.read_text(encoding="utf-8").splitlines()))


def load(path: Path) -> Classifier:
    """Reads weights.

    Raises:
        OSError: The file cannot be read.
        ValueError: It was made for other concepts, or is damaged.
    """
    features = default_features()
    with np.load(path, allow_pickle=False) as arrays:
        classifier = Classifier(
            features,
            tuple(str(name) for name in arrays["categories"]),
            arrays["weights"],
            arrays["scales"],
            arrays["biases"],
            arrays["thresholds"],
        )
    if classifier.weights.shape != (features.size, len(classifier.categories)):
        raise ValueError(f"{path} was made for other concepts: run `python -m data_pipeline.filters.train_content`")
    return classifier


@lru_cache(maxsize=1)
def default_classifier() -> Classifier:
    """The classifier that this package brings, read once."""
    return load(WEIGHTS_FILE)
