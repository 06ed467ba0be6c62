"""Answers as bytes: JSON, and errors in it."""

from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from service.api.errors import ApiError


def json_bytes(content: Any) -> bytes:
    """Compact JSON in UTF-8, on one line. A number that JSON has no word for becomes null."""
    return to_json(content, inf_nan_mode="null")


def json_response(content: Any) -> Response:
    """A good answer."""
    return Response(json_bytes(content), media_type="application/json")


def error_response(error: ApiError, request_id: str) -> Response:
    """Any other."""
    content = json_bytes(error.body(request_id))
    return Response(content, status_code=error.status, media_type="application/json", headers=error.headers)
