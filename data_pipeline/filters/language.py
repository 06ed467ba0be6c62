"""Drops what is not English, and what a scanner made of it.

English is what consists of words that children's stories and the internet use: about nine in ten words of an English
greentext are in `greentext.vocabulary`, at most three in ten of a text in another language that is written in Latin
letters. Measured: docs/content-filter.md, "Language". Which language another one is, is not asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_pipeline.stage import Drop
from greentext.vocabulary import default_vocabulary

if TYPE_CHECKING:
    from data_pipeline.rows import TextRow


@dataclass(frozen=True, slots=True)
class LanguageFilter:
    """Drops a row as `not_english`."""

    min_known_share: float = 0.6
    name: str = "language"

    def judge(self, row: TextRow) -> TextRow | Drop:
        """The row, or how much of it is known."""
        share = default_vocabulary().known_share(row.text)
        if share < self.min_known_share:
            return Drop("not_english", row, f"{share:.0%} of its words are known")
        return row
