"""Whose turn it is with a host: so many at a time, so far apart, and not before the host wants to hear of us again.

Knows nothing of HTTP but how `Retry-After` is spelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from data_pipeline.images.refusals import UnreachableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Host:
    """One host, as all downloads from it see it."""

    def __init__(self, name: str, connections: int, interval_s: float, max_failures: int) -> None:
        self.name = name
        self._interval_s = interval_s
        self._max_failures = max_failures
        self._places = asyncio.Semaphore(connections)
        self._next_s = 0.0
        """When the next request may begin, on the monotonic clock."""
        self._failures = 0
        self._over = asyncio.Event()
        self.given_up = ""
        """Why no more is asked of this host; empty as long as it is."""

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A place at the host, to be kept as long as the answer takes. Raises UnreachableError once it is given up."""
        async with self._places:
            while not self.given_up and (wait_s := self._next_s - time.monotonic()) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._over.wait()
            if self.given_up:
                raise UnreachableError(f"{self.name} was given up: {self.given_up}")
            self._next_s = time.monotonic() + self._interval_s
            yield

    def pause(self, seconds: float) -> None:
        """Nobody begins before that."""
        self._next_s = max(self._next_s, time.monotonic() + seconds)

    def give_up(self, why: str) -> None:
        """Nothing more is asked of it, not by those who wait either."""
        self.given_up = self.given_up or why
        self._over.set()

    def answered(self) -> None:
        """It works: earlier failures were no sign of a host that is down."""
        self._failures = 0

    def failed(self, detail: str) -> None:
        """A picture could not be had in any of its tries."""
        self._failures += 1
        if self._failures >= self._max_failures:
            self.give_up(f"{self._failures} pictures in a row failed, the last: {detail}")


def retry_after_s(value: str | None, date: str | None) -> float | None:
    """Seconds that `Retry-After` asks for, never below 0; None where it is not there or says nothing.

    It may hold seconds or a date (RFC 9110, 10.2.3). A date counts from the answer's own `Date`, so that a wrong clock
    at either end does no harm.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        # Digits without end are a number too, but no time.
        return float(value[:10])
    then = _date(value)
    if then is None:
        return None
    return max(0.0, (then - (_date(date) or datetime.now(UTC))).total_seconds())


def _date(value: str | None) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value) if value else None
    except (TypeError, ValueError, OverflowError):
        return None
    return parsed.replace(tzinfo=UTC) if parsed is not None and parsed.tzinfo is None else parsed
