"""What is known of a text by itself: computed once, when the text comes in or changes, and stored beside it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from greentext.genres import classify
from greentext.text import GreentextError, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

EXCERPT_LINES: Final = 3
EXCERPT_LINE_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Judgement:
    """A text's own properties."""

    excerpt: str
    lines: int
    warnings: tuple[str, ...]
    """Categories of `greentext.content`, each once, in the order of the lines."""
    warning_details: tuple[dict[str, Any], ...]
    """`{category, line, words}` each."""
    unknown_words: tuple[str, ...]
    problem_details: tuple[dict[str, Any], ...]
    """`{line, message}` each: what `greentext.text.parse` would refuse."""
    genre: str


@lru_cache(maxsize=2048)
def judge(text: str) -> Judgement:
    """Judges a text, in a millisecond or two. Never raises."""
    # Read word lists and weights: not before the first text, so that a server listens at once.
    from greentext import content  # noqa: PLC0415
    from greentext.vocabulary import unknown_words  # noqa: PLC0415

    lines = text.split("\n")
    findings = content.judge(text)
    return Judgement(
        excerpt="\n".join(line[:EXCERPT_LINE_CHARACTERS] for line in lines[:EXCERPT_LINES]),
        lines=len(lines) if text else 0,
        warnings=tuple(dict.fromkeys(str(finding.category) for finding in findings)),
        warning_details=tuple(
            {"category": str(finding.category), "line": finding.line, "words": finding.words} for finding in findings
        ),
        unknown_words=tuple(unknown_words(text)),
        problem_details=tuple(problems_of(text)),
        genre=str(classify(text)),
    )


def problems_of(text: str) -> list[dict[str, Any]]:
    """What `parse` would refuse, by line from 1; an empty list for what can be accepted."""
    problems: list[dict[str, Any]] = []
    words = False
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            parse(line)
            words = True
        except GreentextError as error:
            message = str(error).removeprefix("line 1 ")
            if message != _EMPTY:
                words = True
                problems.append({"line": number, "message": message})
    if not words:
        problems.append({"line": 1, "message": "there is no text"})
    return problems


_EMPTY: Final = "no line holds words"


def canonical(text: str) -> str:
    """The text as it is accepted. Raises GreentextError, and then `problems_of` names at least one."""
    return str(parse(text))


def aligned_confidences(imported_text: str, confidences: Sequence[float], text: str) -> list[float]:
    """How sure it is that each line is what the screenshot says.

    Lines that still are as they were read keep what OCR said; of lines that somebody wrote, it is certain. Empty where
    OCR said nothing.
    """
    before = imported_text.split("\n")
    if len(before) != len(confidences):
        return []
    was = _lines_that_stand(before, text.split("\n"))
    return [1.0 if line is None else confidences[line] for line in was]


def standing_words(imported_text: str, words: Sequence[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Of the words that OCR was unsure of, those in lines that still are as they were read, by the lines of now."""
    if not words:
        return []
    was = _lines_that_stand(imported_text.split("\n"), text.split("\n"))
    now = {line + 1: number for number, line in enumerate(was, start=1) if line is not None}
    return [word | {"line": now[word["line"]]} for word in words if word["line"] in now]


def _lines_that_stand(before: Sequence[str], after: Sequence[str]) -> list[int | None]:
    """For each line of now the place of the same line before; None for one that somebody wrote."""
    result: list[int | None] = [None] * len(after)
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    for start_before, start_after, size in matcher.get_matching_blocks():
        result[start_after : start_after + size] = range(start_before, start_before + size)
    return result
