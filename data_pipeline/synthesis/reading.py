r"""What greentexts a model's answer holds, whatever became of its form on the way.

Asked for `{"greentexts": [">be me\n>...", ...]}`, models send that, or dicts of numbered texts, lists of lines, Python
literals, code fences, numbered prose, and answers that end in the middle. What is whole is kept; each thing that had to
be mended is named in `Reading.repairs`, and each piece that is no greentext is set aside in `Reading.rejected`.

Whether a text is good, long enough or wholesome is for the filters to say.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from data_pipeline.synthesis import lenient_json
from greentext.text import MARKER, normalise

MAX_CHARACTERS: Final = 200_000
"""Of an answer that are read: many times what any bound on tokens allows."""

_FENCE: Final = "```"
_LANGUAGE: Final = re.compile(r"[\w-]*[ \t]*\n?")
_TEXT_KEYS: Final = ("lines", "text", "greentext", "story", "content")
"""Where an object that stands for one greentext keeps it."""
_BRACKET: Final = re.compile(r"[\[{]")
_MARKED_LINE: Final = re.compile(r"^[ \t]*\\?>", re.MULTILINE)
_INLINE: Final = re.compile(r"(?<=\s)(?=>[^\s>])")
_BE: Final = re.compile(r"^(>)(?:Be|BE)\b", re.MULTILINE)
_MAX_HEADING_CHARACTERS: Final = 40
_HEADING: Final = re.compile(
    r"^\s*(?:[#*_\s]*(?:greentext|story|text)?\s*#?\d+\s*[.):*_]*|[-*_=]{3,})\s*$", re.IGNORECASE
)
_NUMBERED: Final = re.compile(r"^\s*\d+\s*[.)]\s*(?=>)")


@dataclass(slots=True)
class Reading:
    """What an answer holds."""

    texts: list[str] = field(default_factory=list)
    """Canonical greentexts (`greentext.text`), in their order."""
    rejected: list[tuple[str, str]] = field(default_factory=list)
    """Reason and raw text of each piece that is none: `cut_off`, `not_a_greentext`."""
    repairs: Counter[str] = field(default_factory=Counter)
    """What had to be mended, by name; of a whole answer once, of texts once for each."""


def read_answer(content: str, *, complete: bool = True) -> Reading:
    """The greentexts in an answer's content; `complete` is False where the server says that it was cut off.

    Never raises, and invents nothing: every word of a text is in the answer.
    """
    reading = Reading()
    if len(content) > MAX_CHARACTERS:
        content, complete = content[:MAX_CHARACTERS], False
    body = content.strip().removeprefix("\ufeff")
    if body.startswith(_FENCE):
        body = body[_LANGUAGE.match(body, len(_FENCE)).end() :]  # type: ignore[union-attr]
        body = body.rpartition(_FENCE)[0] or body
        reading.repairs["code_fence"] += 1
    bracket, marker = _BRACKET.search(body), _MARKED_LINE.search(body)
    if bracket and not (marker and marker.start() < bracket.start()):
        from_json = _from_json(body)
        if from_json.texts or not marker:
            return _added(reading, from_json)
    return _added(reading, _from_prose(body, complete=complete))


def _added(before: Reading, after: Reading) -> Reading:
    return Reading(after.texts, after.rejected, before.repairs + after.repairs)


def _from_json(body: str) -> Reading:
    """The texts in JSON, strict or loose."""
    reading = Reading()
    try:
        pieces = _pieces(json.loads(body, parse_constant=str))
    except (ValueError, RecursionError):
        loose = lenient_json.read(body)
        pieces = _pieces(loose.value)
        reading.repairs.update(loose.repairs)
        if loose.tail:
            reading.rejected.append(("cut_off", loose.tail))
    for piece in pieces:
        _take(piece, reading)
    return reading


def _pieces(value: Any) -> list[str]:
    """The strings that stand for one text each, in order."""
    pieces: list[str] = []
    stack: list[tuple[Any, int]] = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, str):
            inner = _inner_json(item) if depth == 0 or item.lstrip()[:1] in ("{", "[") else None
            if inner is None:
                pieces.append(item)
            else:
                stack.append((inner, depth + 1))
        elif depth > lenient_json.MAX_DEPTH:
            continue
        elif isinstance(item, dict):
            key = next((key for key in _TEXT_KEYS if key in item), None)
            members = list(item.values()) if key is None else [item[key]]
            stack.extend((member, depth + 1) for member in reversed(_lines_joined(members)))
        elif isinstance(item, list):
            stack.extend((member, depth + 1) for member in reversed(_lines_joined(item)))
    return [piece for piece in pieces if piece.strip()]


def _inner_json(text: str) -> Any:
    """What a string that is itself JSON holds; None for any other."""
    try:
        value = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _lines_joined(members: list[Any]) -> list[Any]:
    """Single lines beside each other are one text; anything else is as many as there are."""
    if len(members) < 2 or not all(isinstance(member, str) for member in members):
        return members
    if any("\n" in member.strip() or "\\n" in member or len(_INLINE.findall(member)) > 1 for member in members):
        return members
    return ["\n".join(members)]


def _take(piece: str, reading: Reading) -> None:
    """One text of the answer, mended."""
    text = piece.strip()
    if "\n" not in text and "\\n" in text:
        text = text.replace("\\n", "\n")
        reading.repairs["escaped_line_ends"] += 1
    if "\n" not in text and len(_INLINE.findall(text)) > 1:
        text = _INLINE.sub("\n", text)
        reading.repairs["one_line"] += 1
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    lines = [_NUMBERED.sub("", line) for line in lines if not _is_heading(line)]
    if len(lines) > 1 and not lines[0].startswith(MARKER) and lines[0].endswith(":"):
        lines = lines[1:]
    # In a text by itself every line belongs to it; `normalise` would take a line without a marker for the rest of the
    # line before.
    bare = sum(not line.startswith((MARKER, "\\>", "&gt;", "\uff1e")) for line in lines)
    if bare and len(lines) > 1:
        lines = [line if line.startswith((MARKER, "\\>", "&gt;", "\uff1e")) else MARKER + line for line in lines]
        reading.repairs["markers"] += 1
    _keep("\n".join(lines), piece, reading)


def _is_heading(line: str) -> bool:
    return len(line) <= _MAX_HEADING_CHARACTERS and _HEADING.match(line) is not None


def _keep(text: str, raw: str, reading: Reading) -> None:
    text = normalise(text)
    if "\n" not in text:  # one line tells no story, and is more likely a title or a remark
        reading.rejected.append(("not_a_greentext", raw))
        return
    in_lower_case = _BE.sub(r"\1be", text)
    if in_lower_case != text:
        reading.repairs["be_case"] += 1
    reading.texts.append(in_lower_case)


def _from_prose(body: str, *, complete: bool) -> Reading:
    """Greentexts that stand between blank lines, headings and talk."""
    reading = Reading()
    blocks: list[list[str]] = [[]]
    for line in body.split("\n"):
        line = line.strip()  # noqa: PLW2901
        stripped = _NUMBERED.sub("", line).strip()
        if not stripped or _is_heading(line):
            blocks.append([])
            continue
        if stripped != line and blocks[-1]:
            blocks.append([])
        blocks[-1].append(stripped)
    blocks = [block for block in blocks if any(line.startswith(MARKER) for line in block)]
    if not blocks:
        return reading
    reading.repairs["prose"] += 1
    if not complete:
        reading.rejected.append(("cut_off", "\n".join(blocks.pop())))
    if len(blocks) > 1 and all(len(block) == 1 for block in blocks):  # a blank line between any two lines
        blocks = [[line for block in blocks for line in block]]
    for block in blocks:
        text = "\n".join(block)
        _keep(text, text, reading)
    return reading
