r"""One canonical form of a greentext, and how other forms get there.

The canonical form: lines joined by `\n`, each `>` directly followed by its words; single spaces, none at either end; no
blank lines; plain quotes, dashes and dots; characters composed (Unicode NFC), none invisible.

`parse` is strict: it forgives spelling (`> be me`, `&gt;be me`, blank lines, curly quotes) and raises where a line is
not part of a greentext. `normalise` is lenient: it never raises, and returns what there is of a greentext in any text,
be it a forum post, a scanned page or a model's answer. `validate` names what is wrong with a text as it stands.

    GreentextError (ValueError)
    ├── EmptyTextError            no line holds words
    ├── LineWithoutMarkerError    a line does not begin with `>`
    ├── NestedQuoteError          a line quotes or refers to another post: `>>1234`, `>>be me`
    └── NotCanonicalError         a `Greentext` was built from lines that are not in canonical form

This module knows nothing of content: whether a greentext is wholesome is not asked here.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Final

MARKER: Final = ">"

# Invisible: control characters other than white space and line ends, halves of surrogate pairs, and the characters
# that join, mark direction or tag.
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0001\U000e0020-\U000e007f]"
)

_PLAIN: Final[dict[int, str]] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full-width ASCII
    **dict.fromkeys(map(ord, "‘’‚‛′´`ʻʼ"), "'"),  # noqa: RUF001
    **dict.fromkeys(map(ord, "“”„‟″«»"), '"'),
    **dict.fromkeys(map(ord, "‐‑‒–—―−"), "-"),  # noqa: RUF001
    ord("…"): "...",
}

# What forums and their dumps escape, possibly several times over (`&amp;gt;`). The zero-width space that Reddit's
# editor leaves on empty lines (`&#x200B;`) becomes a space and goes with the others.
_ENTITIES: Final = {
    "gt": ">", "#62": ">", "#x3e": ">",
    "lt": "<", "#60": "<", "#x3c": "<",
    "quot": '"', "#34": '"', "#x22": '"',
    "apos": "'", "#39": "'", "#x27": "'", "#039": "'",
    "nbsp": " ", "#160": " ", "#xa0": " ", "#8203": " ", "#x200b": " ",
}  # fmt: skip
_ENTITY: Final = re.compile(rf"&(?:amp;)*({'|'.join(_ENTITIES)});|&(?:amp;)+", re.IGNORECASE)

# A marker may be escaped as Markdown wants it.
_MARKED: Final = re.compile(r"\\?>(.*)")


class GreentextError(ValueError):
    """A text is not a greentext."""


class EmptyTextError(GreentextError):
    """No line holds words."""


class LineWithoutMarkerError(GreentextError):
    """A line does not begin with `>`."""


class NestedQuoteError(GreentextError):
    """A line quotes another post, or refers to one."""


class NotCanonicalError(GreentextError):
    """A `Greentext` was built from lines that are not in canonical form."""


@dataclass(frozen=True, slots=True)
class Greentext:
    r"""A greentext in canonical form: its lines, without their markers. `str()` is the text.

    Every instance is canonical: `parse(str(greentext)) == greentext`.

    Raises:
        EmptyTextError: There is no line.
        NotCanonicalError: A line is not in canonical form; `parse` takes any.
    """

    lines: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.lines:
            raise EmptyTextError("a greentext has at least one line")
        for line in self.lines:
            text = MARKER + line
            if normalise(text) != text:
                raise NotCanonicalError(f"not a canonical line: {line!r}")

    def __str__(self) -> str:
        return "\n".join(MARKER + line for line in self.lines)


class _Kind(Enum):
    """What a line of any text is to a greentext."""

    MARKED = "marked"
    QUOTE = "quote"
    BARE = "bare"
    BLANK = "blank"


def _plain(text: str) -> str:
    """The text in plain, composed, visible characters. Line ends are kept, whichever they are."""
    # Composing comes first because it also replaces characters by plainer ones (U+037E by `;`), and again last because
    # `>` may now stand before a mark that it composes with.
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text)).translate(_PLAIN)
    text = _ENTITY.sub(lambda match: _ENTITIES[match[1].lower()] if match[1] else "&", text)
    return unicodedata.normalize("NFC", text)


def _words(line: str) -> str:
    """The line with single spaces, and beginning with a character of its own.

    A combining mark at its head would attach itself to the marker (`>` and U+0338 are one character, `≯`).
    """
    line = " ".join(line.split())
    start = 0
    while start < len(line) and (line[start] == " " or unicodedata.category(line[start]).startswith("M")):
        start += 1
    return line[start:]


def _classify(line: str) -> tuple[_Kind, str]:
    """What a plain line is, and its words. A marker with nothing behind it is a blank line."""
    line = line.strip()
    marked = _MARKED.fullmatch(line)
    words = _words(marked[1] if marked else line)
    if not words:
        return _Kind.BLANK, ""
    if not marked:
        return _Kind.BARE, words
    return (_Kind.QUOTE if words.startswith(MARKER) else _Kind.MARKED), words


def parse(text: str) -> Greentext:
    """The greentext that a text spells, all of it.

    Raises:
        EmptyTextError: No line holds words.
        LineWithoutMarkerError: A line with words does not begin with `>`.
        NestedQuoteError: A line begins with more than one `>`.
    """
    lines = []
    for number, line in enumerate(_plain(text).splitlines(), start=1):
        kind, words = _classify(line)
        if kind is _Kind.BARE:
            raise LineWithoutMarkerError(f"line {number} does not begin with '>'")
        if kind is _Kind.QUOTE:
            raise NestedQuoteError(f"line {number} quotes another post")
        if kind is _Kind.MARKED:
            lines.append(words)
    if not lines:
        raise EmptyTextError("no line holds words")
    return Greentext(tuple(lines))


def normalise(text: str) -> str:
    """What there is of a greentext in a text, in canonical form; empty where there is nothing. Never raises.

    A line without a marker directly below a line of the greentext continues it: pages break long lines. Anywhere else
    it is talk around the greentext, and dropped; so are lines that quote or refer to other posts (`>>1234`). Applying
    it twice changes nothing.
    """
    lines: list[str] = []
    above = _Kind.BLANK
    for line in _plain(text).splitlines():
        kind, words = _classify(line)
        if kind is _Kind.MARKED:
            lines.append(words)
        elif kind is _Kind.BARE and above is _Kind.MARKED:
            lines[-1] = f"{lines[-1]} {words}"
            continue  # and what follows may continue it further
        above = kind
    return "\n".join(MARKER + line for line in lines)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a greentext may be. The defaults hold for what is worth learning from, and worth showing."""

    min_lines: int = 3
    max_lines: int = 30
    max_line_characters: int = 240
    max_text_characters: int = 2000


class ProblemName(StrEnum):
    """What may be wrong with a text, by name: rejections are counted under it."""

    TOO_FEW_LINES = "too_few_lines"
    TOO_MANY_LINES = "too_many_lines"
    TEXT_TOO_LONG = "text_too_long"
    LINE_TOO_LONG = "line_too_long"
    EMPTY_LINE = "empty_line"
    LINE_WITHOUT_MARKER = "line_without_marker"
    NESTED_QUOTE = "nested_quote"
    CONTROL_CHARACTER = "control_character"
    NOT_CANONICAL = "not_canonical"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a text, and in which line (from 1), where it has one."""

    name: ProblemName
    line: int | None = None
    detail: str = field(default="", compare=False)


DEFAULT_LIMITS: Final = Limits()

_KIND_PROBLEMS: Final = {
    _Kind.BLANK: ProblemName.EMPTY_LINE,
    _Kind.BARE: ProblemName.LINE_WITHOUT_MARKER,
    _Kind.QUOTE: ProblemName.NESTED_QUOTE,
}


def validate(text: str, limits: Limits = DEFAULT_LIMITS) -> list[Problem]:
    r"""Everything wrong with a text as it stands, in its order; an empty list for a canonical text within limits.

    Lines are split at `\n` only, and each is judged by itself: nothing is joined or dropped. `NOT_CANONICAL` is named
    for a line that has no other problem and yet would be spelled differently.
    """
    lines = text.split("\n") if text else []
    problems = []
    if len(lines) < limits.min_lines:
        problems.append(Problem(ProblemName.TOO_FEW_LINES, detail=f"{len(lines)} of at least {limits.min_lines}"))
    if len(lines) > limits.max_lines:
        problems.append(Problem(ProblemName.TOO_MANY_LINES, detail=f"{len(lines)} of at most {limits.max_lines}"))
    if len(text) > limits.max_text_characters:
        detail = f"{len(text)} characters of at most {limits.max_text_characters}"
        problems.append(Problem(ProblemName.TEXT_TOO_LONG, detail=detail))
    for number, line in enumerate(lines, start=1):
        problems += _line_problems(line, number, limits)
    return problems


def _line_problems(line: str, number: int, limits: Limits) -> list[Problem]:
    problems = []
    if len(line) > limits.max_line_characters:
        detail = f"{len(line)} characters of at most {limits.max_line_characters}"
        problems.append(Problem(ProblemName.LINE_TOO_LONG, number, detail))
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in line):
        problems.append(Problem(ProblemName.CONTROL_CHARACTER, number))
    kind, words = _classify(_plain(line))
    if kind is not _Kind.MARKED:
        problems.append(Problem(_KIND_PROBLEMS[kind], number))
    if not problems and line != MARKER + words:
        problems.append(Problem(ProblemName.NOT_CANONICAL, number, f"write {MARKER + words!r}"))
    return problems


def is_greentext(text: str, limits: Limits = DEFAULT_LIMITS) -> bool:
    """Whether a text, in whatever spelling, is one greentext from its first to its last line, within limits."""
    try:
        greentext = parse(text)
    except GreentextError:
        return False
    return not validate(str(greentext), limits)
