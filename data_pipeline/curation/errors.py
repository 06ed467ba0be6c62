"""What a request is refused with: each has a code that the page knows, a status, and a sentence that says what to do.

CurationError
├── NotSignedInError      401
├── WrongPasswordError    401
├── CrossSiteError        403
├── BadHostError          403
├── NoSuchRowError        404
├── ConflictError         409   with the row as it stands, and the text that was sent
├── HeldByAnotherError    409   with who holds it, and until when
├── NothingToUndoError    409
├── BadRequestError       400 or 422
├── TooManyTriesError     429
└── StoreBusyError        503
"""

from __future__ import annotations

from typing import Any, ClassVar


class CurationError(Exception):
    """A request cannot be done. `extra` goes into the answer beside code and message."""

    code: ClassVar[str]
    status: int

    def __init__(self, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.message = message
        self.extra = extra


class NotSignedInError(CurationError):
    """There is no session, or it has ended."""

    code = "not_signed_in"
    status = 401


class WrongPasswordError(NotSignedInError):
    """The password is another."""


class CrossSiteError(CurationError):
    """A request comes from another site, or does not prove that it comes from our page."""

    code = "cross_site"
    status = 403


class BadHostError(CurationError):
    """The Host header names another machine: a name of somebody's that leads here."""

    code = "bad_host"
    status = 403


class NoSuchRowError(CurationError):
    """There is no such row, or it has no such part."""

    code = "no_such_row"
    status = 404

    def __init__(
        self, message: str = "There is no such row: it may be of another folder. Go back to the list."
    ) -> None:
        super().__init__(message)


class ConflictError(CurationError):
    """Somebody changed the row since."""

    code = "conflict"
    status = 409


class HeldByAnotherError(CurationError):
    """Somebody else is at this row."""

    code = "held_by_another"
    status = 409


class NothingToUndoError(CurationError):
    """The person has no decision left to take back."""

    code = "nothing_to_undo"
    status = 409


class BadRequestError(CurationError):
    """The request says something that cannot be."""

    code = "bad_request"
    status = 422

    def __init__(self, message: str, *, status: int = 422, **extra: Any) -> None:
        super().__init__(message, **extra)
        self.status = status


class TooManyTriesError(CurationError):
    """Passwords were tried too often."""

    code = "too_many_tries"
    status = 429


class StoreBusyError(CurationError):
    """The database cannot be written at the moment."""

    code = "store_busy"
    status = 503
