"""Serving over waitress until Ctrl-C or SIGTERM, to those who may come in."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import signal
import socket
import threading
import webbrowser
from typing import TYPE_CHECKING, Any, Final

from data_pipeline.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

THREADS: Final = 8
CONNECTIONS: Final = 200
IDLE_CONNECTION_S: Final = 60
LARGEST_REQUEST_BYTES: Final = 1024 * 1024
"""Beyond it waitress stops reading; the application's own limit is lower, and explains itself."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises StageError where nothing can listen there."""
    name = host.strip("[]")
    try:
        family = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((name, port), family=family, backlog=CONNECTIONS)
    except socket.gaierror as error:
        raise StageError(f"{host} is no address of this machine: --host 127.0.0.1") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StageError(
                f"{host}:{port} is taken, perhaps by this program: --port {port + 1} or another"
            ) from error
        raise StageError(f"nothing can listen on {host}:{port}: {error.strerror}") from error


class Server:
    """Answers, within `run`, those who connect to a socket."""

    def __init__(self, app: Flask, listening: socket.socket) -> None:
        """Takes the socket over, and closes it with itself."""
        from waitress import create_server  # type: ignore[import-untyped]  # noqa: PLC0415

        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._address: tuple[str, int] = listening.getsockname()[:2]
        self._server: Any = create_server(
            app,
            sockets=[listening],
            threads=THREADS,
            connection_limit=CONNECTIONS,
            channel_timeout=IDLE_CONNECTION_S,
            max_request_body_size=LARGEST_REQUEST_BYTES,
            ident=None,
            # The application believes one proxy's headers when it is told to, and none otherwise.
            clear_untrusted_proxy_headers=False,
        )

    @property
    def url(self) -> str:
        """What to open on this machine."""
        name, port = self._address
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)  # noqa: S104 - compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def run(self) -> None:
        """Answers until `ended_by_signals` ends it; requests under way are finished."""
        self._server.run()

    def close(self) -> None:
        """Listens no more."""
        self._server.close()


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and Ctrl-C end what runs in the `with`, and that is well: a server has no other end.

    Also where a script's `&` has made the process deaf to Ctrl-C.
    """

    def end(*_: object) -> None:
        raise SystemExit(0)  # which waitress takes as the end of its loop

    try:
        before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not in the main thread: whoever runs us there ends us
        yield
        return
    try:
        with contextlib.suppress(SystemExit):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def open_soon(url: str) -> None:
    """Opens a browser, if there is one, without waiting for it."""
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def warm_up() -> None:
    """Reads what the first judgement needs, beside the first requests."""
    from data_pipeline.curation.judging import judge  # noqa: PLC0415

    threading.Thread(target=judge, args=(">warm up",), daemon=True).start()
