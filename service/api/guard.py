"""What stands before every endpoint: a request id, a last resort for errors, and bounds on the body.

Pure ASGI, so that streams pass untouched and a client that leaves is seen. Bodies are counted as they come, whatever
their headers claim, and must be there in time.
"""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import ApiError, ErrorType, Wording, internal
from service.api.responses import error_response, json_bytes
from service.api.watched import note_client_gone, note_error
from service.logs import CONTEXT, RequestContext, without_words
from service.settings import Settings

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
TRUE_PATH: Final = "greentext.path"
"""Where a scope keeps the path that was asked for, if `path` was changed for those who count requests by it."""

LINGER_S: Final = 2.0
"""How long what a refused client is still sending is read and dropped, so that it gets to read why."""

logger = logging.getLogger(__name__)


class Envelope:
    """Gives each request its path, an id (its own, if it brought a decent one), the time, and a wording for its errors.

    The id comes back with every answer.
    """

    def __init__(self, app: ASGIApp, wording_of: Callable[[str], Wording]) -> None:
        """`wording_of` a path: how errors are put there."""
        self.app = app
        self.wording_of = wording_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if TRUE_PATH in scope:
            scope = {**scope, "path": scope[TRUE_PATH]}
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else "gt-" + secrets.token_hex(8)
        wording = self.wording_of(scope["path"])
        scope.setdefault("state", {}).update(request_id=request_id, arrived_s=time.monotonic(), wording=wording)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        token = CONTEXT.set(RequestContext(request_id))
        try:
            await self.app(scope, receive, send_with_id)
        finally:
            CONTEXT.reset(token)


class LastResort:
    """Answers what nobody else caught with a 500."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def noticing_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, noticing_send)
        except ClientDisconnect:
            note_client_gone(scope)
        except Exception as error:  # nothing may go unanswered
            note_error(scope, ErrorType.INTERNAL)
            request_id = scope["state"]["request_id"]
            logger.exception("unexpected error in request %s", request_id, exc_info=without_words(error))
            if not started:
                await error_response(internal(), request_id, scope["state"]["wording"])(scope, receive, send)


class BodyGuard:
    """Lets a request through to its endpoint with its whole body, which is JSON by name, in bounds and in time.

    A GET brings none, and goes through as it is.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.max_body_bytes = settings.max_body_bytes
        self.body_timeout_s = settings.body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or refuses it."""
        if scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        try:
            self._check(Headers(scope=scope))
            body = await self._read(receive)
        except ApiError as error:
            await _refuse(error, scope, receive, send)
            return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, replay, send)

    def _check(self, headers: Headers) -> None:
        media_type, _, parameters = headers.get("content-type", "").lower().partition(";")
        media_type = media_type.strip()
        if media_type != "application/json" and not (
            media_type.startswith("application/") and media_type.endswith("+json")
        ):
            raise ApiError(
                ErrorType.UNSUPPORTED_MEDIA_TYPE, "send JSON, with the header content-type: application/json"
            )
        if "charset=" in parameters and "utf-8" not in parameters:
            raise ApiError(ErrorType.UNSUPPORTED_MEDIA_TYPE, "send JSON in UTF-8")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise ApiError(ErrorType.UNSUPPORTED_MEDIA_TYPE, "send the body as it is, without content-encoding")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self.max_body_bytes:
            raise self._too_large()

    async def _read(self, receive: Receive) -> bytes:
        """The body. Raises ApiError when it is too large or too slow, ClientDisconnect when it breaks off."""
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size > self.max_body_bytes:
                        raise self._too_large()
                    chunks.append(chunk)
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            message_text = f"the body did not come within {self.body_timeout_s:g} s"
            raise ApiError(ErrorType.BODY_TIMEOUT, message_text) from None

    def _too_large(self) -> ApiError:
        return ApiError(ErrorType.BODY_TOO_LARGE, f"a body may have {self.max_body_bytes} bytes")


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers before the body has been read, and closes the connection.

    To close with unread bytes in the socket would reset the connection, and could take the answer with it.
    """
    note_error(scope, error.type)
    status, content = scope["state"]["wording"](error, scope["state"]["request_id"])
    body = json_bytes(content)
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        **error.headers,
    }
    raw_headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw_headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if error.type is not ErrorType.BODY_TIMEOUT:
        try:
            async with asyncio.timeout(LINGER_S):
                while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
                    pass
        except TimeoutError:
            pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
