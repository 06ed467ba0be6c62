"""Connections to public addresses only: a post's link must not reach into the network that this runs in.

A name is looked up once, and what was checked is what is connected to: a name server that gives another answer the
second time gains nothing. TLS still sees the name.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

from data_pipeline.images.refusals import Reason, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IP address is one that the whole internet can reach. Raises ValueError if it is none."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        # An IPv4 address in disguise is what it is beneath.
        if ip.ipv4_mapped or ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        elif ip.sixtofour or ip.teredo:
            return False
    return ip.is_global and not ip.is_multicast


class PublicTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport, whose connections are made by `_PublicBackend`."""

    def __init__(self, limits: httpx.Limits) -> None:
        super().__init__(limits=limits)
        if not isinstance(self._pool, httpcore.AsyncConnectionPool):  # pragma: no cover - another httpx
            raise TypeError("this httpx keeps its connections elsewhere: take one that pyproject.toml allows")
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_PublicBackend(),
        )


class _PublicBackend(httpcore.AsyncNetworkBackend):
    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in await _public_addresses(host, port, timeout):
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


async def _public_addresses(host: str, port: int, timeout_s: float | None) -> list[str]:
    try:
        async with asyncio.timeout(timeout_s):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError as error:
        raise httpcore.ConnectTimeout(f"{host} could not be looked up in {timeout_s} s") from error
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} could not be looked up: {error}") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not is_public(address):
            raise RefusedError(Reason.PRIVATE_ADDRESS, f"{host} is {address}")
    return addresses
