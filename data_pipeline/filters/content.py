"""Drops what is not wholesome, by `greentext.content`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from data_pipeline.stage import Drop
from greentext.content import ALL_CATEGORIES, Category, judge

if TYPE_CHECKING:
    from data_pipeline.rows import TextRow

SHOWN_FINDINGS: Final = 3


@dataclass(frozen=True, slots=True)
class ContentFilter:
    """Drops a row under the category of its gravest finding: `content_slur`, `content_violent` and so on."""

    categories: frozenset[Category] = ALL_CATEGORIES
    """What is refused."""
    name: str = "content"

    def judge(self, row: TextRow) -> TextRow | Drop:
        """The row, or what was found in it."""
        findings = [finding for finding in judge(row.text) if finding.category in self.categories]
        if not findings:
            return row
        gravest = min((finding.category for finding in findings), key=list(Category).index)
        shown = "; ".join(
            f"line {finding.line}: {finding.category} ({finding.judge} {finding.score:.2f}): {finding.words}"
            for finding in findings[:SHOWN_FINDINGS]
        )
        return Drop(f"content_{gravest}", row, shown)
