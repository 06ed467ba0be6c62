"""Answers as bytes: JSON, server-sent events, and errors in the words of a dialect."""

from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from service.api.errors import ApiError, Wording


def json_bytes(content: Any) -> bytes:
    """Compact JSON in UTF-8, on one line. A number that JSON has no word for becomes null."""
    return to_json(content, inf_nan_mode="null")


def json_response(content: Any) -> Response:
    """A good answer."""
    return Response(json_bytes(content), media_type="application/json")


def error_response(error: ApiError, request_id: str, wording: Wording) -> Response:
    """Any other."""
    status, body = wording(error, request_id)
    return Response(json_bytes(body), status_code=status, media_type="application/json", headers=error.headers)


def data_event(content: Any) -> bytes:
    """A server-sent event without a name. JSON keeps the data on one line."""
    return b"data: %b\n\n" % json_bytes(content)
