"""Finds words and phrases of a list in a line, however they are disguised.

The list is `data/content_terms.txt`; its head says how entries are written. A word matches as a whole, never within
another (no Scunthorpe problem), unless its entry says so with a `*`. Seen through: capitals, accents, look-alike
letters of other scripts, full-width letters, `fuuuck`, `f u c k`, `f.u.c.k`, `f**k`, `5h1t`.

What the list calls harmless is masked: nobody looks at those words again. Meaning is not asked here.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

TERMS_FILE: Final = Path(__file__).parent / "data" / "content_terms.txt"
HARMLESS: Final = "harmless"
MACROS: Final = "macros"
GAP: Final = ".."
MAX_GAP_WORDS: Final = 3
MASK: Final = ""
"""Stands where harmless words stood, so that what was apart stays apart."""

# Cyrillic and Greek letters that look like Latin ones; NFKD has parted accents and narrowed full-width letters before.
_LOOK_ALIKE: Final = str.maketrans("абвгеёзіјкмнопрсстухѕωαβεικνορτυχ", "abbreesijkmhonpcctyxswabeiknoptux")
_APOSTROPHES: Final = dict.fromkeys(map(ord, "'’‘`´ʼ"))  # noqa: RUF001
_DIGITS: Final = str.maketrans("013457@$!|+", "oieastasiit")
_WORD: Final = re.compile(r"[^\W_]+")
_ODD: Final = re.compile(
    r"[^a-z0-9 >,.?\"():;/-]|[a-z][013457]|[013457][a-z]|(?<![a-z0-9])[a-z][ .*_-][a-z](?![a-z0-9])"
)
_SPACED: Final = re.compile(r"(?<![^\W_])[^\W\d_](?:[ .*_-][^\W\d_]){2,}(?![^\W_])")
_STARRED: Final = re.compile(r"(?<![\w*])(?:[a-z]+\*+[a-z]+|[a-z]\*{2,})(?![\w*])")
_LEET: Final = re.compile(r"(?<![\w@$!|+])[\w@$!|+]*[a-z][\w@$!|+]*(?<![!|+_])")
_LENGTHENED: Final = re.compile(r"(.)\1{2,}")


@dataclass(frozen=True, slots=True)
class Line:
    """A line as the filters read it."""

    words: list[str]
    """In lower case, without apostrophes; `MASK` where they are harmless."""
    found: list[tuple[str, str]]
    """Section and words of each entry found, each once."""


class _Part:
    """One word of a phrase: any of several, or any that begins like one of several."""

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, spellings: Iterable[str]) -> None:
        self._exact = frozenset(word for word in spellings if not word.endswith("*"))
        self._prefixes = tuple(word[:-1] for word in spellings if word.endswith("*"))

    def matches(self, word: str) -> bool:
        return word in self._exact or word.startswith(self._prefixes)


class Terms:
    """A list of words and phrases by section, as `data/content_terms.txt` holds it.

    Raises:
        ValueError: An entry names a macro that there is not, or is a phrase that begins with a `*`.
    """

    def __init__(self, sections: Mapping[str, Iterable[str]]) -> None:
        self._macros: dict[str, tuple[str, ...]] = {}
        for entry in sections.get(MACROS, ()):
            name, _, words = entry.partition("=")
            self._macros[name.strip()] = (*self._macros.get(name.strip(), ()), *words.split())
        self._exact: dict[str, set[str]] = {}
        self._prefixes: dict[str, set[str]] = {}
        self._suffixes: dict[str, set[str]] = {}
        self._phrases: dict[str, dict[str | None, list[tuple[str, tuple[_Part | None, ...]]]]] = {}
        """By first word, then by second (None where that may be many): section, and the parts behind the first."""
        for section, entries in sections.items():
            if section != MACROS:
                for entry in entries:
                    self._add(section, entry.translate(_APOSTROPHES).lower().split())
        self._prefix_lengths = sorted({len(prefix) for prefix in self._prefixes})
        self._suffix_lengths = sorted({len(suffix) for suffix in self._suffixes})
        self._sections_of = lru_cache(maxsize=1 << 15)(self._look_up)

    def _add(self, section: str, words: list[str]) -> None:
        if len(words) > 1:
            if "*" in words[0]:
                raise ValueError(f"spell out the first word of {' '.join(words)!r}: phrases are looked up by it")
            rest = tuple(self._part(word) for word in words[1:])
            plain = words[1] != GAP and "*" not in words[1]
            for first in self._spellings(words[0]):
                by_second = self._phrases.setdefault(first, {})
                for second in self._spellings(words[1]) if plain else (None,):
                    by_second.setdefault(second, []).append((section, rest))
            return
        for word in self._spellings(words[0]):
            if word.endswith("*"):
                self._prefixes.setdefault(word[:-1], set()).add(section)
            elif word.startswith("*"):
                self._suffixes.setdefault(word[1:], set()).add(section)
            else:
                self._exact.setdefault(word, set()).add(section)

    def _spellings(self, word: str) -> tuple[str, ...]:
        if not word.startswith("{"):
            return (word,)
        if word not in self._macros:
            raise ValueError(f"there is no macro {word}")
        return self._macros[word]

    def _part(self, word: str) -> _Part | None:
        return None if word == GAP else _Part(self._spellings(word))

    def read(self, line: str) -> Line:
        """What is found in a line, and its words."""
        plain = _plain(line)
        words = _WORD.findall(plain)
        masked = [False] * len(words)
        phrases: list[tuple[str, int, int]] = []
        singles: list[tuple[str, int]] = []
        for start, word in enumerate(words):
            for section in self._sections_of(word):
                if section == HARMLESS:
                    masked[start] = True
                else:
                    singles.append((section, start))
            by_second = self._phrases.get(word)
            if by_second is None or start + 1 == len(words):
                continue
            for section, rest in (*by_second.get(words[start + 1], ()), *by_second.get(None, ())):
                end = _end_of(words, start + 1, rest)
                if not end:
                    continue
                if section == HARMLESS:
                    masked[start:end] = [True] * (end - start)
                else:
                    phrases.append((section, start, end))
        found = [(section, " ".join(words[at:end])) for section, at, end in phrases if not all(masked[at:end])]
        found += [(section, words[at]) for section, at in singles if not masked[at]]
        if _ODD.search(plain):
            found += self._disguised(plain)
        return Line([MASK if masked[at] else word for at, word in enumerate(words)], list(dict.fromkeys(found)))

    def _look_up(self, word: str) -> frozenset[str]:
        """The sections of a word, spelled plainly or lengthened."""
        spellings = [word]
        if _LENGTHENED.search(word):
            spellings += [_LENGTHENED.sub(r"\1\1", word), _LENGTHENED.sub(r"\1", word)]
        found: set[str] = set()
        for spelling in spellings:
            found |= self._exact.get(spelling, set())
            found |= self._begun(spelling)
            for length in self._suffix_lengths:
                found |= self._suffixes.get(spelling[-length:], set())
        return frozenset((HARMLESS,)) if HARMLESS in found else frozenset(found)

    def _begun(self, word: str) -> set[str]:
        found: set[str] = set()
        for length in self._prefix_lengths:
            found |= self._prefixes.get(word[:length], set())
        return found

    def _disguised(self, plain: str) -> Iterator[tuple[str, str]]:
        """Sections and spelling of what somebody took pains to hide."""
        for match in _SPACED.finditer(plain):
            joined = re.sub(r"[^a-z]", "", match[0])
            yield from ((section, joined) for section in self._exact.get(joined, set()) | self._begun(joined))
        for match in _STARRED.finditer(plain):
            pattern = re.compile(match[0].replace("*", "[a-z]"))
            sections = (
                section
                for table in (self._exact, self._prefixes, self._suffixes)
                for word, sections in table.items()
                if pattern.fullmatch(word)
                for section in sections
            )
            meant = sorted(set(sections) - {HARMLESS})
            # Stars that may stand for several words stand for a swear word.
            yield from ((section, match[0]) for section in (["profanity"] if "profanity" in meant else meant))
        for match in _LEET.finditer(plain):
            spelled = match[0].translate(_DIGITS)
            if spelled != match[0]:
                yield from ((section, spelled) for section in self._sections_of(spelled) if section != HARMLESS)


def _plain(line: str) -> str:
    line = line.lower()
    if not line.isascii():
        parted = unicodedata.normalize("NFKD", line.translate(_APOSTROPHES))
        line = "".join(character for character in parted if not unicodedata.combining(character))
        line = line.translate(_LOOK_ALIKE)
    return line.replace("'", "")


def _end_of(words: Sequence[str], start: int, parts: Sequence[_Part | None]) -> int:
    """Where a phrase ends that goes on at `start`; 0 where it does not. None among its parts is a gap."""
    for number, part in enumerate(parts):
        if part is None:
            rest = parts[number + 1 :]
            ends = (_end_of(words, start + gap, rest) for gap in range(MAX_GAP_WORDS + 1))
            return next(filter(None, ends), 0)
        if start >= len(words) or not part.matches(words[start]):
            return 0
        start += 1
    return start


def read_sections(lines: Sequence[str]) -> dict[str, list[str]]:
    """The entries of each `[section]`, parted by commas; what follows a `#` is a comment.

    Raises:
        ValueError: An entry stands before the first section.
    """
    sections: dict[str, list[str]] = {}
    entries: list[str] | None = None
    for line in lines:
        content = line.partition("#")[0].strip()
        if content.startswith("["):
            entries = sections.setdefault(content.strip("[]"), [])
        elif content and entries is None:
            raise ValueError(f"{content!r} stands in no section")
        elif entries is not None:
            entries += [entry for part in content.split(",") if (entry := part.strip())]
    return sections


@lru_cache(maxsize=1)
def default_terms() -> Terms:
    """The list that this package brings, read once."""
    return Terms(dict(read_sections(TERMS_FILE.read_text(encoding="utf-8").splitlines())))
