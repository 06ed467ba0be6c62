"""The log as JSON, one object a line, whoever writes to it; and the line that a request leaves in it, if it is wanted.

As text the log is BentoML's, untouched. In neither form does it hold what clients wrote: paths are told by their
patterns, and every line break is escaped.
"""

import json
import logging
import sys
import threading
import time
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, NamedTuple, NoReturn

from service.request_summary import RequestSummary
from service.settings import Settings

OURS: Final = ("bentoml", "service")
"""The loggers that `log_level` is for; of others warnings are enough."""

MAX_STACK_CHARACTERS: Final = 3000
"""Of a stack the end is kept: processes share one pipe, which keeps whole what has less than 4096 bytes."""
IN_TITLE: Final = ("method", "route", "status")

encode = json.JSONEncoder(default=str, separators=(",", ":")).encode
access_logger = logging.getLogger("bentoml.access")
logger = logging.getLogger("bentoml.service.greentext")


class RequestContext(NamedTuple):
    """The request that a line is about. Trace and span are empty without traces."""

    request_id: str
    trace_id: str = ""
    span_id: str = ""


CONTEXT: Final[ContextVar[RequestContext | None]] = ContextVar("request", default=None)


class AccessLine:
    """The message of a request's line: for people as text, for programs as fields."""

    __slots__ = ("_summary",)

    def __init__(self, summary: RequestSummary) -> None:
        self._summary = summary

    def __str__(self) -> str:
        told = [f"{name}={value}" for name, value in self.fields().items() if name not in IN_TITLE]
        return " ".join((self.title, *told, f"request_id={self._summary.request_id}"))

    @property
    def title(self) -> str:
        """What all lines begin with."""
        summary = self._summary
        return f"{summary.method} {summary.route or '(no such path)'} {summary.status or '-'}"

    def fields(self) -> dict[str, Any]:
        """What is known; of several texts the longest phases, as answers tell them, and each reason to end once."""
        summary = self._summary
        fields: dict[str, Any] = {"method": summary.method}
        if summary.route is not None:
            fields["route"] = summary.route
        if summary.status is not None:
            fields["status"] = summary.status
        fields["duration_ms"] = _ms(summary.ended_s - summary.started_s)
        if (generation := summary.generation) is not None:
            fields["model"] = generation.model
            fields.update((f"{name}_ms", _ms(phase_s)) for name, phase_s in generation.phases_s())
            fields["prompt_tokens"] = generation.prompt_tokens
            fields["completion_tokens"] = generation.completion_tokens
            fields["finish_reason"] = ",".join(dict.fromkeys(text.finish_reason for text in generation.texts))
        if summary.error is not None:
            fields["error"] = summary.error
        if summary.client_gone:
            fields["client_gone"] = True
        return fields


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "timestamp": f"{second}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        message = record.msg
        if isinstance(message, AccessLine):
            line["message"] = message.title
            line.update(message.fields())
        else:
            line["message"] = record.getMessage()
        if (context := CONTEXT.get()) is not None:
            line["request_id"] = context.request_id
            if context.trace_id:
                line.update(trace_id=context.trace_id, span_id=context.span_id)
        line["pid"] = record.process
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            line["stack"] = self.formatException(record.exc_info)[-MAX_STACK_CHARACTERS:]
        elif record.stack_info:
            line["stack"] = record.stack_info[-MAX_STACK_CHARACTERS:]
        return encode(line)


def write_access_line(summary: RequestSummary) -> None:
    """Leaves a request's line in the log."""
    access_logger.info(AccessLine(summary))


def configure(settings: Settings) -> None:
    """Makes this process log as the settings say, where BentoML has set it up; as text nothing changes but levels."""
    if settings.log_level is not None:
        level = logging.getLevelNamesMapping()[settings.log_level.upper()]
        for name in OURS:
            logging.getLogger(name).setLevel(level)
        logging.getLogger().setLevel(max(level, logging.WARNING))
    if settings.log_format == "text":
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    for known in (*root.manager.loggerDict.values(), root):
        if isinstance(known, logging.Logger) and any(type(other) is logging.StreamHandler for other in known.handlers):
            known.handlers.clear()
            known.propagate = True
    root.addHandler(handler)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def leave(settings: Settings, message: str) -> NoReturn:
    """Ends a process that cannot start, with a message for whoever started it, in the form that they want."""
    if settings.log_format == "text":
        sys.exit(f"greentext: {message}")
    logger.critical("%s", message)
    sys.exit(1)


def without_words(error: BaseException) -> BaseException:
    """An exception of the same name from the same place, but without its words: a client may have written them."""
    kind = type(error)
    namesake: type[Exception] = type(kind.__name__, (Exception,), {"__module__": kind.__module__})
    return namesake("its words are not for the log").with_traceback(error.__traceback__)


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logger.critical("uncaught %s", kind.__name__, exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread is not None else "unknown"
    error = args.exc_value if args.exc_value is not None else args.exc_type()
    logger.critical("uncaught %s in thread %s", args.exc_type.__name__, name, exc_info=error)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
