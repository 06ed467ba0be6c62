"""Why a picture is not kept: each reason is a name that is counted, and never changes its meaning.

PictureError
├── RefusedError      it will not be better next time; has a `Reason`
└── UnreachableError  it may be there another time: overloaded hosts, lost connections
"""

from enum import StrEnum


class Reason(StrEnum):
    """Names under which dropped pictures are counted."""

    GONE = "gone"
    FORBIDDEN = "forbidden"
    REFUSED = "refused_by_the_host"
    DELETED = "deleted"
    """The host shows a placeholder."""
    BAD_ADDRESS = "bad_address"
    PRIVATE_ADDRESS = "private_address"
    REDIRECTS = "too_many_redirects"
    UNREACHABLE = "unreachable"
    UNREADABLE = "unreadable"
    TOO_MANY_BYTES = "too_many_bytes"
    NOT_A_PICTURE = "not_a_picture"
    OTHER_FORMAT = "other_format"
    ANIMATED = "animated"
    DAMAGED = "damaged"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    BLANK = "blank"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    NO_PICTURES = "no_pictures"
    REPEATED_POST = "repeated_post"


class PictureError(Exception):
    """A picture could not be had."""


class RefusedError(PictureError):
    """A picture that will not be better next time."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


class UnreachableError(PictureError):
    """A picture that may be there another time."""

    def __init__(self, detail: str, *, wait_s: float = 0.0) -> None:
        super().__init__(detail)
        self.wait_s = wait_s
        """What the host asked for in `Retry-After`, or 0."""
