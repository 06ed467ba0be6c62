"""One function a route of the contract, which docs/curation.md holds."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from flask import Blueprint, Response, current_app, g, request, session

from data_pipeline.curation import bodies, decisions, drafts, leases, sign_in
from data_pipeline.curation.errors import BadRequestError, NoSuchRowError, NotSignedInError, WrongPasswordError
from data_pipeline.curation.listing import MAX_LIMIT, neighbour, page
from data_pipeline.curation.progress import progress
from data_pipeline.curation.reasons import REASONS
from data_pipeline.curation.row_filter import filter_from
from data_pipeline.curation.rows import history_json, row_id_of, row_json
from greentext.genres import Genre

if TYPE_CHECKING:
    from data_pipeline.curation.app import Curation

DEFAULT_LIMIT: Final = 60
PICTURE_CSP: Final = "default-src 'none'; sandbox"

api: Final = Blueprint("api", __name__, url_prefix="/api")


def _here() -> Curation:
    return cast("Curation", current_app.extensions["greentext_curation"])


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), mimetype="application/json")


def _nothing() -> Response:
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


@api.get("/session")
def session_show() -> Response:
    """Who is signed in; begins a session without a person, so that signing in can carry its token."""
    token = session.get("token")
    person = _here().sessions.person(token) if isinstance(token, str) else None
    if "csrf" not in session:
        session.permanent = True
        session["csrf"] = secrets.token_urlsafe(24)
    return _session(person)


def _session(person: str | None) -> Response:
    here = _here()
    return _json(
        {
            "person": person,
            "csrf": session["csrf"],
            "password_needed": here.password is not None,
            "signed_in": person is not None,
            "tab_lease_s": here.lease_s,
            "store": here.store_id,
        }
    )


@api.post("/session")
def session_begin() -> Response:
    """Signs in."""
    body = bodies.body_of(bodies.SignIn)
    here = _here()
    person = sign_in.name_of(body.person)
    if here.password is not None:
        address = request.remote_addr or ""
        here.tries.check(address)
        try:
            here.password.check(body.password)
        except WrongPasswordError:
            here.tries.failed(address)
            raise
        here.tries.succeeded(address)
    before = session.get("token")
    if isinstance(before, str):
        here.sessions.end(before)
    session.clear()
    session.permanent = True
    session["csrf"] = secrets.token_urlsafe(24)
    session["token"] = here.sessions.begin(person)
    return _session(person)


@api.delete("/session")
def session_end() -> Response:
    """Signs out."""
    token = session.get("token")
    if not isinstance(token, str):
        raise NotSignedInError("You are not signed in.")
    _here().sessions.end(token)
    session.clear()
    return _nothing()


@api.get("/facets")
def facets() -> Response:
    """What rows can be filtered by, and what they can be given."""
    with _here().database.reading() as connection:
        found = {
            name: [value for (value,) in connection.execute(f"SELECT DISTINCT {name} FROM rows ORDER BY 1") if value]  # noqa: S608 - ours
            for name in ("source", "genre", "theme")
        }
    return _json(
        {
            "sources": found["source"],
            "genres": found["genre"],
            "themes": found["theme"],
            "reasons": [{"code": code, "label": label} for code, label in REASONS.items()],
            "genres_to_give": list(Genre),
        }
    )


@api.get("/progress")
def progress_show() -> Response:
    """How far the work is."""
    with _here().database.reading() as connection:
        return _json(progress(connection, g.person))


@api.get("/rows")
def rows_list() -> Response:
    """A page of a list."""
    wanted = filter_from(request.args.to_dict())
    limit = request.args.get("limit", str(DEFAULT_LIMIT))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MAX_LIMIT):
        raise BadRequestError(f"limit must be from 1 to {MAX_LIMIT}.")
    with _here().database.reading() as connection:
        return _json(page(connection, wanted, g.person, limit=int(limit), after=request.args.get("after")))


@api.get("/rows/<row>")
def row_show(row: str) -> Response:
    """A row."""
    with _here().database.reading() as connection:
        return _json(row_json(connection, row_id_of(row), g.person))


@api.post("/rows/next")
def rows_next() -> Response:
    """The next row, which the person's tab holds from now on."""
    body = bodies.body_of(bodies.Next)
    wanted = filter_from(body.filter)
    beside = None if body.after is None else row_id_of(body.after)
    here = _here()
    with here.database.writing() as connection:
        row_id = neighbour(connection, wanted, g.person, body.tab, beside=beside)
        if row_id is None:
            return _nothing()
        leases.take(connection, row_id, g.person, body.tab, lease_s=here.lease_s)
        return _json(row_json(connection, row_id, g.person))


@api.post("/rows/previous")
def rows_previous() -> Response:
    """The row before; nobody holds it for that."""
    body = bodies.body_of(bodies.Previous)
    wanted = filter_from(body.filter)
    with _here().database.reading() as connection:
        beside = row_id_of(body.before)
        row_id = neighbour(connection, wanted, g.person, body.tab, beside=beside, backwards=True)
        return _nothing() if row_id is None else _json(row_json(connection, row_id, g.person))


@api.post("/rows/<row>/lease")
def lease_take(row: str) -> Response:
    """Takes or renews a lease."""
    body = bodies.body_of(bodies.Lease)
    here = _here()
    with here.database.writing() as connection:
        until_s = leases.take(connection, row_id_of(row), g.person, body.tab, lease_s=here.lease_s)
    return _json({"until_s": until_s})


@api.delete("/rows/<row>/lease")
def lease_release(row: str) -> Response:
    """Lets go of a row."""
    with _here().database.writing() as connection:
        leases.release(connection, row_id_of(row), g.person, request.args.get("tab"))
    return _nothing()


@api.put("/rows/<row>/draft")
def draft_save(row: str) -> Response:
    """Saves what is typed."""
    body = bodies.body_of(bodies.Draft)
    with _here().database.writing() as connection:
        saved_at_s = drafts.save(connection, row_id_of(row), g.person, body.tab, text=body.text, version=body.version)
    return _json({"saved_at_s": saved_at_s})


@api.delete("/rows/<row>/draft")
def draft_discard(row: str) -> Response:
    """Throws a draft away."""
    with _here().database.writing() as connection:
        drafts.discard(connection, row_id_of(row), g.person)
    return _nothing()


@api.post("/rows/<row>/decision")
def decide(row: str) -> Response:
    """Accepts, rejects, skips, reopens or saves."""
    body = bodies.body_of(bodies.DecisionBody)
    decision = decisions.Decision(
        action=body.action,
        text=body.text,
        version=body.version,
        tab=body.tab,
        request_id=body.request_id,
        genre=body.genre,
        reason=body.reason or "",
        note=body.note or "",
    )
    return _json(decisions.decide(_here().database, row_id_of(row), g.person, decision))


@api.post("/undo")
def undo() -> Response:
    """Takes a decision back."""
    body = bodies.body_of(bodies.Undo)
    return _json(decisions.undo(_here().database, g.person, body.request_id, skip=body.skip))


@api.get("/rows/<row>/history")
def row_history(row: str) -> Response:
    """All versions of a row."""
    with _here().database.reading() as connection:
        return _json(history_json(connection, row_id_of(row), g.person))


@api.get("/rows/<row>/image")
def row_image(row: str) -> Response:
    """The screenshot."""
    here = _here()
    with here.database.reading() as connection:
        found = connection.execute("SELECT image FROM rows WHERE id = ?", (row_id_of(row),)).fetchone()
    if found is None or not found["image"]:
        raise NoSuchRowError("This row has no screenshot.")
    content, kind = here.pictures.content_of(found["image"])
    response = Response(content, content_type=kind)
    response.headers["Content-Security-Policy"] = PICTURE_CSP
    return response
