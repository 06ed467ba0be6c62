"""The Flask application: guards, routes, errors as JSON, the page."""

from __future__ import annotations

import hashlib
import logging
import secrets
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from data_pipeline.curation import guard
from data_pipeline.curation.errors import CurationError, TooManyTriesError
from data_pipeline.curation.page import ASSETS, INDEX, Page
from data_pipeline.curation.routes import api
from data_pipeline.curation.sign_in import SESSION_S, Password, Sessions, Tries, secret_of

if TYPE_CHECKING:
    from pathlib import Path

    from data_pipeline.curation.database import Database
    from data_pipeline.curation.pictures import PictureFolder

MAX_BODY_BYTES: Final = 256 * 1024
LEASE_S: Final = 90.0
EXTENSION: Final = "greentext_curation"
_WITHOUT_SESSION: Final = frozenset(("api.session_show", "api.session_begin", "page_index", "page_file"))
_LOG: Final = logging.getLogger("data_pipeline.curation")


@dataclass(frozen=True, slots=True)
class Access:
    """Who may come in, and from where."""

    host: str = "127.0.0.1"
    allow_hosts: tuple[str, ...] = ()
    """Names and addresses besides `host` and those of loopback that a Host header may have."""
    password: str | None = field(default=None, repr=False)
    behind_proxy: bool = False
    """One proxy stands before us and ends TLS: its X-Forwarded-For and -Proto are believed, cookies are Secure."""

    @property
    def names(self) -> frozenset[str]:
        """All that a Host header may have."""
        given = {name.strip("[]").rstrip(".").lower() for name in (self.host, *self.allow_hosts)}
        return guard.LOOPBACK_NAMES | given


@dataclass(frozen=True, slots=True)
class Curation:
    """What routes work with."""

    database: Database
    pictures: PictureFolder
    sessions: Sessions
    tries: Tries
    password: Password | None
    lease_s: float
    store_id: str


def create_app(
    folder: Path,
    database: Database,
    pictures: PictureFolder,
    *,
    access: Access,
    page: Page,
    lease_s: float = LEASE_S,
) -> Flask:
    """The application over a folder that is open.

    Raises:
        StageError: The secret is damaged, or the password too short.
        OSError: The folder cannot be read.
    """
    secret = secret_of(folder)
    password = None if access.password is None else Password(access.password, secret)
    app = Flask(__name__, static_folder=None, template_folder=None)
    app.config.update(
        SECRET_KEY=secret,
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        # Cookies know no port: two folders open at once must not sign each other out.
        SESSION_COOKIE_NAME=f"greentext_curation_{hashlib.sha256(secret).hexdigest()[:8]}",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_SECURE=access.behind_proxy,
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=SESSION_S),
        PROPAGATE_EXCEPTIONS=False,
        TRAP_HTTP_EXCEPTIONS=False,
    )
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    sessions = Sessions(database, password.mark if password else "")
    app.extensions[EXTENSION] = Curation(database, pictures, sessions, Tries(), password, lease_s, _store_id(database))
    _guard(app, access, sessions)
    _explain_errors(app)
    app.register_blueprint(api)
    _serve(app, page)
    if access.behind_proxy:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=0, x_port=0, x_prefix=0)  # type: ignore[method-assign]
    return app


def _store_id(database: Database) -> str:
    with database.reading() as connection:
        known = connection.execute("SELECT value FROM store WHERE name = 'id'").fetchone()
    if known is None:
        with database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO store (name, value) VALUES ('id', ?)", (str(uuid.uuid4()),))
            known = connection.execute("SELECT value FROM store WHERE name = 'id'").fetchone()
    return str(known["value"])


def _guard(app: Flask, access: Access, sessions: Sessions) -> None:
    names = access.names

    @app.before_request
    def check() -> None:
        guard.check_host(names)
        if not request.path.startswith("/api"):
            return
        guard.check_origin()
        if request.endpoint not in _WITHOUT_SESSION:
            guard.check_session(sessions)
        if request.method not in guard.SAFE_METHODS:
            guard.check_csrf()

    app.after_request(guard.add_headers)


def _explain_errors(app: Flask) -> None:
    @app.errorhandler(CurationError)
    def refused(error: CurationError) -> Response:
        response = _error(error.status, error.code, error.message, **error.extra)
        if isinstance(error, TooManyTriesError):
            response.headers["Retry-After"] = str(error.extra["retry_after_s"])
        return response

    @app.errorhandler(HTTPException)
    def not_done(error: HTTPException) -> Response:
        status = error.code or 500
        code, message = _OF_STATUS.get(status, ("bad_request", "The request cannot be read: load the page anew."))
        response = _error(status, code, message)
        if "Allow" in (headers := dict(error.get_headers())):
            response.headers["Allow"] = headers["Allow"]
        return response

    @app.errorhandler(Exception)
    def failed(_: Exception) -> Response:
        number = secrets.token_hex(4)
        _LOG.exception("error %s in %s %s", number, request.method, request.path)
        return _error(
            500,
            "internal_error",
            f"The server made a mistake (number {number} in its output): try again, or load anew.",
        )


_OF_STATUS: Final = {
    404: ("no_such_page", "There is nothing here: go back to the list."),
    405: ("bad_request", "This cannot be done here: load the page anew."),
    413: ("too_large", f"The request is larger than {MAX_BODY_BYTES // 1024} KiB: send less text."),
}


def _error(status: int, code: str, message: str, **extra: Any) -> Response:
    content = orjson.dumps({"error": {"code": code, "message": message, **extra}})
    return Response(content, status=status, mimetype="application/json")


def _serve(app: Flask, page: Page) -> None:
    @app.get("/", provide_automatic_options=False)
    def page_index() -> Response:
        return _file(page, INDEX)

    @app.get("/<path:name>", provide_automatic_options=False)
    def page_file(name: str) -> Response:
        return _file(page, name)


def _file(page: Page, name: str) -> Response:
    found = page.file(name) if not name.startswith("api/") else None
    if found is None:
        return _error(404, *_OF_STATUS[404])
    content, kind = found
    response = Response(content, content_type=kind)
    if name.startswith(f"{ASSETS}/"):
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response
