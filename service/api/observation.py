"""Watches requests: times each, notices clients that leave, and leaves a line in the log and spans, as is wanted.

Is in the way of a request only where one of the two is. Health checks and `/metrics` are BentoML's and pass elsewhere.
"""

import time
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import STATUS
from service.api.watched import KEY, Watched
from service.logs import CONTEXT, RequestContext, write_access_line
from service.request_summary import GenerationSummary, RequestSummary, text_summary
from service.tracing import Tracing

CANCELLED: Final = "cancelled"
"""What was wrong with a request that was broken off, as when a server is made to stop."""


class Observation:
    """ASGI middleware behind `Envelope`, which gives requests their ids."""

    def __init__(self, app: ASGIApp, *, tracing: Tracing | None, access_log: bool) -> None:
        self.app = app
        self.tracing = tracing
        self.access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id: str = scope["state"]["request_id"]
        headers = Headers(scope=scope)
        span = None
        started_s = time.perf_counter()
        if self.tracing is not None:
            span = self.tracing.begin(scope["method"], scope["scheme"], headers, started_s)
        if span is not None:
            CONTEXT.set(RequestContext(request_id, span.trace_id, span.span_id))
        if not self.access_log and (span is None or not span.is_sampled):
            await self.app(scope, receive, send)
            return
        watched = Watched()
        scope["state"][KEY] = watched
        status: int | None = None
        answered = False

        async def observed_receive() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and not answered:
                watched.client_gone = True
            return message

        async def observed_send(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not message.get("more_body", False):
                answered = True
            await send(message)

        try:
            await self.app(scope, observed_receive, observed_send)
        finally:
            ended_s = time.perf_counter()
            error, failed = _error(watched, answered=answered)
            summary = RequestSummary(
                request_id=request_id,
                method=scope["method"],
                route=getattr(scope.get("route"), "path_format", None),
                started_s=started_s,
                ended_s=ended_s,
                status=status,
                error=error,
                failed=failed,
                client_gone=watched.client_gone,
                generation=_generation(watched, ended_s),
            )
            if span is not None:
                span.end(summary)
            if self.access_log:
                write_access_line(summary)


def _error(watched: Watched, *, answered: bool) -> tuple[str | None, bool]:
    """What was wrong, and whether that was our fault."""
    if (error_type := watched.error_type) is not None:
        return error_type.value, STATUS[error_type] >= 500 and not watched.client_gone
    if not answered and not watched.client_gone:
        return CANCELLED, True
    return None, False


def _generation(watched: Watched, ended_s: float) -> GenerationSummary | None:
    if (generation := watched.generation) is None:
        return None
    texts = tuple(text_summary(sequence, ended_s) for sequence in generation.sequences)
    return GenerationSummary(generation.model, generation.params, generation.is_stream, texts)
