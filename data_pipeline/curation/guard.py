"""What every request must prove before a route sees it, and what every answer says to the browser.

In this order: the Host header names us (a name of somebody's that leads to 127.0.0.1 does not); a change comes from our
own page; somebody is signed in; the request carries the session's token.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from flask import g, request, session

from data_pipeline.curation.errors import BadHostError, CrossSiteError, NotSignedInError

if TYPE_CHECKING:
    from collections.abc import Collection

    from flask import Response

    from data_pipeline.curation.sign_in import Sessions

CSRF_HEADER: Final = "X-Greentext-CSRF"
LOOPBACK_NAMES: Final = frozenset(("localhost", "127.0.0.1", "::1"))
SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS"))
PAGE_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DATA_CSP: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def name_in(host: str) -> str:
    """The name or address in a Host header, without its port; empty where there is none."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        return name.lower() if bracket and (not port or port.startswith(":")) else ""
    name, _, port = host.partition(":")
    return name.rstrip(".").lower() if not port or port.isdigit() else ""


def check_host(allowed: Collection[str]) -> None:
    """Raises BadHostError where the Host header names none of those allowed."""
    if name_in(request.headers.get("Host", "")) not in allowed:
        raise BadHostError(
            "This server does not go by that name: open the address that gtx-data curate printed, "
            "or start it with --allow-host NAME."
        )


def check_origin() -> None:
    """Raises CrossSiteError for a request of another site's page, and for a change that does not say whose it is."""
    site = request.headers.get("Sec-Fetch-Site")
    if request.method in SAFE_METHODS:
        if site not in (None, "same-origin", "none"):
            raise CrossSiteError("Another site's page cannot read this: open the app itself.")
        return
    if site not in (None, "same-origin"):
        raise CrossSiteError("Another site's page cannot change anything here: open the app itself.")
    expected = f"{request.scheme}://{request.headers.get('Host', '')}"
    if request.headers.get("Origin", "").lower() != expected.lower():
        raise CrossSiteError(
            f"A change must come from {expected}: open the app itself. (Behind a proxy it must pass Host and "
            "X-Forwarded-Proto on, and the app must be started with --behind-proxy.)"
        )


def check_session(sessions: Sessions) -> None:
    """Whose request it is, into `g.person`. Raises NotSignedInError."""
    token = session.get("token")
    person = sessions.person(token) if isinstance(token, str) else None
    if person is None:
        raise NotSignedInError("You are not signed in, or no longer: sign in and go on.")
    g.person = person


def check_csrf() -> None:
    """Raises CrossSiteError where a change does not carry the session's token."""
    expected = session.get("csrf")
    said = request.headers.get(CSRF_HEADER, "")
    if not isinstance(expected, str) or not hmac.compare_digest(expected.encode(), said.encode()):
        raise CrossSiteError(f"The header {CSRF_HEADER} is not this session's: load the page anew.")


def add_headers(response: Response) -> Response:
    """What every answer says."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    is_page = response.mimetype == "text/html"
    response.headers.setdefault("Content-Security-Policy", PAGE_CSP if is_page else DATA_CSP)
    if request.path.startswith("/api"):
        response.headers["Cache-Control"] = "no-store"
    response.headers.setdefault("Cache-Control", "no-cache")
    return response
