"""A small HTTP/1.1 client on blocking sockets, which gevent makes cooperative: little work a request, and every moment
of a request in sight. A full client library takes more CPU time a request than the service does, on the same cores.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES = 65536
PATIENCE_S = 90.0


class LostError(Exception):
    """No whole answer came: refused, reset, closed half-way, or not there in time."""


@dataclass(slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body. Raises ValueError."""
        return json.loads(self.body)


@dataclass(slots=True)
class Stream:
    """Server-sent events: `at_s`, the clock (perf_counter) when each chunk with tokens came, once a token."""

    status: int
    at_s: list[float] = field(default_factory=list)
    body: bytes = b""
    last_event: str = ""
    last_data: str = ""


@dataclass(slots=True)
class Wire:
    """One connection, kept and opened anew when the other side has closed it. For one user at a time."""

    host: str
    port: int
    patience_s: float = PATIENCE_S
    cookie: str = ""
    _socket: socket.socket | None = None
    _rest: bytes = b""

    @classmethod
    def to(cls, url: str) -> Self:
        """A connection to `http://HOST:PORT`."""
        host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
        return cls(host, int(port or 80))

    def ask(self, method: str, path: str, body: Any = None) -> Reply:
        """Sends a request, JSON unless the body is bytes, and reads the whole answer. Raises LostError."""
        try:
            self.send(self.request_bytes(method, path, body))
            return self.read()
        except (OSError, ValueError, LostError) as error:
            self.close()
            raise error if isinstance(error, LostError) else LostError(_told(error)) from error

    def stream(self, path: str, body: Any, marker: bytes = b"event: token") -> Stream:
        """Posts, and reads events to their end, timing those that begin with `marker`. Raises LostError."""
        try:
            self.send(self.request_bytes("POST", path, body))
            status, headers = self.head()
            stream, rest, parts = Stream(status), b"", []
            for chunk in self._parts(headers):
                now_s = time.perf_counter()
                if status != 200:
                    parts.append(chunk)
                    continue
                *events, rest = (rest + chunk).split(b"\n\n")
                stream.at_s += [now_s for event in events if event.startswith(marker)]
                if told := [event for event in events if not event.startswith(b":")]:
                    stream.last_event, stream.last_data = _event(told[-1])
            stream.body = b"".join(parts)
            self._keep(headers)
        except (OSError, ValueError, LostError) as error:
            self.close()
            raise error if isinstance(error, LostError) else LostError(_told(error)) from error
        return stream

    def request_bytes(self, method: str, path: str, body: Any = None) -> bytes:
        """A request as it goes over the wire."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        cookie = f"cookie: {self.cookie}\r\n" if self.cookie else ""
        kind = "content-type: application/json\r\n" if body is not None else ""
        return (
            f"{method} {path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\n{cookie}{kind}"
            f"content-length: {len(content)}\r\n\r\n"
        ).encode() + content

    def send(self, data: bytes) -> None:
        """Sends, on the kept connection if it is still open. Raises OSError."""
        if self._socket is not None and not self._is_open(self._socket):
            self.close()
        if self._socket is None:
            self._socket = socket.create_connection((self.host, self.port), timeout=self.patience_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(data)

    def send_more(self, data: bytes) -> None:
        """Sends the next piece of a request. Raises OSError."""
        if self._socket is not None:
            self._socket.sendall(data)

    def has_answer(self, within_s: float) -> bool:
        """Whether something comes to be read. Raises OSError."""
        if self._socket is None or self._rest:
            return True
        self._socket.settimeout(within_s)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return False
        finally:
            self._socket.settimeout(self.patience_s)
        return True

    def read(self) -> Reply:
        """The answer to what was sent. Raises LostError, OSError, ValueError."""
        status, headers = self.head()
        body = b"".join(self._parts(headers))
        if "set-cookie" in headers:
            self.cookie = headers["set-cookie"].partition(";")[0]
        self._keep(headers)
        return Reply(status, headers, body)

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers (names in small letters) of the answer. Raises LostError, OSError, ValueError."""
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        return int(first.split(" ", 2)[1]), {name.lower(): value.strip() for name, _, value in pairs}

    def close(self, *, reset: bool = False) -> None:
        """Closes; with a reset, as a client that is gone."""
        if self._socket is not None:
            if reset:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            self._socket.close()
        self._socket, self._rest = None, b""

    def _keep(self, headers: dict[str, str]) -> None:
        if headers.get("connection", "").lower() == "close":
            self.close()

    def _is_open(self, kept: socket.socket) -> bool:
        kept.settimeout(0.0)
        try:
            return bool(self._rest or kept.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            kept.settimeout(self.patience_s)

    def _more(self) -> None:
        data = self._socket.recv(CHUNK_BYTES) if self._socket is not None else b""
        if not data:
            raise LostError("closed before the answer was whole" if self._rest else "closed without an answer")
        self._rest += data

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            self._more()
        found, _, self._rest = self._rest.partition(mark)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._more()
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def _parts(self, headers: dict[str, str]) -> Iterator[bytes]:
        if "content-length" in headers:
            yield self._exactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self._until(b"\r\n"), 16):
                yield self._exactly(size + 2)[:-2]
            self._exactly(2)


def _event(event: bytes) -> tuple[str, str]:
    fields = dict(line.split(": ", 1) for line in event.decode().split("\n") if ": " in line)
    return fields.get("event", ""), fields.get("data", "")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:100]
