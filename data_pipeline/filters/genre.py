"""Writes a text's genre into its row, and holds texts that were to thank somebody to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from data_pipeline.stage import Drop
from greentext.genres import Genre, classify

if TYPE_CHECKING:
    from data_pipeline.rows import TextRow


@dataclass(frozen=True, slots=True)
class GenreFilter:
    """Every row gets its genre; one of kind `thanks` that thanks nobody becomes `full`, or is dropped."""

    misfits: Literal["relabel", "drop"] = "relabel"
    name: str = "genre"

    def judge(self, row: TextRow) -> TextRow | Drop:
        """The row with its genre, or that it thanks nobody."""
        genre = classify(row.text)
        if row.kind == "thanks" and genre is not Genre.THANKS:
            if self.misfits == "drop":
                return Drop("no_thanks", row, "asked to thank somebody, and does not in its last lines")
            return row.model_copy(update={"genre": genre.value, "kind": "full"})
        return row.model_copy(update={"genre": genre.value})
