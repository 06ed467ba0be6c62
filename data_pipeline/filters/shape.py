"""Drops what is not a greentext in canonical form and of a fit length, or says the same line over and over."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_pipeline.stage import Drop
from greentext.text import DEFAULT_LIMITS, Limits, validate
from greentext.vocabulary import words_of

if TYPE_CHECKING:
    from data_pipeline.rows import TextRow


@dataclass(frozen=True, slots=True)
class ShapeFilter:
    """Drops a row under the name of its first problem.

    Names are those of `greentext.text.ProblemName`, and `too_few_words`, `repeated_lines`, `not_words`.
    """

    limits: Limits = DEFAULT_LIMITS
    min_words: int = 8
    max_repeated_share: float = 0.5
    """Of the lines, those that stand in the text before."""
    min_letter_share: float = 0.6
    """Of the characters that are neither white space nor markers."""
    name: str = "shape"

    def judge(self, row: TextRow) -> TextRow | Drop:
        """The row, or what is wrong with its shape."""
        problems = validate(row.text, self.limits)
        if problems:
            first = problems[0]
            place = "" if first.line is None else f"line {first.line}"
            return Drop(first.name.value, row, " ".join(filter(None, (place, first.detail))))
        words = words_of(row.text)
        if len(words) < self.min_words:
            return Drop("too_few_words", row, f"{len(words)} of at least {self.min_words}")
        lines = [" ".join(words_of(line)) for line in row.text.split("\n")]
        repeated = len(lines) - len(Counter(lines))
        if repeated > self.max_repeated_share * len(lines):
            return Drop("repeated_lines", row, f"{repeated} of {len(lines)} lines")
        body = [character for character in row.text if character not in " \n>"]
        letters = sum(character.isalpha() for character in body)
        if letters < self.min_letter_share * len(body):
            return Drop("not_words", row, f"{letters} letters among {len(body)} characters")
        return row
