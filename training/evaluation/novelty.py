"""How much of a text stands in the training set: the same text, and the longest run of words in common.

Words are those of ``greentext.vocabulary``: case, marks and line ends do not count, and a run may go over a line's end
but not over a text's. Exact: a suffix automaton of the samples (Blumer et al. 1985) reads the training set once; memory
grows with the samples alone. Close paraphrases are not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from greentext.vocabulary import words_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LONG_RUN_WORDS = 12
"""A run of more words than this is not in a text by chance or by idiom: see ``long_shared_runs``."""


@dataclass(frozen=True, slots=True)
class Novelty:
    """What a text has in common with the training set."""

    copied: bool
    """A training text has the same words."""
    longest_run: int
    """Words in a row that stand so in a training text."""
    run: str
    """Those words; of several runs as long, the first."""


def novelty(texts: Sequence[str], training: Iterable[str]) -> list[Novelty]:
    """What each text shares with the training texts, read once."""
    words = [words_of(text) for text in texts]
    automaton = _Automaton(words)
    wanted = {tuple(one) for one in words if one}
    copied: set[tuple[str, ...]] = set()
    for text in training:
        read = words_of(text)
        automaton.read(read)
        if (key := tuple(read)) in wanted:
            copied.add(key)
    result = []
    for one, (end, length) in zip(words, automaton.longest_runs(words), strict=True):
        result.append(Novelty(tuple(one) in copied, length, " ".join(one[end - length : end])))
    return result


class _Automaton:
    """A suffix automaton of several texts: each state is a set of runs that end at the same places."""

    def __init__(self, texts: Iterable[Sequence[str]]) -> None:
        self._next: list[dict[str, int]] = [{}]
        self._link = [-1]
        self._length = [0]
        for words in texts:
            last = 0
            for word in words:
                last = self._extend(last, word)
        self._matched = [0] * len(self._next)
        """Of each state, the longest of its runs that was read."""

    def _extend(self, last: int, word: str) -> int:
        known = self._next[last].get(word)
        if known is not None:
            # Another text went here before.
            return known if self._length[known] == self._length[last] + 1 else self._split(last, known, word)
        state = self._add(self._length[last] + 1, {})
        while last != -1 and word not in self._next[last]:
            self._next[last][word] = state
            last = self._link[last]
        if last == -1:
            self._link[state] = 0
        else:
            known = self._next[last][word]
            fits = self._length[known] == self._length[last] + 1
            self._link[state] = known if fits else self._split(last, known, word)
        return state

    def _split(self, last: int, known: int, word: str) -> int:
        """Parts the runs of ``known`` that are no longer than those of ``last`` with ``word`` behind them."""
        shorter = self._add(self._length[last] + 1, dict(self._next[known]))
        self._link[shorter] = self._link[known]
        self._link[known] = shorter
        while last != -1 and self._next[last].get(word) == known:
            self._next[last][word] = shorter
            last = self._link[last]
        return shorter

    def _add(self, length: int, following: dict[str, int]) -> int:
        self._next.append(following)
        self._link.append(0)
        self._length.append(length)
        return len(self._next) - 1

    def read(self, words: Sequence[str]) -> None:
        """Notes, at each word, the longest run up to it that is in some text."""
        state = length = 0
        for word in words:
            while state and word not in self._next[state]:
                state = self._link[state]
                length = self._length[state]
            state = self._next[state].get(word, 0)
            length = length + 1 if state else 0
            self._matched[state] = max(self._matched[state], length)

    def longest_runs(self, texts: Iterable[Sequence[str]]) -> list[tuple[int, int]]:
        """Of each text that the automaton was made of: where its longest run that was read ends, and its length."""
        matched = list(self._matched)
        by_length = sorted(range(1, len(matched)), key=self._length.__getitem__, reverse=True)
        for state in by_length:  # whoever has read a run has read its endings
            if matched[state] and (link := self._link[state]) > 0:
                matched[link] = self._length[link]
        for state in reversed(by_length):
            if not matched[state]:
                matched[state] = matched[self._link[state]]
        runs = []
        for words in texts:
            state, best = 0, (0, 0)
            for end, word in enumerate(words, start=1):
                state = self._next[state][word]
                if matched[state] > best[1]:
                    best = (end, matched[state])
            runs.append(best)
        return runs
