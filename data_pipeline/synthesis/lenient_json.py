r"""JSON as language models write it: what is whole in it, and what had to be forgiven.

Forgiven are text around the JSON, single and typographic quotes, quotes and line ends inside strings that nobody
escaped, missing and trailing commas, Python's `None`, `True` and `False`, and an end that is missing. A string that
does not end is never returned: nobody knows how it went on.

`read` never raises and takes time linear in the text. What the values mean is not asked here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH: Final = 32
"""No answer nests deeper; what does is read up to there."""

_CLOSING: Final = {'"': '"', "'": "'", "“": "”", "‘": "’"}  # noqa: RUF001
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_BARE_WORD: Final = re.compile(r"[^\s,:\[\]{}\"“]+")
_NOT_SPACE: Final = re.compile(r"\S|\Z")
_CONSTANTS: Final = {"null": None, "None": None, "true": True, "True": True, "false": False, "False": False}
_AFTER_COMMA: Final = re.compile(r"[\"'“‘\[\]{}\d-]|null|None|true|True|false|False|\Z")  # noqa: RUF001


@dataclass(slots=True)
class Loose:
    """What was read."""

    value: Any = None
    """Dicts with string keys, lists, strings, numbers, booleans, None."""
    repairs: set[str] = field(default_factory=set)
    """Names of what had to be forgiven."""
    tail: str = ""
    """The beginning of a string that does not end."""


@dataclass(slots=True)
class _Frame:
    bracket: str
    values: list[Any] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    key: str | None = None

    def add(self, value: Any) -> None:
        self.keys.append(self.key if self.key is not None else str(len(self.values)))
        self.values.append(value)
        self.key = None

    def last_is_key(self) -> bool:
        """A colon says that the value before it was a key."""
        if self.bracket != "{" or not self.values or self.key is not None:
            return False
        self.key = str(self.values.pop())
        self.keys.pop()
        return True

    def built(self) -> Any:
        return self.values if self.bracket == "[" else dict(zip(self.keys, self.values, strict=True))


def read(text: str) -> Loose:
    """The first JSON object or array in a text, or the list of those that follow each other directly.

    A value of None where there is none.
    """
    start = next((match.start() for match in re.finditer(r"[\[{]", text)), len(text))
    loose = Loose()
    found: list[Any] = []
    stack: list[_Frame] = []
    position = start
    while (position := _NOT_SPACE.search(text, position).start()) < len(text):  # type: ignore[union-attr]
        if not stack and text[position] not in ",[{":
            loose.repairs.add("text_around")
            break
        position = _step(text, position, stack, found, loose)
    if stack:
        loose.repairs.add("cut_off")
    while stack:
        _close(stack, found)
    if found and text[:start].strip():
        loose.repairs.add("text_around")
    loose.value = found[0] if len(found) == 1 else (found or None)
    return loose


def _step(text: str, position: int, stack: list[_Frame], found: list[Any], loose: Loose) -> int:
    """Takes in what is at `position`, and says where it ends."""
    character = text[position]
    if character in "[{" and len(stack) < MAX_DEPTH:
        stack.append(_Frame(character))
    elif character in "]}":
        if "[{"["]}".index(character)] != stack[-1].bracket:
            loose.repairs.add("brackets")
        _close(stack, found)
    elif character == ":":
        if not stack[-1].last_is_key():
            loose.repairs.add("punctuation")
    elif character not in ",[{":  # brackets that are left here nest too deep
        return _scalar(text, position, stack[-1], loose)
    return position + 1


def _close(stack: list[_Frame], found: list[Any]) -> None:
    """The innermost is whole."""
    value = stack.pop().built()
    if stack:
        stack[-1].add(value)
    else:
        found.append(value)


def _scalar(text: str, position: int, frame: _Frame, loose: Loose) -> int:
    """Reads a string or a word, and says where it ends."""
    quote = text[position]
    if quote in _CLOSING:
        if quote != '"':
            loose.repairs.add("quotes")
        end, value = _string(text, position, frame, loose)
        if value is None:
            loose.tail = text[position + 1 :]
        else:
            frame.add(value)
        return end
    match = _BARE_WORD.match(text, position)
    if match is None:
        return position + 1
    word = match[0]
    if word in _CONSTANTS:
        frame.add(_CONSTANTS[word])
    else:
        try:
            frame.add(int(word) if word.isascii() and len(word) < 20 else word)
        except ValueError:
            loose.repairs.add("bare_words")
            frame.add(word)
    return match.end()


def _string(text: str, start: int, frame: _Frame, loose: Loose) -> tuple[int, str | None]:
    """The string that begins at `start`, and where it ends; None where it does not end."""
    closing = _CLOSING[text[start]]
    parts: list[str] = []
    for position, character in _characters(text, start + 1, parts):
        if character == closing:
            if _ends_here(text, position + 1, frame):
                return position + 1, _joined(parts)
            loose.repairs.add("quotes")
        elif character == "\n":
            loose.repairs.add("line_ends")
        parts.append(character)
    return len(text), None


def _joined(parts: list[str]) -> str:
    """Halves of surrogate pairs, which JSON escapes one by one, become the characters that they spell."""
    return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _characters(text: str, position: int, parts: list[str]) -> Iterator[tuple[int, str]]:
    """Characters with their places; what a backslash stands before goes to `parts` at once."""
    while position < len(text):
        character = text[position]
        if character != "\\":
            yield position, character
            position += 1
            continue
        escaped = text[position + 1 : position + 2]
        hexadecimal = text[position + 2 : position + 6]
        if escaped == "u" and re.fullmatch(r"[0-9a-fA-F]{4}", hexadecimal):
            parts.append(chr(int(hexadecimal, 16)))
            position += 6
        else:
            parts.append(_ESCAPES.get(escaped, escaped))
            position += 2


def _ends_here(text: str, position: int, frame: _Frame) -> bool:
    """Whether a quote before `position` ends its string: what follows must go on as JSON would."""
    following = _NOT_SPACE.search(text, position)
    where = following.start()  # type: ignore[union-attr] # the pattern matches the end, too
    character = text[where : where + 1]
    if character == ",":
        after = _NOT_SPACE.search(text, where + 1)
        return bool(_AFTER_COMMA.match(text, after.start()))  # type: ignore[union-attr]
    if character == ":":
        return frame.bracket == "{" and frame.key is None
    if character in _CLOSING:  # a comma is missing
        return "\n" in text[position:where]
    return character in ("", "]", "}")
