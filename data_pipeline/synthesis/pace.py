"""How fast requests may go out: so many a minute, so many tokens a minute, and never while the server wants a pause.

Requests are spaced evenly rather than let out in bursts: servers enforce a limit for a minute over shorter times too.
In any stretch of T seconds at most `T * limit / 60` begin, and one more; of tokens likewise.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Mapping

FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 60.0

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class Pace:
    """Lets requests begin in the order in which they ask; for one event loop."""

    def __init__(
        self,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """No limit where there is None."""
        self._request_s = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._token_s = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._clock, self._sleep = clock, sleep
        self._next_s = self._pause_s = -math.inf
        self._turn = asyncio.Lock()

    async def wait(self, tokens: int) -> None:
        """Returns when a request of so many tokens may begin."""
        async with self._turn:
            # A pause may be prolonged while this sleeps.
            while (delay_s := max(self._next_s, self._pause_s) - self._clock()) > 0:
                await self._sleep(delay_s)
            self._next_s = self._clock() + max(self._request_s, tokens * self._token_s)

    def pause(self, seconds: float) -> None:
        """Nothing begins for so long; the longest pause asked for counts."""
        self._pause_s = max(self._pause_s, self._clock() + seconds)

    def heed(self, headers: Mapping[str, str]) -> None:
        """Waits for the reset that a server announces once nothing remains of a limit of its own."""
        for what in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{what}", "").strip() == "0":
                self.pause(min(duration_s(headers.get(f"x-ratelimit-reset-{what}", "")), LONGEST_DELAY_S))


def duration_s(text: str) -> float:
    """Seconds from a duration as OpenAI's headers spell it (`6m0s`, `12ms`), or from a plain number; 0.0 for others.

    Source: https://platform.openai.com/docs/guides/rate-limits, "Rate limits in headers".
    """
    text = text.strip()
    try:
        seconds = float(text)
    except ValueError:
        matches = list(_DURATION.finditer(text))
        whole = "".join(match[0] for match in matches) == text
        seconds = sum(float(match[1]) * _SECONDS[match[2]] for match in matches) if whole else 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def retry_after_s(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """The pause that a server wants: `retry-after-ms`, or `Retry-After` in seconds or as a date; None without them.

    Source: RFC 9110, section 10.2.3; the milliseconds are OpenAI's own.
    """
    try:
        milliseconds = float(headers.get("retry-after-ms", ""))
        if math.isfinite(milliseconds):
            return max(0.0, milliseconds / 1000)
    except ValueError:
        pass
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.fromtimestamp(now(), UTC)).total_seconds())


def backoff_s(failures: int, rng: random.Random) -> float:
    """How long to wait after so many failures in a row (from 1): doubling, and apart from what others wait."""
    longest_s: float = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(failures - 1, 30))
    return longest_s * rng.uniform(0.5, 1.0)
