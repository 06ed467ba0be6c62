r"""Finds texts that are told twice: exactly, or nearly.

Exact: the same words, whatever their case, punctuation and line breaks. Near: the Jaccard similarity of the sets of
word trigrams is at least a threshold. MinHash with banding (datasketch) proposes pairs, so that not every text is held
against every other; each proposed pair is then measured exactly. What is missed, therefore, is a pair that was never
proposed: with the bands below that happens to two in 10,000 pairs at a similarity of 0.4, to one in ten million at 0.5.

Clusters are what similarity connects: two texts of one cluster may be joined by others only. They depend on the texts
alone, not on their order, the number of processes or chance (the permutations' seed is fixed).

Sources: Broder, "On the resemblance and containment of documents" (1997), for MinHash; Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", section 3.4, for the bands.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from greentext.vocabulary import words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

SHINGLE_WORDS: Final = 3
DEFAULT_THRESHOLD: Final = 0.4
"""Measured: docs/content-filter.md, "Near duplicates"."""
MIN_THRESHOLD: Final = 0.4

BANDS: Final = 128
ROWS: Final = 3
"""A pair of similarity s is proposed with probability 1 - (1 - s ** ROWS) ** BANDS. Two rows would propose every
hundredth pair of unlike texts that begin with the same few words; three propose one in ten thousand."""
SEED: Final = 1
_CACHED_TEXTS: Final = 50_000


def exact_key(text: str) -> str:
    """What texts that say the same, word for word, have in common."""
    return " ".join(words_of(text)) or text


def shingles(text: str) -> frozenset[str]:
    """The word trigrams of a text, across its lines; of fewer words, all of them as one."""
    words = words_of(text)
    if len(words) < SHINGLE_WORDS:
        return frozenset((exact_key(text),))
    return frozenset(" ".join(words[at : at + SHINGLE_WORDS]) for at in range(len(words) - SHINGLE_WORDS + 1))


def similarity(first: str, second: str) -> float:
    """The Jaccard similarity of two texts' shingles, 0.0 to 1.0."""
    return _jaccard(shingles(first), shingles(second))


def clusters(texts: Sequence[str], threshold: float = DEFAULT_THRESHOLD) -> list[int]:
    """For each text the lowest index of its cluster's members; a text without a near duplicate has its own.

    Raises:
        ValueError: The threshold is not from 0.4 to 1; below that, pairs would be missed.
    """
    if not MIN_THRESHOLD <= threshold <= 1:
        raise ValueError(f"the threshold is {threshold}, but must be from {MIN_THRESHOLD} to 1")
    forest = _Forest(len(texts))
    # Equal texts first: of many copies only one has to be compared.
    first_of: dict[str, int] = {}
    for index, text in enumerate(texts):
        forest.join(first_of.setdefault(exact_key(text), index), index)
    distinct = list(first_of.values())
    if threshold < 1:
        shingles_of = lru_cache(maxsize=_CACHED_TEXTS)(lambda index: shingles(texts[index]))
        for bucket in _buckets([texts[index] for index in distinct]):
            _join_bucket([distinct[place] for place in bucket], forest, shingles_of, threshold)
    return [forest.root(index) for index in range(len(texts))]


def _join_bucket(
    bucket: Sequence[int], forest: _Forest, shingles_of: Callable[[int], frozenset[str]], threshold: float
) -> None:
    """Joins what is similar among texts that may be. What is joined already is not measured again, however many."""
    parts: dict[int, list[int]] = {}
    for index in bucket:
        parts.setdefault(forest.root(index), []).append(index)
    apart: list[list[int]] = []
    for part in parts.values():
        others: list[list[int]] = []
        joined = part
        for other in apart:
            pairs = ((one, another) for one in part for another in other)
            near = any(_jaccard(shingles_of(one), shingles_of(another)) >= threshold for one, another in pairs)
            if near:
                forest.join(joined[0], other[0])
                joined = other + joined
            else:
                others.append(other)
        apart = [*others, joined]


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)


def _buckets(texts: Sequence[str]) -> Iterator[list[int]]:
    """Indices of texts that may be similar, each to each; a pair may come several times."""
    if len(texts) < 2:
        return
    signatures = _signatures(texts)
    for band in range(BANDS):
        rows: dict[bytes, list[int]] = defaultdict(list)
        for index, row in enumerate(np.ascontiguousarray(signatures[:, band * ROWS : (band + 1) * ROWS])):
            rows[row.tobytes()].append(index)
        yield from (members for members in rows.values() if len(members) > 1)


def _signatures(texts: Sequence[str]) -> NDArray[np.uint32]:
    from datasketch import MinHash  # noqa: PLC0415  takes a second, and only this needs it

    signatures = np.empty((len(texts), BANDS * ROWS), np.uint32)
    blank = MinHash(num_perm=BANDS * ROWS, seed=SEED, hashfunc=_crc32)
    for index, text in enumerate(texts):
        sketch = blank.copy()
        sketch.update_batch([shingle.encode() for shingle in shingles(text)])
        signatures[index] = sketch.hashvalues
    return signatures


def _crc32(data: bytes) -> int:
    return zlib.crc32(data)


class _Forest:
    """Disjoint sets of indices; a set's root is its lowest."""

    def __init__(self, size: int) -> None:
        self._parents = list(range(size))

    def root(self, index: int) -> int:
        while self._parents[index] != index:
            self._parents[index] = self._parents[self._parents[index]]
            index = self._parents[index]
        return index

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.root(one), self.root(other)))
        self._parents[high] = low
