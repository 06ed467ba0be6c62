"""One question to a search API, asked with patience: paced, repeated after faults, and for as long as the server asks.

Repeated are: no connection, silence, an answer that is cut off or no JSON, 408, 425, 429, 5xx, 422 for a query that
took too long (as Arctic Shift has it), and an answer that holds an error in place of data. Between tries the wait
doubles, with jitter; where the server says how long (`Retry-After`, or `X-RateLimit-Reset` once nothing remains), it is
that. Anything else is final. Redirects are not followed: an API that has moved is for people to look at.

Knows nothing of pages and posts.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from data_pipeline.images.hosts import retry_after_s
from data_pipeline.stage import StageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    import httpx

MAX_ANSWER_BYTES: Final = 64 << 20
MAX_BACKOFF_S: Final = 120.0
_AGAIN: Final = frozenset((408, 425, 429, *range(500, 600)))
_EPOCH_S: Final = 1e9
"""A reset beyond that is a moment, not a number of seconds."""


class FetchError(StageError):
    """A search API does not give what is asked for; the message says what to do."""


class _FaultError(Exception):
    """Something that may pass. `wait_s` is how long the server wants to be left alone, if it says so."""

    def __init__(self, what: str, wait_s: float | None = None) -> None:
        super().__init__(what)
        self.wait_s = wait_s


class SearchApi:
    """Asks one API, to be used in a `with`."""

    def __init__(
        self,
        url: str,
        *,
        user_agent: str,
        requests_per_minute: float,
        timeout_s: float,
        attempts: int,
        backoff_s: float,
        max_wait_s: float,
    ) -> None:
        """Nothing is asked yet.

        Args:
            url: The address to put parameters to.
            user_agent: Who we are.
            requests_per_minute: Questions are at least a minute divided by that apart.
            timeout_s: How long an answer may take, all of it.
            attempts: How often a question is put before it is given up.
            backoff_s: The first wait of those that double.
            max_wait_s: A server that asks for a longer wait is left alone: the run ends, and can go on later.
        """
        import httpx  # noqa: PLC0415  # --help need not wait for it

        self._url = url
        self._interval_s = 60.0 / requests_per_minute
        self._timeout_s, self._attempts, self._backoff_s, self._max_wait_s = timeout_s, attempts, backoff_s, max_wait_s
        self._not_before_s = 0.0
        self._client = httpx.Client(
            headers={"User-Agent": user_agent, "Accept": "application/json"},
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 20.0)),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def ask(self, parameters: Mapping[str, str | int]) -> list[Any]:
        """The records that are the answer. Raises FetchError."""
        for attempt in range(self._attempts):
            time.sleep(max(0.0, self._not_before_s - time.monotonic()))
            self._not_before_s = time.monotonic() + self._interval_s
            try:
                return self._ask_once(parameters)
            except _FaultError as fault:
                if attempt + 1 == self._attempts:
                    raise FetchError(
                        f"{self._url} failed {self._attempts} times, the last time because of {fault}: start again "
                        "later to go on from here"
                    ) from fault
                self._wait_after(fault, attempt)
        raise AssertionError

    def _wait_after(self, fault: _FaultError, attempt: int) -> None:
        wait_s = fault.wait_s
        if wait_s is None:
            wait_s = min(MAX_BACKOFF_S, self._backoff_s * 2**attempt) * random.uniform(0.5, 1.0)
        if wait_s > self._max_wait_s:
            raise FetchError(
                f"{self._url} wants to be left alone for {wait_s:,.0f} s ({fault}): start again then to go on from "
                "here, or allow it with --max-wait-s"
            ) from fault
        self._not_before_s = max(self._not_before_s, time.monotonic() + wait_s)

    def _ask_once(self, parameters: Mapping[str, str | int]) -> list[Any]:
        import httpx  # noqa: PLC0415

        try:
            with self._client.stream("GET", self._url, params=dict(parameters)) as response:
                body = self._body_of(response)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise FetchError(f"{self._url} is no address to ask ({error}): correct --base-url") from error
        except httpx.DecodingError as error:
            raise _FaultError(f"a body that cannot be unpacked ({error})") from error
        except httpx.TransportError as error:
            raise _FaultError(f"{type(error).__name__} ({error})" if str(error) else type(error).__name__) from error
        self._keep_pace(response)
        return self._records_of(response, body)

    def _body_of(self, response: httpx.Response) -> bytes:
        deadline_s = time.monotonic() + self._timeout_s
        body = bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                raise FetchError(f"{self._url} answers more than {MAX_ANSWER_BYTES:,} bytes: is it a search API?")
            if time.monotonic() > deadline_s:
                raise _FaultError(f"an answer that takes longer than {self._timeout_s:,.0f} s")
        return bytes(body)

    def _records_of(self, response: httpx.Response, body: bytes) -> list[Any]:
        status = response.status_code
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            answer = None
        trouble = answer.get("error") or answer.get("detail") if isinstance(answer, dict) else None
        said = f"{status}: {str(trouble)[:200]}" if trouble else str(status)
        if status in _AGAIN or (status == 422 and "timeout" in str(trouble).lower()):
            raise _FaultError(f"status {said}", _asked_to_wait_s(response))
        if not response.is_success:
            raise FetchError(
                f"{self._url} refuses with status {said}: are --base-url, --source and --subreddits right?"
            )
        records = answer.get("data") if isinstance(answer, dict) else answer
        if not isinstance(records, list):
            what = f"an error ({said})" if trouble else f"an answer that is no list of records: {body[:60]!r}"
            raise _FaultError(what, _asked_to_wait_s(response))
        return records

    def _keep_pace(self, response: httpx.Response) -> None:
        """Waits before the next question if this one was the last that is allowed for now."""
        reset_s = _reset_s(response)
        if reset_s is not None and response.is_success:
            self._not_before_s = max(self._not_before_s, time.monotonic() + min(reset_s, self._max_wait_s))


def _asked_to_wait_s(response: httpx.Response) -> float | None:
    asked_s = retry_after_s(response.headers.get("Retry-After"), response.headers.get("Date"))
    return _reset_s(response) if asked_s is None else asked_s


def _reset_s(response: httpx.Response) -> float | None:
    """Seconds until the server counts anew, if nothing remains until then."""
    try:
        remaining = float(response.headers["X-RateLimit-Remaining"])
        reset = float(response.headers["X-RateLimit-Reset"])
    except (KeyError, ValueError):
        return None
    if not remaining < 1 or not reset >= 0:
        return None
    return max(0.0, reset - time.time()) if reset > _EPOCH_S else reset
