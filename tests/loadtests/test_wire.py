"""The client that measures, against a server that says what it is told to."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from loadtests.load.wire import LostError, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def serving(*connections: list[bytes | float | None]) -> Iterator[str]:
    """For each connection in turn: pieces to send, seconds to wait, and None to read a request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for pieces in connections:
                connection, _ = listener.accept()
                with connection:
                    for piece in pieces:
                        if piece is None:
                            assert connection.recv(65536)
                        elif isinstance(piece, float):
                            time.sleep(piece)
                        else:
                            connection.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_connection_is_kept_and_opened_anew_when_the_other_side_closed_it() -> None:
    with serving([None, OK, None, OK], [None, OK]) as url:
        wire = Wire.to(url)
        for pause_s in (0, 0, 0.2):  # in which the server closes
            time.sleep(pause_s)
            assert wire.ask("POST", "/generate", {}).json() == {}
        wire.close()


def test_an_answer_may_come_in_any_pieces() -> None:
    answer = CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"
    with serving([None, *[bytes([byte]) for byte in answer]]) as url, closing(Wire.to(url)) as wire:
        assert wire.ask("GET", "/models").json() == {}


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\n", OK[:-1], CHUNKED + b"5\r\nab", CHUNKED + b"1\r\na\r\n"])
def test_an_answer_that_is_not_whole_is_lost(part: bytes) -> None:
    with serving([None, part]) as url, pytest.raises(LostError, match="closed"):
        Wire.to(url).ask("POST", "/generate", {})


def test_who_is_not_there_or_silent_is_lost() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(LostError, match="TimeoutError"):
            Wire("127.0.0.1", int(url.rpartition(":")[2]), patience_s=0.2).ask("GET", "/")
    with pytest.raises(LostError, match="ConnectionRefusedError"):
        Wire.to(url).ask("GET", "/")


def test_tokens_are_timed_when_they_come() -> None:
    def chunk(event: str) -> bytes:
        data = f"event: {event}\ndata: {{}}\n\n".encode()
        return f"{len(data):x}\r\n".encode() + data + b"\r\n"

    pieces = [None, CHUNKED + chunk("token"), 0.2, chunk("token") + chunk("end"), b"0\r\n\r\n"]
    with serving(pieces) as url, closing(Wire.to(url)) as wire:
        began_s = time.perf_counter()
        stream = wire.stream("/generate_stream", {})
    assert (stream.status, stream.last_event, stream.last_data) == (200, "end", "{}")
    first_s, second_s = stream.at_s
    assert second_s - first_s == pytest.approx(0.2, abs=0.15)
    assert first_s - began_s < second_s - began_s


def test_a_refused_stream_has_its_answer() -> None:
    with (
        serving([None, b"HTTP/1.1 429 Too Many\r\nContent-Length: 4\r\n\r\nfull"]) as url,
        closing(Wire.to(url)) as wire,
    ):
        stream = wire.stream("/generate_stream", {})
    assert (stream.status, stream.body, stream.at_s) == (429, b"full", [])
