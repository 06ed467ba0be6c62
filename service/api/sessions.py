"""Who asks, without knowing who: a cookie that holds nothing but chance, and how often its holder may ask.

A session is made when somebody rates or opens the board, never before. What is passed on and stored is a digest of the
cookie, so that a copy of the database lets nobody act for anybody. No address is looked at.
"""

import hashlib
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

COOKIE: Final = "gtx_session"
COOKIE_BYTES: Final = 16
COOKIE_FORM: Final = re.compile(r"[A-Za-z0-9_-]{22}")
COOKIE_AGE_S: Final = 180 * 86400
NEWCOMERS: Final = 10
"""How many times what one session may do all those together may that have not been seen before."""
REMEMBERED_SESSIONS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """A session, and its cookie if that is new."""

    id: str
    new_cookie: str | None = None

    def give(self, response: Response, request: Request) -> None:
        """Has a response bring the cookie, where it is new. Nobody else may keep such a response."""
        response.headers["cache-control"] = "private, no-store"
        if self.new_cookie is not None:
            response.set_cookie(
                COOKIE,
                self.new_cookie,
                max_age=COOKIE_AGE_S,
                path="/",
                secure=_is_https(request),
                httponly=True,
                samesite="lax",
            )


def session_id_of(request: Request) -> str | None:
    """The session that a request belongs to; None without a cookie of ours."""
    cookie = request.cookies.get(COOKIE, "")
    return _digest(cookie) if COOKIE_FORM.fullmatch(cookie) else None


def session_of(request: Request) -> Session:
    """The same, with a new session where there is none."""
    session_id = session_id_of(request)
    if session_id is not None:
        return Session(session_id)
    cookie = secrets.token_urlsafe(COOKIE_BYTES)
    return Session(_digest(cookie), cookie)


def forget(response: Response, request: Request) -> None:
    """Has a response take the cookie away."""
    response.delete_cookie(COOKIE, path="/", secure=_is_https(request), httponly=True, samesite="lax")


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("ascii")).hexdigest()[:32]


def _is_https(request: Request) -> bool:
    # What a proxy says of its own connection decides on this cookie only, and for whoever sent it.
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", "").partition(",")[0].strip())


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at_s: float

    def take(self, capacity: float, now_s: float) -> float:
        """Takes one of what runs in evenly, `capacity` a minute; answers after how many seconds there is one."""
        self.tokens = min(capacity, self.tokens + (now_s - self.filled_at_s) * capacity / 60)
        self.filled_at_s = now_s
        if self.tokens < 1:
            return (1 - self.tokens) * 60 / capacity
        self.tokens -= 1
        return 0.0


class SessionLimiter:
    """How often each session may ask, in this process.

    A session that has not been seen here before, made up or not, takes its turn with all others of that kind: to throw
    the cookie away, or to invent one, is no way around the limit.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._sessions: OrderedDict[str, _Bucket] = OrderedDict()
        self._newcomers = _Bucket(NEWCOMERS * per_minute, clock())

    def wait_s(self, session_id: str | None) -> float:
        """0 if the session may ask now, and has; else after how many seconds it may. None is nobody in particular."""
        now_s = self._clock()
        bucket = None if session_id is None else self._sessions.get(session_id)
        if bucket is None:
            wait_s = self._newcomers.take(NEWCOMERS * self._per_minute, now_s)
            if wait_s > 0 or session_id is None:
                return wait_s
            bucket = self._sessions[session_id] = _Bucket(self._per_minute, now_s)
            if len(self._sessions) > REMEMBERED_SESSIONS:
                self._sessions.popitem(last=False)
        elif session_id is not None:
            self._sessions.move_to_end(session_id)
        return bucket.take(self._per_minute, now_s)
