"""What goes into the store and what comes out, as plain values. Knows no database.

Times are seconds since 1970, durations seconds. A session is known by a digest of its cookie: who reads the database
cannot act for anybody.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

ID_BYTES = 16


def new_generation_id() -> str:
    """An id that nobody can guess, from others or at all: 128 random bits, in characters that need no quoting."""
    return secrets.token_urlsafe(ID_BYTES)


class Rating(StrEnum):
    """What somebody thinks of a text."""

    GOOD = "good"
    BAD = "bad"


class BoardOrder(StrEnum):
    """How the board is sorted."""

    RECENT = "recent"
    BEST = "best"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRecord:
    """A text that was written. Nothing here says who asked, but for the session, if there is one."""

    kind: ClassVar[str] = "generation"

    id: str
    """From `new_generation_id`."""
    created_s: float
    model: str
    bundle_sha256: str
    """Of the model file: a name may come to mean another model."""
    prompt: str
    """The beginning that was continued, as it stands in `text`; empty if none was given."""
    text: str
    """The whole text, beginning and all."""
    seed: int
    sampling: Mapping[str, Any]
    """The sampling parameters in force, as JSON can spell them."""
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    queue_s: float
    prefill_s: float
    decode_s: float
    total_s: float
    session_id: str | None = None
    shared: bool = False
    """Whether who asked for it lets others see it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingChange:
    """What a session thinks of a generation now; None takes back what it thought."""

    kind: ClassVar[str] = "rating"

    generation_id: str
    session_id: str
    rating: Rating | None
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A session takes back a text of its own."""

    kind: ClassVar[str] = "deletion"

    generation_id: str
    session_id: str
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """A session takes back all there is of it: its texts, its ratings, itself."""

    kind: ClassVar[str] = "erasure"

    session_id: str
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingChange:
    """A session lets others see a text of its own, or no longer."""

    kind: ClassVar[str] = "sharing"

    generation_id: str
    session_id: str
    shared: bool
    at_s: float


Write = GenerationRecord | RatingChange | SharingChange | Deletion | Erasure


class Verdict(StrEnum):
    """What became of a write that reached the database."""

    DONE = "done"
    UNKNOWN = "unknown"
    """There is no such generation, or not yet."""
    DELETED = "deleted"
    NOT_YOURS = "not_yours"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGeneration:
    """A generation as it is shown."""

    id: str
    text: str
    model: str
    bundle_sha256: str
    """Of the model file that wrote it."""
    created_s: float
    finish_reason: str
    prompt: str | None = None
    """None where it is not kept; so are `seed` and `sampling`."""
    seed: int | None = None
    sampling: Mapping[str, Any] | None = None
    good: int = 0
    bad: int = 0
    shared: bool = False
    on_board: bool = False
    declined: tuple[str, ...] = ()
    """Why it is shared and not on the board: categories of the content policy, `empty`, `too_long`."""
    deleted: bool = False
    mine: bool = False
    """Whether the session that asks made it."""
    your_rating: Rating | None = None


@dataclass(frozen=True, slots=True)
class WriteResult:
    """A verdict; for a rating also how the generation is rated since, for sharing how it is shown since."""

    verdict: Verdict
    good: int = 0
    bad: int = 0
    generation: StoredGeneration | None = None


@dataclass(frozen=True, slots=True)
class BoardPage:
    """Some of the board, and the cursor of what follows; None on the last page."""

    generations: tuple[StoredGeneration, ...]
    next_cursor: str | None
