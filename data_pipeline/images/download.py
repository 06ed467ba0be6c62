"""A URL's bytes into a file: politely, within limits, and with a plain word where it cannot be.

Only http and https, only public addresses, every redirect judged like the first address. Bytes are counted as they come
and after they are unpacked, whatever a header says of them; what begins like no picture is not read on. Knows nothing
of pictures beyond those first bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import urllib.request
import zlib
from typing import TYPE_CHECKING, Final, Self

import httpx

from data_pipeline.errors import StageError
from data_pipeline.images.addresses import PublicTransport, is_public
from data_pipeline.images.hosts import Host, retry_after_s
from data_pipeline.images.picture import HEAD_BYTES, sniff
from data_pipeline.images.placeholders import placeholder_address
from data_pipeline.images.refusals import Reason, RefusedError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path
    from types import TracebackType

    from data_pipeline.images.settings import ImagesSettings

ACCEPT: Final = "image/png,image/jpeg;q=0.9,image/gif;q=0.8,image/*;q=0.5"
"""Never HTML: i.redd.it would answer with a page around the picture (tom-james-watson/old-reddit-redirect#78). WebP
last: hosts that offer several make it from one of the others, with loss."""
MAX_BACKOFF_S: Final = 60.0
_GONE: Final = frozenset({404, 410, 451})
_FORBIDDEN: Final = frozenset({401, 402, 403})
_FOR_THE_MOMENT: Final = frozenset({407, 408, 425, 429})
"""As all of 500 and above. 407 is no host's word but that of a proxy."""
_BUSY: Final = frozenset({429, 503})
"""The host as a whole wants less; other failures may be one picture's only."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Downloader:
    """Fetches URLs, to be used in an `async with`; any number of `fetch` may run at a time."""

    def __init__(self, settings: ImagesSettings) -> None:
        self._settings = settings
        self._hosts: dict[str, Host] = {}
        self._places = asyncio.Semaphore(settings.connections)
        limits = httpx.Limits(max_connections=settings.connections, max_keepalive_connections=settings.connections)
        guarded = not (settings.private_addresses or settings.use_proxy)
        self._client = httpx.AsyncClient(
            transport=PublicTransport(limits)
            if guarded
            else httpx.AsyncHTTPTransport(limits=limits, proxy=_proxy() if settings.use_proxy else None),
            headers={"user-agent": settings.user_agent, "accept": ACCEPT, "accept-encoding": "identity"},
            timeout=httpx.Timeout(settings.stall_timeout_s, connect=settings.connect_timeout_s, pool=None),
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    def host(self, name: str) -> Host:
        """What we know of a host."""
        if name not in self._hosts:
            settings = self._settings
            self._hosts[name] = Host(name, settings.host_connections, settings.host_interval_s, settings.host_failures)
        return self._hosts[name]

    async def fetch(self, url: str, path: Path) -> str:
        """Writes what is at `url` to `path`, in as many tries as it takes, and returns the URL where it was at last.

        Raises:
            RefusedError: It is not to be had.
            UnreachableError: It is not to be had today.
            OSError: The file cannot be written.
        """
        address = self._judged(url)
        for number in range(1, self._settings.tries + 1):
            try:
                return str(await self._follow(address, path))
            except UnreachableError as error:
                host = self.host(address.host)
                if number == self._settings.tries or host.given_up:
                    host.failed(str(error))
                    raise
                await asyncio.sleep(max(self._backoff_s(number), error.wait_s))
        raise AssertionError("unreachable: tries is at least 1")

    def _backoff_s(self, number: int) -> float:
        """Doubled with each try, and jittered by half: those that failed together do not come back together."""
        return min(self._settings.backoff_s * 2.0 ** (number - 1), MAX_BACKOFF_S) * random.uniform(0.5, 1.5)

    def _judged(self, url: str | httpx.URL) -> httpx.URL:
        try:
            address = httpx.URL(url)
            host = address.host
        except (httpx.InvalidURL, TypeError, ValueError) as error:  # IDNA mistakes are ValueErrors
            raise RefusedError(Reason.BAD_ADDRESS, f"{url!r}: {error}") from error
        if address.scheme not in {"http", "https"} or not host:
            raise RefusedError(Reason.BAD_ADDRESS, f"{str(address)!r} is not http or https")
        if address.userinfo:
            raise RefusedError(Reason.BAD_ADDRESS, f"{host}: there is a password in it")
        if not self._settings.private_addresses:
            # Spelled-out addresses here, for a proxy would not ask; names when they are looked up.
            with contextlib.suppress(ValueError):
                if not is_public(host):
                    raise RefusedError(Reason.PRIVATE_ADDRESS, host)
        return address

    async def _follow(self, address: httpx.URL, path: Path) -> httpx.URL:
        for _ in range(self._settings.max_redirects + 1):
            # Between redirects no place is held: two hosts that redirect to each other would wait for each other.
            target = await self._attempt(address, path)
            if target is None:
                return address
            address = self._judged(target)
            shown = placeholder_address(address)
            if shown:
                raise RefusedError(Reason.DELETED, shown)
        raise RefusedError(Reason.REDIRECTS, f"more than {self._settings.max_redirects}, the last to {address}")

    async def _attempt(self, address: httpx.URL, path: Path) -> httpx.URL | None:
        """One request. Returns where it redirects to, None once the body is in the file."""
        limit_s = self._settings.download_timeout_s
        host = self.host(address.host)
        async with host.turn(), self._places:
            try:
                async with asyncio.timeout(limit_s), self._client.stream("GET", address) as response:
                    target = self._target(response, host)
                    if target is None:
                        await self._save(response, path)
                    host.answered()
                    return target
            except TimeoutError as error:
                raise UnreachableError(f"{address} took more than {limit_s:g} s") from error
            except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
                raise RefusedError(Reason.BAD_ADDRESS, f"{address}: {error}") from error
            except httpx.TransportError as error:
                what = str(error) or type(error).__name__
                raise UnreachableError(f"{address}: {what}") from error
            except RefusedError:
                host.answered()
                raise

    def _target(self, response: httpx.Response, host: Host) -> httpx.URL | None:
        """Where an answer redirects to, None if its body is what was asked for."""
        status = response.status_code
        said = f"{response.url}: {status} {response.reason_phrase}".rstrip()
        if status == httpx.codes.OK:
            shown = placeholder_address(response.url, response.headers.get("etag", ""))
            if shown:
                raise RefusedError(Reason.DELETED, shown)
            return None
        if status in _REDIRECTS and "location" in response.headers:
            try:
                return response.url.join(response.headers["location"])
            except (httpx.InvalidURL, ValueError) as error:
                raise RefusedError(Reason.BAD_ADDRESS, f"{said}, to no address: {error}") from error
        if status in _GONE:
            raise RefusedError(Reason.GONE, said)
        if status in _FORBIDDEN:
            raise RefusedError(Reason.FORBIDDEN, said)
        if status in _FOR_THE_MOMENT or status >= 500:
            wait_s = retry_after_s(response.headers.get("retry-after"), response.headers.get("date")) or 0.0
            if wait_s > self._settings.max_wait_s:
                host.give_up(f"it asks to be left alone for {wait_s:.0f} s")
            elif status in _BUSY:
                host.pause(max(wait_s, self._backoff_s(1)))
            raise UnreachableError(said, wait_s=wait_s)
        raise RefusedError(Reason.REFUSED, said)

    async def _save(self, response: httpx.Response, path: Path) -> None:
        limit_bytes = self._settings.max_bytes
        announced = response.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit() and int(announced[:18]) > limit_bytes:
            raise RefusedError(Reason.TOO_MANY_BYTES, f"{response.url}: {announced} bytes")
        size_bytes, head, judged = 0, b"", False
        with path.open("wb") as file:
            async with contextlib.aclosing(_unpacked(response, limit_bytes)) as parts:
                async for part in parts:
                    size_bytes += len(part)
                    if size_bytes > limit_bytes:
                        raise RefusedError(Reason.TOO_MANY_BYTES, f"{response.url}: more than {limit_bytes} bytes")
                    if not judged:
                        head += part
                        judged = len(head) >= HEAD_BYTES
                        if judged:
                            sniff(head[:HEAD_BYTES])
                    file.write(part)
        if size_bytes == 0:
            raise UnreachableError(f"{response.url}: an empty answer")
        if not judged:
            sniff(head)


async def _unpacked(response: httpx.Response, limit_bytes: int) -> AsyncGenerator[bytes]:
    """A body's bytes, unpacked if a host packs them though asked not to; no more than one byte above the limit.

    httpx would unpack a part of 64 KiB at once, whatever comes of it.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in {"", "identity"}:
        async for part in response.aiter_raw():
            yield part
        return
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise RefusedError(Reason.REFUSED, f"{response.url}: packed as {encoding!r}, though asked not to")
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # finds out by itself which of the two it is
    left = limit_bytes + 1  # never 0, which would mean no limit: the reader stops there
    try:
        async for packed in response.aiter_raw():
            part = unpacker.decompress(packed, left)
            left -= len(part)
            yield part
    except zlib.error as error:
        raise UnreachableError(f"{response.url}: damaged on the way: {error}") from error
    if not unpacker.eof:
        raise UnreachableError(f"{response.url}: cut off")


def _proxy() -> str:
    """The proxy that the environment names: an address with a password is nothing for a settings file."""
    proxies = urllib.request.getproxies()
    proxy = proxies.get("https") or proxies.get("all") or proxies.get("http")
    if not proxy:
        raise StageError("--use-proxy: no proxy is named; set HTTPS_PROXY, or leave the option away")
    return proxy
