"""A picture host that does as it is told, down to the bytes on the wire; and pictures to serve."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import socketserver
import struct
import threading
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Request:
    """One request, and the means to answer it."""

    path: str
    headers: dict[str, str]
    number: int
    """From 1, of those for this path."""
    began_s: float
    connection: socket.socket

    @property
    def host(self) -> str:
        return self.headers["host"].split(":")[0]

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def answer(self, body: bytes = b"", status: int = 200, **headers: str | int) -> None:
        headers = {"content_length": len(body), **headers}
        lines = [f"HTTP/1.1 {status} Said", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
        self.send("\r\n".join([*lines, "connection: close", "", ""]).encode() + body)

    def reset(self) -> None:
        """Ends the connection as a crash does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


@dataclass
class PictureServer:
    """Answers each path by its function, and remembers who asked for what."""

    port: int
    answers: dict[str, Callable[[Request], None]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    active: int = 0
    most_active: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def serve(self, path: str, body: bytes, status: int = 200, **headers: str | int) -> str:
        """Always the same answer; returns its URL."""
        return self.do(path, lambda request: request.answer(body, status, **headers))

    def do(self, path: str, answer: Callable[[Request], None]) -> str:
        self.answers[path] = answer
        return self.url(path)

    def in_turn(self, path: str, *answers: Callable[[Request], None]) -> str:
        """The first request gets the first, and so on; the last one stays."""
        return self.do(path, lambda request: answers[min(request.number, len(answers)) - 1](request))

    def count(self, path: str) -> int:
        return sum(request.path == path for request in self.requests)

    def handle(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        head = b""
        while b"\r\n\r\n" not in head:
            part = connection.recv(65536)
            if not part:
                return
            head += part
        first, *lines = head.decode().split("\r\n\r\n")[0].split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        path = first.split(" ")[1]
        with self.lock:
            request = Request(path, headers, self.count(path) + 1, time.monotonic(), connection)
            self.requests.append(request)
            self.active += 1
            self.most_active = max(self.most_active, self.active)
        try:
            self.answers.get(path, lambda request: request.answer(b"no such picture", 404))(request)
        finally:
            with self.lock:
                self.active -= 1


@contextlib.contextmanager
def picture_server() -> Iterator[PictureServer]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):  # clients that leave are what some tests are about
                server.handle(self.request)

    class Server(socketserver.ThreadingTCPServer):
        request_queue_size = 128
        daemon_threads = True

    # All of 127.0.0.0/8: several hosts on one machine.
    with Server(("0.0.0.0", 0), Handler) as listener:  # noqa: S104
        server = PictureServer(listener.server_address[1])
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()


def starter_stories() -> list[str]:
    with (REPOSITORY / "data" / "greentexts" / "starter.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def screenshot(text: str, *, width: int = 620, post: int = 123456789) -> Image.Image:
    """A page with a post, much as the board shows it."""
    font = ImageFont.load_default(13)
    rows: list[str] = []
    for line in text.split("\n"):
        row = ""
        for word in line.split(" "):
            longer = f"{row} {word}" if row else word
            if row and font.getlength(longer) > width - 60:
                rows.append(row)
                longer = word
            row = longer
        rows.append(row)
    image = Image.new("RGB", (width, 60 + 15 * len(rows)), (255, 255, 238))
    draw = ImageDraw.Draw(image)
    draw.rectangle((4, 4, width - 5, image.height - 5), fill=(240, 224, 214))
    draw.text((12, 8), f"Anonymous 01/02/20(Thu)12:34:56 No.{post}", font=font, fill=(17, 119, 67))
    for number, row in enumerate(rows):
        draw.text((40, 32 + 15 * number), row, font=font, fill=(120, 153, 34))
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_bomb(width: int, height: int) -> bytes:
    """Few bytes that claim, and hold, `width` times `height` pixels of one bit."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
