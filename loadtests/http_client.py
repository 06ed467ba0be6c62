"""A small HTTP/1.1 client for measuring: keep-alive connections on asyncio streams, little work a request.

A full client library takes more CPU time a request than the service does, on the same two cores.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class HttpError(RuntimeError):
    """The service answered something else than 200."""


@dataclass(slots=True)
class Connection:
    """One keep-alive connection."""

    host: str
    port: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Connects."""
        reader, writer = await asyncio.open_connection(host, port)
        return cls(host, port, reader, writer)

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Posts JSON and reads a JSON answer. Raises HttpError."""
        length = await self._send(path, body)
        if length is None:
            parts = [part async for part in self._chunks()]
            content = b"".join(parts)
        else:
            content = await self.reader.readexactly(length)
        answer: dict[str, Any] = json.loads(content)
        return answer

    async def stream(self, path: str, body: dict[str, Any]) -> tuple[list[float], list[float]]:
        """Posts JSON and reads server-sent events. Returns the times (s) from the request to each token event."""
        started_s = time.perf_counter()
        length = await self._send(path, body)
        if length is not None:
            await self.reader.readexactly(length)
            msg = "expected a stream"
            raise HttpError(msg)
        times: list[float] = []
        rest = b""
        async for chunk in self._chunks():
            rest += chunk
            *events, rest = rest.split(b"\n\n")
            now_s = time.perf_counter() - started_s
            times += [now_s for event in events if event.startswith(b"event: token")]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        return times, gaps

    async def _send(self, path: str, body: dict[str, Any]) -> int | None:
        """Sends a request and reads the answer's head; returns the body's length, None where it is chunked."""
        content = json.dumps(body).encode()
        self.writer.write(
            f"POST {path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\n\r\n".encode()
            + content
        )
        await self.writer.drain()
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        status, *lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines if b": " in line)
        length = int(headers[b"content-length"]) if b"content-length" in headers else None
        if b" 200 " not in status + b" ":
            said = await self.reader.readexactly(length or 0)
            raise HttpError(f"{status.decode()}: {said[:500].decode(errors='replace')}")
        return length

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)

    def close(self) -> None:
        """Closes the connection."""
        self.writer.close()
