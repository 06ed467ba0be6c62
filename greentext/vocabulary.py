"""Which words are simple: those of the TinyStories vocabulary, and a named list of what the internet and calendars add.

Two files beside this module hold them. `tinystories_words.txt` is made by `python -m data_pipeline.build_vocabulary`
from a file of stories; `internet_words.txt` is written by hand, each group under its name. A word that is in neither is
simple all the same when a rule below leads to one that is. The rules know spelling, not meaning:

    number         digits, with a unit or an ending at most: `7`, `3rd`, `90s`, `5am`, `10k`
    possessive     `snail's`, `dogs'`
    contraction    `n't`, `'s`, `'ll`, `'re`, `'ve`, `'d`, `'m` behind a simple word; `runnin'` for `running`
    inflection     the regular `-s`, `-es`, `-ies`, `-ed`, `-ing`, `-er`, `-est` of a simple word of three letters or
                   more, and the word whose `-s` is simple
    lengthening    `sooooo`: letters that stand three times or more stand for one or two

Hyphens and slashes part words. Emoticons and emoji are no words. Names are simple where the stories have them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "data"
STORY_WORDS_FILE: Final = "tinystories_words.txt"
INTERNET_WORDS_FILE: Final = "internet_words.txt"

_PLAIN_APOSTROPHES: Final = str.maketrans(dict.fromkeys("‘’‛′`´", "'"))  # noqa: RUF001
_EMOTICON: Final = re.compile(r"(?<!\w)(?:[:;=8xX]['^-]?[()\[\]DdPpOo3/\\|*]+|<3+|[oO0]_[oO0]|T_T|\^_*\^)(?!\w)")
_WORD: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)*'?")
_NUMBER: Final = re.compile(r"\d+(?:st|nd|rd|th|s|x|k|m|am|pm|cm|mm|km|kg|mph|gb|mb|min|mins|hrs|h|yo|ish)?")
_LENGTHENED: Final = re.compile(r"(.)\1{2,}")
_VOWELS: Final = frozenset("aeiou")
_CONTRACTED: Final = frozenset(("s", "ll", "re", "ve", "d", "m"))
_MIN_STEM_LETTERS: Final = 3


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case and in order. An apostrophe within a word belongs to it."""
    plain = _EMOTICON.sub(" ", text.translate(_PLAIN_APOSTROPHES))
    return [_WITHOUT_CLOSING_QUOTE.sub("", word) for word in _WORD.findall(plain.lower())]


# A quote behind a word closes a quotation, or stands for the `g` of `runnin'`, or for nothing (`dogs'`).
_WITHOUT_CLOSING_QUOTE: Final = re.compile(r"(?<!in)'$")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A set of simple words, in lower case, and what the rules lead to."""

    words: frozenset[str]

    def __contains__(self, word: str) -> bool:
        """Whether a word, in lower case as `words_of` gives it, is simple."""
        return word in self.words or _NUMBER.fullmatch(word) is not None or self._by_rule(word)

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that are not simple, each once, in order of appearance."""
        return list(dict.fromkeys(word for word in words_of(text) if word not in self))

    def known_share(self, text: str) -> float:
        """Simple words of a text, of all its words; 0.0 where it has none."""
        words = words_of(text)
        return sum(word in self for word in words) / len(words) if words else 0.0

    def _by_rule(self, word: str) -> bool:
        if "'" in word:
            return self._contracted(word)
        if self._inflected(word):
            return True
        if _LENGTHENED.search(word) is None:
            return False
        return any(
            shorter in self.words or self._inflected(shorter)
            for shorter in (_LENGTHENED.sub(r"\1\1", word), _LENGTHENED.sub(r"\1", word))
        )

    def _contracted(self, word: str) -> bool:
        base, _, ending = word.rpartition("'")
        if ending == "":  # only `in'` keeps its quote
            return base in self or f"{base}g" in self
        if ending == "t" and base.endswith("n"):
            return base[:-1] in self or base in self  # don't, can't
        return ending in _CONTRACTED and base in self

    def _inflected(self, word: str) -> bool:
        if len(word) >= _MIN_STEM_LETTERS and not word.endswith("s") and f"{word}s" in self.words:
            return True
        return any(len(stem) >= _MIN_STEM_LETTERS and stem in self.words for stem in _stems(word))


def _stems(word: str) -> Iterator[str]:
    """What a word would be an inflection of."""
    if word.endswith("s") and not word.endswith("ss"):
        yield word[:-1]
        if word.endswith("ies"):
            yield f"{word[:-3]}y"
        elif word.endswith("es"):
            yield word[:-2]
    for ending in ("ed", "ing", "er", "est"):
        if not word.endswith(ending):
            continue
        stem = word.removesuffix(ending)
        yield stem
        yield f"{stem}e"
        if stem.endswith("i") and ending != "ing":
            yield f"{stem[:-1]}y"
        if len(stem) > _MIN_STEM_LETTERS and stem[-1] == stem[-2] and stem[-1] not in _VOWELS:
            yield stem[:-1]


def read_words(path: Path) -> frozenset[str]:
    """The words of a file, one or several a line; what follows a `#` is a comment. Raises OSError."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines for word in line.partition("#")[0].split())


@lru_cache(maxsize=1)
def default_vocabulary() -> Vocabulary:
    """The vocabulary that this package brings, read once."""
    return Vocabulary(read_words(FOLDER / STORY_WORDS_FILE) | read_words(FOLDER / INTERNET_WORDS_FILE))


def unknown_words(text: str) -> list[str]:
    """The words of a text that are not simple, each once, in order of appearance."""
    return default_vocabulary().unknown_words(text)


def is_simple(text: str) -> bool:
    """Whether a text has words, and only simple ones."""
    return default_vocabulary().known_share(text) == 1.0
