"""What a filter is: it looks at one row and says what becomes of it. It knows neither other rows nor other filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from data_pipeline.rows import TextRow
    from data_pipeline.stage import Drop


class Filter(Protocol):
    """Judges rows one by one."""

    @property
    def name(self) -> str:
        """What it is called, in settings and in documents."""

    def judge(self, row: TextRow) -> TextRow | Drop:
        """The row as it goes on (with what the filter found out written into it), or why it does not."""
