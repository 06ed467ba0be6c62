"""Requests as OpenTelemetry spans: one for the request, and below it `queue`, `prefill` and `decode` of each text.

The engine is not asked for anything: its own times, those that answers tell, become spans when a request is over. Spans
wait in a bounded queue for a thread that sends them; a collector that is away or slow delays nobody, the oldest spans
are dropped, and the log says so once a minute. No span holds a word of a prompt, a text, a cookie or an address.

Sources: OpenTelemetry semantic conventions 1.44, HTTP server spans, and those of generative AI, which are in
development. Where they ask for what a client made up (`url.path`, `user_agent.original`) it is left out.
"""

import logging
import os
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, format_span_id, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from greentext import __version__
from service.request_summary import GenerationSummary, RequestSummary, TextSummary
from service.tracing import ENDPOINTS

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.util.types import AttributeValue

NAME: Final = "wholesome-greentext"
"""Of the service, unless OTEL_SERVICE_NAME names it otherwise, and of who makes its spans."""
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
DEFAULT_ENDPOINT: Final = "http://localhost:4318"
CHAT_ROUTE: Final = "/v1/chat/completions"
CARRIED: Final = ("traceparent", "tracestate")
REMIND_S: Final = 60.0
"""How often the log says that spans cannot be sent."""
MAX_WORDS: Final = 300
QUERY: Final = re.compile(r"\?\S*")

logger = logging.getLogger("bentoml.service.greentext")


class Spans:
    """Makes spans, and sends them as the environment says."""

    def __init__(self) -> None:
        """Starts the thread that sends. Raises ValueError, OSError or RuntimeError where a setting cannot be."""
        _tell_seldom()
        given = OTELResourceDetector().detect().attributes
        resource = Resource.create({"service.name": NAME, "service.version": __version__, **given})
        # Closed by `close`, in bounded time, or not at all: at exit the SDK would wait for the collector.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.tracer = self._provider.get_tracer(NAME, __version__, SCHEMA_URL)
        self._propagator = TraceContextTextMapPropagator()

    @property
    def place(self) -> str:
        """The collector's host and port, as the exporter finds them."""
        endpoint = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), DEFAULT_ENDPOINT)
        return urlsplit(endpoint).netloc.rpartition("@")[2]

    def begin(self, method: str, scheme: str, headers: Mapping[str, str], started_s: float) -> "RequestSpan":
        """The span of a request, below that of its caller if `traceparent` names one."""
        started_ns = time.time_ns()
        known = method in METHODS
        name = method if known else "HTTP"
        parent = None
        if CARRIED[0] in headers:
            parent = self._propagator.extract({name: headers[name] for name in CARRIED if name in headers})
        span = self.tracer.start_span(
            name,
            context=parent,
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method if known else "_OTHER", "url.scheme": scheme},
            start_time=started_ns,
        )
        return RequestSpan(self, span, name, started_ns, started_s)

    def close(self) -> None:
        """Sends what waits. May take as long as the collector does."""
        self._provider.shutdown()


class RequestSpan:
    """The span of a request under way."""

    __slots__ = ("_name", "_span", "_spans", "_started_ns", "_started_s", "is_sampled", "span_id", "trace_id")

    def __init__(self, spans: Spans, span: Span, name: str, started_ns: int, started_s: float) -> None:
        self._spans = spans
        self._span = span
        self._name = name
        self._started_ns = started_ns
        self._started_s = started_s
        self.is_sampled = span.is_recording()
        """Whether it is kept; if not, `end` does nothing, and need not be called."""
        context = span.get_span_context()
        self.trace_id = format_trace_id(context.trace_id)
        self.span_id = format_span_id(context.span_id)

    def end(self, summary: RequestSummary) -> None:
        """Ends it, with what its texts did below it."""
        span = self._span
        if not self.is_sampled:
            return
        if (generation := summary.generation) is not None:
            parent = set_span_in_context(span)
            for index, text in enumerate(generation.texts):
                self._end_text(text, index if len(generation.texts) > 1 else None, parent)
            span.set_attributes(_of_generation(generation, summary.route))
        span.set_attributes(_of_request(summary))
        if summary.route is not None:
            span.update_name(f"{self._name} {summary.route}")
        if summary.failed:
            span.set_status(StatusCode.ERROR, summary.error)
        span.end(self._ns(summary.ended_s))

    def _end_text(self, text: TextSummary, index: int | None, parent: "Context") -> None:
        told: dict[str, dict[str, AttributeValue]] = {
            "prefill": {"gen_ai.usage.input_tokens": text.prompt_tokens},
            "decode": {"gen_ai.usage.output_tokens": text.completion_tokens},
        }
        last = text.phases[-1].name
        for phase in text.phases:
            attributes = told.get(phase.name, {})
            if index is not None:
                attributes["greentext.text.index"] = index
            if phase.name == last:
                attributes["gen_ai.response.finish_reasons"] = (text.finish_reason,)
            child = self._spans.tracer.start_span(
                phase.name, context=parent, attributes=attributes, start_time=self._ns(phase.start_s)
            )
            child.end(self._ns(phase.end_s))

    def _ns(self, at_s: float) -> int:
        """A moment of `time.perf_counter` in nanoseconds since 1970, by the clock as it was when the request came."""
        return self._started_ns + round((at_s - self._started_s) * 1e9)


class _Seldom(logging.Handler):
    """Passes on what the SDK has to say, at most once in `REMIND_S`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next_s = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Passes a record on, or not."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + REMIND_S
        words = QUERY.sub("?...", record.getMessage())[:MAX_WORDS]  # an endpoint may have a key in it
        logger.warning("traces: %s (said once in %g s)", words, REMIND_S)


def _tell_seldom() -> None:
    library = logging.getLogger("opentelemetry")
    library.propagate = False
    library.handlers = [_Seldom()]
    # It would make a record of each span that finds the queue full.
    logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.ERROR)


def _of_request(summary: RequestSummary) -> "dict[str, AttributeValue]":
    attributes: dict[str, AttributeValue] = {"greentext.request_id": summary.request_id}
    if summary.route is not None:
        attributes["http.route"] = summary.route
        if "{" not in summary.route:
            attributes["url.path"] = summary.route
    if summary.status is not None:
        attributes["http.response.status_code"] = summary.status
    if summary.error is not None:
        attributes["greentext.error"] = summary.error
        if summary.failed:
            attributes["error.type"] = summary.error
    if summary.client_gone:
        attributes["greentext.client_gone"] = True
    return attributes


def _of_generation(generation: GenerationSummary, route: str | None) -> "dict[str, AttributeValue]":
    params = generation.params
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "chat" if route == CHAT_ROUTE else "text_completion",
        "gen_ai.provider.name": NAME,
        "gen_ai.request.model": generation.model,
        "gen_ai.request.max_tokens": params.max_new_tokens,
        "gen_ai.request.stream": generation.is_stream,
        "gen_ai.usage.input_tokens": generation.prompt_tokens,
        "gen_ai.usage.output_tokens": generation.completion_tokens,
        "gen_ai.response.finish_reasons": tuple(text.finish_reason for text in generation.texts),
    }
    if params.n > 1:
        attributes["gen_ai.request.choice.count"] = params.n
    return attributes
