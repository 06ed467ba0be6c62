"""Which rows a list or a walk through a queue has, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from data_pipeline.curation.errors import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SEARCH_CHARACTERS: Final = 200
ANY: Final = "any"


class Queue(StrEnum):
    """Where a row stands."""

    TODO = "todo"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    SKIPPED = "skipped"


class Order(StrEnum):
    """What a list is sorted by."""

    IMPORTED = "imported"
    """As the rows came."""
    CONFIDENCE = "confidence"
    """The least certain first; rows that nobody had to read come last."""
    CHANGED = "changed"
    """The newest change first."""


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows, and in which order. Empty strings ask for nothing."""

    queue: Queue | None = Queue.TODO
    """None for all."""
    search: str = ""
    source: str = ""
    genre: str = ""
    below_confidence: float | None = None
    warning: str = ""
    """A category, or `any`."""
    problem: str = ""
    """`any`, or empty."""
    order: Order = Order.IMPORTED

    def where(self) -> tuple[list[str], list[Any]]:
        """Conditions on `rows r`, and their parameters."""
        conditions: list[str] = []
        parameters: list[Any] = []

        def ask(condition: str, *values: Any) -> None:
            conditions.append(condition)
            parameters.extend(values)

        if self.queue is not None:
            ask("r.queue = ?", str(self.queue))
        if self.source:
            ask("r.source = ?", self.source)
        if self.genre:
            ask("r.genre = ?", self.genre)
        if self.below_confidence is not None:
            ask("r.confidence < ?", self.below_confidence)
        if self.warning == ANY:
            ask("r.warnings <> '[]'")
        elif self.warning:
            ask("instr(r.warnings, ?) > 0", f'"{self.warning}"')
        if self.problem == ANY:
            ask("r.problems > 0")
        if self.search:
            ask(
                "r.id IN (SELECT row_id FROM row_search WHERE instr(folded, ?) > 0)",
                self.search.casefold(),
            )
        return conditions, parameters


def filter_from(values: Mapping[str, Any]) -> RowFilter:
    """A filter from a query's or a body's values.

    Raises:
        BadRequestError: A value is none of those that it may have.
    """
    queue = str(values.get("queue") or Queue.TODO)
    order = str(values.get("order") or Order.IMPORTED)
    search = str(values.get("search") or "")
    warning = str(values.get("warning") or "")
    problem = str(values.get("problem") or "")
    if queue != "all" and queue not in set(Queue):
        raise BadRequestError(f"queue must be all, {', '.join(Queue)}.")
    if order not in set(Order):
        raise BadRequestError(f"order must be {', '.join(Order)}.")
    if len(search) > MAX_SEARCH_CHARACTERS:
        raise BadRequestError(f"search must have at most {MAX_SEARCH_CHARACTERS} characters.")
    if warning and warning != ANY:
        _check_category(warning)
    if problem not in ("", ANY):
        raise BadRequestError(f"problem must be {ANY}, or not given.")
    return RowFilter(
        queue=None if queue == "all" else Queue(queue),
        search=search,
        source=str(values.get("source") or ""),
        genre=str(values.get("genre") or ""),
        below_confidence=_share(values.get("below_confidence")),
        warning=warning,
        problem=problem,
        order=Order(order),
    )


def _check_category(warning: str) -> None:
    from greentext.content import Category  # noqa: PLC0415  brings NumPy, which a server can listen without

    if warning not in set(Category):
        raise BadRequestError(f"warning must be {ANY}, {', '.join(Category)}.")


def _share(value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise BadRequestError("below_confidence must be a number from 0 to 1.")
    return share
