"""Holds texts that are called simple to simple words, by `greentext.vocabulary`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from data_pipeline.stage import Drop
from greentext.vocabulary import unknown_words

if TYPE_CHECKING:
    from data_pipeline.rows import TextRow

SHOWN_WORDS: Final = 8


@dataclass(frozen=True, slots=True)
class VocabularyFilter:
    """Looks at rows of kind `simple`, or at all; a row with words that are not simple becomes `full`, or is dropped."""

    rows: Literal["simple", "all"] = "simple"
    misfits: Literal["relabel", "drop"] = "relabel"
    """What becomes of a row that was to be simple and is not. Rows of other kinds are always dropped."""
    name: str = "vocabulary"

    def judge(self, row: TextRow) -> TextRow | Drop:
        """The row, as `full` if need be, or which words are not simple."""
        if self.rows == "simple" and row.kind != "simple":
            return row
        unknown = unknown_words(row.text)
        if not unknown:
            return row
        if self.rows == "simple" and self.misfits == "relabel":
            return row.model_copy(update={"kind": "full"})
        return Drop("not_simple", row, " ".join(unknown[:SHOWN_WORDS]))
