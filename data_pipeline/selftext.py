r"""Stage `selftext`: of the submissions of `dumps` and `fetch`, those whose text is a greentext (`TextRow` rows).

What is dropped, `data_pipeline.worth` says, and beyond that:

    no_greentext   fewer lines of it than `min_lines`
    mostly_talk    more words around the greentext than in it

Submissions without a text are only counted (`no_text`). Markdown is undone: escapes, links, emphasis, headings, rules.
A text ends before "Edit:" and the like. One that begins with "be me" and has no markers anywhere is taken line by line,
as Reddit hides what its writer did not escape. Length, language and content are for `filters`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pydantic import Field

from data_pipeline.picture_urls import undo_entities
from data_pipeline.rows import Source, Submission, TextRow
from data_pipeline.stage import Drop, Summary
from data_pipeline.worth import Worth, WorthSettings, judge_submissions
from greentext.text import MARKER, normalise

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from data_pipeline.rows import Row

STAGE: Final = "selftext"
VERSION: Final = 1
"""Of the judgement: other versions' folders are not gone on with."""
MAX_UNMARKED_CHARACTERS: Final = 160
"""A longer line shows that a text without markers is prose."""

_INVISIBLE: Final = "\u200b\u200c\u200d\ufeff\u00a0"
_AFTERWORD: Final = re.compile(r"[\s*_]*(?:edit|update|eta|tl;?dr|source)(?:\s*#?\d+)?[\s*_]*(?:[:-]|$)", re.IGNORECASE)
_RULE: Final = re.compile(r"\s*(?:[-*_]\s*){3,}")
# Bounded, for a text may be nothing but brackets.
_LINK: Final = re.compile(
    r"!?\[([^\[\]\n]{0,400})\]\(\s{0,9}<?[^)\s\[\]]{0,2048}>?(?:\s{1,9}\"[^\"\n]{0,400}\")?\s{0,9}\)"
)
_ADDRESS: Final = re.compile(r"https?://\S+")
_EMPHASIS: Final = re.compile(r"(?<![\w*\\])(\*{1,3}|~~|__)(?=\S)([^*~_\n]{1,2000}?)(?<![\s\\])\1(?![\w*])")
_ESCAPE: Final = re.compile(r"\\([\\`*_{}\[\]()#+\-.!>~^|/\"'])")
_BEGINNING: Final = re.compile(r"\W*be (?:me|a |an |\d|in |at |my )", re.IGNORECASE)


class SelftextSettings(WorthSettings):
    """What `selftext` can be told."""

    min_lines: int = Field(default=3, ge=1, description="a greentext has as many lines")
    min_share: float = Field(default=0.5, ge=0.0, le=1.0, description="of the words, how many are in the greentext")
    unmarked: bool = Field(default=True, description='take texts without markers that begin with "be me"')


def run(inputs: Sequence[Path], folder: Path, settings: SelftextSettings, *, restart: bool = False) -> Summary:
    """Makes greentexts of the texts of submissions. Raises StageError."""
    made_from = {"version": VERSION, **settings.judgement()}
    return judge_submissions(STAGE, inputs, folder, made_from, SelftextJudge(settings), restart=restart)


class SelftextJudge:
    """Judges submissions one after another by their texts."""

    def __init__(self, settings: SelftextSettings) -> None:
        self._settings = settings
        self._worth = Worth(settings)

    def __call__(self, submission: Submission) -> Row | Drop | str:
        """The text, or why there is none."""
        if not submission.selftext.strip():
            return "no_text"
        why_not = self._worth.why_not(submission)
        if why_not:
            return Drop(why_not[0], submission, why_not[1])
        plain = plain_text(submission.selftext)
        text = greentext_of(plain, unmarked=self._settings.unmarked)
        lines = text.count("\n") + 1 if text else 0
        if lines < self._settings.min_lines:
            return Drop("no_greentext", submission, f"{lines} lines")
        share = len(text.split()) / len(plain.split())
        if share < self._settings.min_share:
            return Drop("mostly_talk", submission, f"{share:.0%} of the words")
        return TextRow(
            id=f"{Source.REDDIT_TEXT}:{submission.id}", text=text, source=Source.REDDIT_TEXT, origin=submission.id
        )


def plain_text(markdown: str) -> str:
    """A submission's text as Reddit shows it, up to its afterword: a line a line, markers kept."""
    text = undo_entities(markdown).translate(dict.fromkeys(map(ord, _INVISIBLE), " "))
    lines: list[str] = []
    for line in text.splitlines():
        if _AFTERWORD.match(line) and any(lines):
            break
        if not _RULE.fullmatch(line):
            lines.append(_plain_line(line))
    return "\n".join(lines).strip()


def _plain_line(line: str) -> str:
    line = _ADDRESS.sub("", _LINK.sub(r"\1", line))
    for _ in range(3):  # emphasis within emphasis
        line = _EMPHASIS.sub(r"\2", line)
    return _ESCAPE.sub(r"\1", line.strip().lstrip("#")).strip()


def greentext_of(plain: str, *, unmarked: bool) -> str:
    """The greentext in a text, in canonical form; empty where there is none."""
    lines = [line for line in plain.splitlines() if line.strip()]
    if any(line.startswith(MARKER) for line in lines):
        return normalise(plain)
    first = next((number for number, line in enumerate(lines) if _BEGINNING.match(line)), None)
    if not unmarked or first is None or first > 1:
        return ""
    if max(map(len, lines)) > MAX_UNMARKED_CHARACTERS:
        return ""
    return normalise("\n".join(MARKER + line.lstrip("-•*· ") for line in lines[first:]))
