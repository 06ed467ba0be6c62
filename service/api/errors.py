"""One error type with one status map, the same over HTTP and as an event of a stream, in the words of any dialect.

In our own words a body is `{"error": {"type", "message", "field"?, "request_id"}}`; other dialects bring a `Wording`.
Messages are ours: they name fields, limits and models, and never repeat what the request held, which may be long,
private, or written to deceive who reads a log.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Protocol

from pydantic import ValidationError

from service.engine.errors import EngineClosedError, EngineError, PromptTooLongError, QueueFullError
from service.engine.sampling_params import SamplingParamsError

MAX_FIELD_CHARACTERS: Final = 64


class ErrorType(StrEnum):
    """What went wrong, for programs."""

    INVALID_REQUEST = "invalid_request"
    MODEL_NOT_FOUND = "model_not_found"
    NOT_FOUND = "not_found"
    GONE = "gone"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    BODY_TIMEOUT = "body_timeout"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    QUEUE_FULL = "queue_full"
    RATE_LIMITED = "rate_limited"
    ABORTED = "aborted"
    GENERATION = "generation_failed"
    INTERNAL = "internal_error"
    UNAVAILABLE = "unavailable"
    DEADLINE = "deadline_exceeded"


STATUS: Final[dict[ErrorType, int]] = {
    ErrorType.INVALID_REQUEST: 400,
    ErrorType.MODEL_NOT_FOUND: 404,
    ErrorType.NOT_FOUND: 404,
    ErrorType.METHOD_NOT_ALLOWED: 405,
    ErrorType.BODY_TIMEOUT: 408,
    ErrorType.GONE: 410,
    ErrorType.ABORTED: 499,
    ErrorType.BODY_TOO_LARGE: 413,
    ErrorType.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorType.QUEUE_FULL: 429,
    ErrorType.RATE_LIMITED: 429,
    ErrorType.GENERATION: 500,
    ErrorType.INTERNAL: 500,
    ErrorType.UNAVAILABLE: 503,
    ErrorType.DEADLINE: 504,
}


class ApiError(Exception):
    """A request that is answered with an error."""

    def __init__(
        self, error_type: ErrorType, message: str, *, field: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.type = error_type
        self.message = message
        self.field = field
        self.headers = headers or {}

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.type]

    def renamed(self, names: Mapping[str, str]) -> "ApiError":
        """The same, its field called what a dialect calls it."""
        if self.field is None or self.field not in names:
            return self
        name = names[self.field]
        message = self.message
        if message.startswith(f"{self.field}:"):
            message = name + message.removeprefix(self.field)
        return ApiError(self.type, message, field=name, headers=self.headers)


class Wording(Protocol):
    """How a dialect puts an error: the HTTP status, and what the client reads, over HTTP and in a stream."""

    def __call__(self, error: ApiError, request_id: str) -> tuple[int, dict[str, Any]]:
        """Status and body."""


def native_words(error: ApiError, request_id: str) -> tuple[int, dict[str, Any]]:
    """An error in our own dialect, where an engine that fails is an internal error like any other."""
    error_type = ErrorType.INTERNAL if error.type is ErrorType.GENERATION else error.type
    body = {"type": error_type.value, "message": error.message}
    if error.field is not None:
        body["field"] = error.field
    return error.status, {"error": {**body, "request_id": request_id}}


def invalid(field: str, message: str) -> ApiError:
    """A field of the request that cannot be; the message goes on after its name."""
    return ApiError(ErrorType.INVALID_REQUEST, f"{field}: {message}", field=field)


def from_validation(error: ValidationError, *, objects: frozenset[str] = frozenset()) -> ApiError:
    """The first thing that a schema has against a request. `objects` are fields with fields of their own, all known."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    message = fault["msg"][:1].lower() + fault["msg"][1:]
    if not fault["loc"]:
        return ApiError(ErrorType.INVALID_REQUEST, f"the body: {message}")
    name, *rest = (str(part) for part in fault["loc"])
    if name in objects and rest:
        name = f"{name}.{rest[0]}"
    field = name if len(name) <= MAX_FIELD_CHARACTERS else name[: MAX_FIELD_CHARACTERS - 3] + "..."
    if fault["type"] == "extra_forbidden":
        message = "there is no such field; /docs lists those there are"
    return invalid(field, message.removeprefix("value error, "))


def from_sampling(error: SamplingParamsError) -> ApiError:
    """A value out of range that only the engine's own check found."""
    return invalid(error.field, error.message)


def from_engine(error: EngineError) -> ApiError:
    """Why the engine did not take a request, or gave it up."""
    match error:
        case QueueFullError():
            retry_after_s = max(1, math.ceil(error.retry_after_s))
            return ApiError(
                ErrorType.QUEUE_FULL,
                f"too many requests are waiting; try again in {retry_after_s} s",
                headers={"retry-after": str(retry_after_s)},
            )
        case PromptTooLongError():
            return invalid(
                "prompt", f"has {error.prompt_tokens} tokens, and at most {error.limit_tokens} leave room for an answer"
            )
        case EngineClosedError():
            return unavailable()
        case _:
            return generation_failed()


def generation_failed() -> ApiError:
    """The engine gave a text up."""
    return ApiError(ErrorType.GENERATION, "the text could not be written; the log says more")


def internal() -> ApiError:
    """Something failed that the client has no part in."""
    return ApiError(ErrorType.INTERNAL, "something went wrong here; the log says more")


def unavailable() -> ApiError:
    """The service is starting or about to stop: who asks again should find another one."""
    return ApiError(
        ErrorType.UNAVAILABLE,
        "the service is starting or stopping; try again",
        headers={"retry-after": "1", "connection": "close"},
    )
