"""Stands between a browser and the service, and lets happen to chosen calls what happens to calls: nobody answers,
others were first, the line is slow, the line is cut. Everything else goes through as it is.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

NOT_PASSED_ON = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}
HELD_AT_MOST_S = 30.0


@dataclass(frozen=True)
class Instead:
    """Answers in the service's place. Status 0 is no answer: the line is dead."""

    status: int = 0
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Held:
    """The first events pass; the others wait until they are released."""

    after_events: int
    released: threading.Event


@dataclass(frozen=True)
class Cut(Held):
    """The first events pass; when it is released, the line is cut."""


@dataclass(frozen=True)
class Changed:
    """The service's own answer, changed."""

    how: Callable[[Any], Any]


Fate = Instead | Held | Changed


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    body: Any


class GoBetween:
    """One such, on a port of its own, before the service at `upstream` (host and port)."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.calls: list[Call] = []
        self._fates: dict[str, list[Fate]] = defaultdict(list)
        self._always: dict[str, Fate] = {}
        self._lock = threading.Lock()
        between = self

        class Handler(_Handler):
            go_between = between

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def next(self, call: str, *fates: Fate) -> None:
        """What happens to the next calls of a kind, such as `POST /generate_stream`."""
        with self._lock:
            self._fates[call] += fates

    def always(self, call: str, fate: Fate | None) -> None:
        with self._lock:
            if fate is None:
                self._always.pop(call, None)
            else:
                self._always[call] = fate

    def bodies(self, path: str) -> list[Any]:
        return [call.body for call in self.calls if call.path == path]

    def fate_of(self, call: Call) -> Fate | None:
        kind = f"{call.method} {call.path.partition('?')[0]}"
        with self._lock:
            self.calls.append(call)
            waiting = self._fates[kind]
            return waiting.pop(0) if waiting else self._always.get(kind)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    go_between: GoBetween

    def do_GET(self) -> None:
        self._pass()

    def do_HEAD(self) -> None:
        self._pass()

    def do_POST(self) -> None:
        self._pass()

    def do_PATCH(self) -> None:
        self._pass()

    def do_DELETE(self) -> None:
        self._pass()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def _pass(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        fate = self.go_between.fate_of(Call(self.command, self.path, json.loads(content) if content else None))
        if isinstance(fate, Instead):
            self._instead(fate)
            return
        connection = http.client.HTTPConnection(self.go_between.upstream, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED_ON}
            connection.request(self.command, self.path, content or None, headers)
            answer = connection.getresponse()
            if answer.getheader("content-type", "").startswith("text/event-stream"):
                self._stream(answer, fate if isinstance(fate, Held) else None)
                return
            body = answer.read()
            if isinstance(fate, Changed):
                body = json.dumps(fate.how(json.loads(body))).encode()
            self._head(answer.status, answer.getheaders(), len(body) if self.command != "HEAD" else None)
            self.wfile.write(body)
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # the browser left
        finally:
            connection.close()

    def _instead(self, fate: Instead) -> None:
        if fate.status == 0:
            self.close_connection = True
            return
        content = fate.content()
        kind = "text/event-stream" if isinstance(fate.body, bytes) else "application/json"
        self._head(fate.status, [("content-type", kind), *fate.headers.items()], len(content))
        self.wfile.write(content)

    def _stream(self, answer: http.client.HTTPResponse, fate: Held | None) -> None:
        self._head(answer.status, [*answer.getheaders(), ("transfer-encoding", "chunked")], None)
        events = 0
        while line := answer.readline():
            if fate and events == fate.after_events:
                fate.released.wait(HELD_AT_MOST_S)
                if isinstance(fate, Cut):
                    self.close_connection = True  # without the last chunk
                    return
                fate = None
            events += line == b"\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _head(self, status: int, headers: list[tuple[str, str]], length: int | None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in NOT_PASSED_ON or (name, value) == ("transfer-encoding", "chunked"):
                self.send_header(name, value)
        if length is not None and status != http.HTTPStatus.NO_CONTENT:
            self.send_header("content-length", str(length))
        self.end_headers()
