"""Swapping a share of the content words of texts for other words, the same one each time.

Content words are those of four letters or more that are not among the commonest of the stories. They are swapped for
rare English words that the stories do not have (``rare_words.txt``), or, to tell what swapping alone does, for words
that the stories do have. Texts keep their number of lines and words.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from greentext.vocabulary import read_words
from training.corpus import CorpusError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SwapFor = Literal["rare", "known"]
RARE_WORDS = Path(__file__).parent / "rare_words.txt"
COMMONEST = 200
"""So many of the stories' words are left alone: they carry grammar rather than content."""
MIN_LETTERS = 4
MIN_COUNT = 2
"""Of a word in the texts: what stands in one text only teaches the others nothing."""
KNOWN_MIN_COUNT = 5
"""Of a word in the stories, to be taken for known to a model that has read them."""

_WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class WordLists:
    """What can be swapped, and for what; each sorted, so that a seed means the same on every machine."""

    content: tuple[str, ...]
    rare: tuple[str, ...]
    known: tuple[str, ...]

    def swap(self, share: float, swap_for: SwapFor, seed: int) -> dict[str, str]:
        """A share of the content words, each with what stands for it. A larger share holds a smaller one, word by word.

        Raises CorpusError when there are too few words to swap for.
        """
        rng = np.random.default_rng([seed, 4])
        chosen = rng.permutation(len(self.content))[: round(share * len(self.content))]
        others = self.rare if swap_for == "rare" else self.known
        if len(chosen) > len(others):
            raise CorpusError(
                f"{len(chosen)} words are to be swapped for {swap_for} ones, of which there are {len(others)}; "
                f"swap a smaller share, or add words to {RARE_WORDS.name}"
            )
        places = np.random.default_rng([seed, 5]).permutation(len(others))[: len(chosen)]
        return {self.content[i]: others[j] for i, j in zip(chosen.tolist(), places.tolist(), strict=True)}


def word_lists(stories: Iterable[str], texts: Sequence[str]) -> WordLists:
    """The words to swap in ``texts``, for models that have read ``stories``."""
    told = Counter(word for story in stories for word in _words(story))
    said = Counter(word for text in texts for word in _words(text))
    common = {word for word, _ in told.most_common(COMMONEST)}
    content = (w for w, count in said.items() if count >= MIN_COUNT and len(w) >= MIN_LETTERS and w not in common)
    known = (
        word
        for word, count in told.items()
        if count >= KNOWN_MIN_COUNT and len(word) >= MIN_LETTERS and word not in common and word not in said
    )
    rare = (word for word in read_words(RARE_WORDS) if word not in told and word not in said)
    return WordLists(tuple(sorted(content)), tuple(sorted(rare)), tuple(sorted(known)))


def swap_words(text: str, swapped: Mapping[str, str]) -> str:
    """The text with every swapped word in place, a capital at its head kept."""

    def other(match: re.Match[str]) -> str:
        word = match[0]
        new = swapped.get(word.lower(), word)
        return new.capitalize() if word[0].isupper() and new is not word else new

    return _WORD.sub(other, text)


def places_of(text: str, words: Mapping[str, str]) -> list[tuple[int, int]]:
    """Where in a text words of a swap stand: first character, and the one after the last."""
    return [match.span() for match in _WORD.finditer(text) if match[0].lower() in words]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
