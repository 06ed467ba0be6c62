"""Ratings, the board and sessions over HTTP, without a server around them."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request

from service.api import board
from service.api.board import BoardApi
from service.api.board_openapi import BOARD_ANSWERS, BOARD_REQUESTS, board_paths
from service.api.board_schemas import BoardResponse, KeptGreentext, RatingResponse
from service.api.errors import ApiError, native_words
from service.api.generation import Prompt, Submission
from service.api.guard import Envelope
from service.api.recording import generation_records
from service.api.responses import error_response
from service.api.schemas import ErrorResponse
from service.api.sessions import COOKIE, NEWCOMERS, SessionLimiter, session_id_of
from service.engine.llm_engine import Completion
from service.engine.sampling_params import SamplingParams
from service.engine.sequence import FinishReason
from service.settings import Settings
from service.store.store import Store
from tests.service.store.places import FLAGGED, TEXT, Place, PostgresPlace, record, wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from starlette.responses import Response


async def _answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error, request.state.request_id, native_words)


def app_of(store: Store, settings: Settings) -> Starlette:
    return Starlette(
        routes=BoardApi(store, settings).routes,
        middleware=[Middleware(Envelope, wording_of=lambda _: native_words)],
        exception_handlers={ApiError: _answer},
    )


def client_of(store: Store, settings: Settings | None = None, *, scheme: str = "http") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app_of(store, settings or store._settings))
    return httpx.AsyncClient(transport=transport, base_url=f"{scheme}://greentext.example")


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(store) as client:
        yield client


def own_session(client: httpx.AsyncClient) -> str:
    """The session that the service knows a client by."""
    cookie = f"{COOKIE}={client.cookies[COOKIE]}".encode()
    session_id = session_id_of(Request({"type": "http", "headers": [(b"cookie", cookie)]}))
    assert session_id is not None
    return session_id


async def ready(store: Store) -> None:
    await asyncio.to_thread(wait_for, lambda: store._sink and store._sink.is_ready)


async def rate(client: httpx.AsyncClient, generation_id: str, rating: Any) -> httpx.Response:
    return await client.post("/ratings", json={"generation_id": generation_id, "rating": rating})


def error_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["type"]


async def test_a_text_is_rated_shown_and_taken_back(client: httpx.AsyncClient, store: Store) -> None:
    await client.get("/board")  # makes the session
    await ready(store)
    await client.get("/board")
    one = record(session_id=own_session(client))
    store.record(one)
    answer = await rate(client, one.id, "good")
    assert answer.status_code == 200
    assert answer.json() == {"generation_id": one.id, "rating": "good", "saved": True, "good": 1, "bad": 0}
    RatingResponse.model_validate(answer.json())
    found = (await client.get(f"/generations/{one.id}")).json()
    assert found == {
        "id": one.id, "text": TEXT, "lines": ["be me", "find a frog", "we are friends now"], "model": one.model,
        "model_edition": one.bundle_sha256[:12], "created_s": one.created_s, "finish_reason": "end",
        "prompt": one.prompt, "seed": 7, "sampling": one.sampling, "good": 1, "bad": 0, "your_rating": "good",
        "mine": True, "shared": True, "on_board": True, "reason": None,
    }  # fmt: skip
    KeptGreentext.model_validate(found)
    page = (await client.get("/board", params={"order": "best"})).json()
    assert page == {"order": "best", "greentexts": [found], "next": None}
    BoardResponse.model_validate(page)
    assert (await rate(client, one.id, None)).json()["good"] == 0
    assert (await client.delete(f"/generations/{one.id}")).status_code == 204
    for response in (
        await client.get(f"/generations/{one.id}"),
        await client.delete(f"/generations/{one.id}"),
        await rate(client, one.id, "good"),
    ):
        assert error_of(response) == (410, "gone")


async def test_pages_follow_each_other(client: httpx.AsyncClient, store: Store) -> None:
    await ready(store)
    texts = [record(created_s=1000.0 + i) for i in range(5)]
    for one in [*texts, record(text=FLAGGED), record(shared=False)]:
        store.record(one)
    await asyncio.to_thread(wait_for, lambda: store.stats.pending == 0)
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = (await client.get("/board", params={"limit": "2", **after})).json()
        seen += [one["id"] for one in page["greentexts"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == [one.id for one in reversed(texts)]


class TestSessions:
    async def test_a_cookie_comes_with_the_board_and_is_chance_alone(
        self, client: httpx.AsyncClient, store: Store, place: Place
    ) -> None:
        await ready(store)
        first = await client.get("/board")
        assert re.fullmatch(
            rf"{COOKIE}=[\w-]{{22}}; HttpOnly; Max-Age=15552000; Path=/; SameSite=lax", first.headers["set-cookie"]
        )
        assert first.headers["cache-control"] == "private, no-store"
        assert "set-cookie" not in (await client.get("/board")).headers
        assert place.count("sessions") == 0  # nothing is kept of who only looks

    async def test_the_cookie_is_secure_where_the_connection_is(self, store: Store) -> None:
        await ready(store)
        async with client_of(store, scheme="https") as client:
            assert "Secure" in (await client.get("/board")).headers["set-cookie"]
        async with client_of(store) as client:
            proxied = await client.get("/board", headers={"x-forwarded-proto": "https, http"})
            assert "Secure" in proxied.headers["set-cookie"]

    async def test_no_other_request_makes_one(self, client: httpx.AsyncClient, store: Store) -> None:
        await ready(store)
        for response in (
            await client.get("/generations/nothing"),
            await client.delete("/generations/nothing"),
            await client.post("/ratings", json={}),
        ):
            assert response.status_code in (400, 404)
            assert "set-cookie" not in response.headers

    async def test_the_database_does_not_hold_the_cookie(
        self, client: httpx.AsyncClient, store: Store, place: Place
    ) -> None:
        one = record()
        store.record(one)
        assert (await rate(client, one.id, "bad")).status_code == 200
        assert place.rows("SELECT id FROM sessions") == [(own_session(client),)]
        assert client.cookies[COOKIE] not in own_session(client)

    async def test_a_session_can_be_forgotten(self, client: httpx.AsyncClient, store: Store, place: Place) -> None:
        one = record()
        store.record(one)
        await rate(client, one.id, "bad")
        answer = await client.delete("/session")
        assert answer.status_code == 204
        assert "Max-Age=0" in answer.headers["set-cookie"]
        assert (place.count("sessions"), place.count("ratings")) == (0, 0)
        assert (await client.delete("/session")).status_code == 204

    async def test_nobody_deletes_what_is_not_theirs(self, client: httpx.AsyncClient, store: Store) -> None:
        one = record(session_id="another")
        store.record(one)
        assert error_of(await client.delete(f"/generations/{one.id}")) == (404, "not_found")
        await rate(client, one.id, "good")
        assert error_of(await client.delete(f"/generations/{one.id}")) == (404, "not_found")

    async def test_a_made_up_cookie_of_another_form_is_none(self, client: httpx.AsyncClient, store: Store) -> None:
        await ready(store)
        for cookie in ("short", "x" * 23, "ä" * 22, "x" * 21 + "!"):
            answer = await client.get("/board", headers={"cookie": f"{COOKIE}={cookie}".encode()})
            assert "set-cookie" in answer.headers
            client.cookies.clear()


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "generation_id"),
            ({"generation_id": "a"}, "rating"),
            ({"generation_id": "a", "rating": "great"}, "rating"),
            ({"generation_id": "a", "rating": 1}, "rating"),
            ({"generation_id": 5, "rating": "good"}, "generation_id"),
            ({"generation_id": "", "rating": "good"}, "generation_id"),
            ({"generation_id": "a/b", "rating": "good"}, "generation_id"),
            ({"generation_id": "a" * 65, "rating": "good"}, "generation_id"),
            ({"generation_id": "a", "rating": "good", "session": "b"}, "session"),
        ],
    )
    async def test_a_rating_that_cannot_be(self, body: Any, field: str, tmp_path: Path) -> None:
        async with client_of(Store(Settings(data_dir=tmp_path))) as client:
            answer = await client.post("/ratings", json=body)
            assert error_of(answer) == (400, "invalid_request")
            assert answer.json()["error"]["field"] == field

    @pytest.mark.parametrize(
        ("query", "field"),
        [("order=worst", "order"), ("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"),
         ("after=x", "after"), ("page=2", "page"), ("order=best&after=WyJyZWNlbnQiLDEsImEiXQ", "after")],
    )  # fmt: skip
    async def test_a_page_that_cannot_be(self, query: str, field: str, tmp_path: Path) -> None:
        store = Store(Settings(data_dir=tmp_path))
        store.start()
        async with client_of(store) as client:
            answer = await client.get(f"/board?{query}")
            assert error_of(answer) == (400, "invalid_request")
            assert answer.json()["error"]["field"] == field
        store.stop(1)

    async def test_what_is_not_there(
        self, client: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(board, "WRITE_WITHIN_S", 20.0)
        await ready(store)
        for path in ("/generations/nothing", "/generations/a%20b", "/generations/" + "a" * 65, "/generations/%F0%9F"):
            assert error_of(await client.get(path)) == (404, "not_found")
        assert error_of(await rate(client, "nothing", "good")) == (404, "not_found")

    async def test_who_asks_too_often_waits(self, make_store: Callable[..., Store]) -> None:
        store = make_store(ratings_per_minute=3, board_reads_per_minute=2)
        await ready(store)
        one = record()
        store.record(one)
        async with client_of(store) as client:
            answers = [await rate(client, one.id, "good") for _ in range(4)]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
            assert error_of(answers[-1])[1] == "rate_limited"
            assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
            answers = [await client.get("/board") for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
        async with client_of(store) as other:
            assert (await rate(other, one.id, "good")).json()["good"] == 2

    async def test_a_closed_board_shows_each_only_its_own(self, make_store: Callable[..., Store]) -> None:
        store = make_store(board_public=False)
        async with client_of(store) as client:
            assert error_of(await client.get("/board")) == (404, "not_found")
            theirs = record()
            store.record(theirs)
            await rate(client, theirs.id, "good")
            mine = record(session_id=own_session(client))
            store.record(mine)
            await asyncio.to_thread(wait_for, lambda: store.stats.pending == 0)
            assert error_of(await client.get(f"/generations/{theirs.id}")) == (404, "not_found")
            assert (await client.get(f"/generations/{mine.id}")).status_code == 200


class TestOutages:
    async def test_while_the_database_is_away_nobody_waits_long_and_ratings_are_kept(
        self, client: httpx.AsyncClient, store: Store, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(board, "WRITE_WITHIN_S", 0.3)
        await ready(store)
        one = record()
        store.record(one)
        await asyncio.to_thread(wait_for, lambda: store.stats.pending == 0)
        await asyncio.to_thread(place.take_away)
        answer = await rate(client, one.id, "good")
        assert answer.status_code == 202
        assert answer.json() == {"generation_id": one.id, "rating": "good", "saved": False, "good": None, "bad": None}
        RatingResponse.model_validate(answer.json())
        for path in ("/board", f"/generations/{one.id}"):
            answer = await client.get(path)
            if isinstance(place, PostgresPlace):
                assert error_of(answer) == (503, "unavailable")
                assert int(answer.headers["retry-after"]) >= 1
            else:  # a file that others lock against writing can be read
                assert answer.status_code == 200
        await asyncio.to_thread(place.bring_back)
        await asyncio.to_thread(wait_for, lambda: store.stats.pending == 0, 20)
        assert (await client.get(f"/generations/{one.id}")).json()["your_rating"] == "good"

    async def test_a_slow_database_does_not_hold_the_event_loop(
        self, client: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(board, "READ_WITHIN_S", 0.2)
        await ready(store)
        go = threading.Event()
        monkeypatch.setattr("service.store.reads.board_page", lambda *_: go.wait(10))
        laps = 0

        async def walk() -> None:
            nonlocal laps
            while True:
                await asyncio.sleep(0.005)
                laps += 1

        walker = asyncio.create_task(walk())
        answers = await asyncio.gather(*(client.get("/board") for _ in range(10)))
        walker.cancel()
        go.set()
        assert {error_of(answer) for answer in answers} == {(503, "unavailable")}
        assert laps >= 10

    async def test_a_full_queue_refuses_ratings(
        self, make_store: Callable[..., Store], place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(board, "WRITE_WITHIN_S", 0.1)
        store = make_store(database_queue=1)
        await ready(store)
        await asyncio.to_thread(place.take_away)
        store.record(record())
        async with client_of(store) as client:
            answer = await rate(client, "nothing", "good")
            assert error_of(answer) == (503, "unavailable")
            assert "retry-after" in answer.headers
        await asyncio.to_thread(place.bring_back)

    @pytest.mark.parametrize("given", ["none", "unwritable"])
    async def test_without_a_store_it_says_so(self, given: str, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        settings = Settings.model_validate(
            {"database_url": "none"} if given == "none" else {"data_dir": tmp_path / "file" / "x"}
        )
        store = Store(settings)
        store.start()
        expected = (404, "not_found") if given == "none" else (503, "unavailable")
        async with client_of(store) as client:
            assert error_of(await client.get("/board")) == expected
            assert error_of(await client.get("/generations/x")) == expected
            assert error_of(await rate(client, "x", "good")) == expected
            answer = await client.post("/session")
            assert error_of(answer) == expected
            assert "set-cookie" not in answer.headers


class TestLimiter:
    def test_a_bucket_fills_evenly(self) -> None:
        now_s = [0.0]
        limiter = SessionLimiter(60, clock=lambda: now_s[0])
        assert [limiter.wait_s("a") for _ in range(60)] == [0.0] * 60
        assert limiter.wait_s("a") == pytest.approx(1.0)
        now_s[0] = 1.0
        assert limiter.wait_s("a") == 0.0
        assert limiter.wait_s("a") == pytest.approx(1.0)
        assert limiter.wait_s("b") == 0.0

    def test_new_sessions_have_a_limit_together(self) -> None:
        limiter = SessionLimiter(2, clock=lambda: 0.0)
        assert limiter.wait_s("known") == 0.0
        admitted = sum(limiter.wait_s(f"s{i}") == 0.0 for i in range(100))
        assert admitted == 2 * NEWCOMERS - 1
        assert limiter.wait_s(None) > 0
        assert limiter.wait_s("known") == 0.0

    def test_it_remembers_only_so_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("service.api.sessions.REMEMBERED_SESSIONS", 3)
        limiter = SessionLimiter(1000, clock=lambda: 0.0)
        for i in range(10):
            limiter.wait_s(f"s{i}")
            limiter.wait_s("busy")
        assert list(limiter._sessions) == ["s8", "s9", "busy"]


class TestDescription:
    def test_each_route_is_described_with_schemas_that_are_there(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path)
        described = {
            (path, method.upper())
            for path, operations in board_paths().items()
            for method in operations
            if method != "parameters"
        }
        served = {
            (route.path, method)
            for route in BoardApi(Store(settings), settings).routes
            for method in (route.methods or set()) - {"HEAD"}
        }
        assert described == served
        names = {model.__name__ for model in (*BOARD_REQUESTS, *BOARD_ANSWERS, ErrorResponse)}
        assert set(re.findall(r"#/components/schemas/(\w+)", str(board_paths()))) <= names

    def test_the_queries_fields_are_described(self) -> None:
        parameters = {p["name"]: p["schema"] for p in board_paths()["/board"]["get"]["parameters"]}
        assert parameters.keys() == {"order", "limit", "after"}
        assert parameters["order"] == {"enum": ["recent", "best"], "type": "string", "default": "recent"}
        assert (parameters["limit"]["maximum"], parameters["limit"]["default"]) == (100, 20)


def test_what_was_written_becomes_rows() -> None:
    def completion(text: str, seed: int, tokens: int = 3) -> Completion:
        return Completion(text, (), (), FinishReason.STOP, seed, 2, tokens, 0.1, 0.2, 0.3, 0.6)

    model: Any = SimpleNamespace(name="m", manifest=SimpleNamespace(files={"model.onnx": SimpleNamespace(sha256="a")}))
    params = SamplingParams(n=2, seed=5, stop=("\n\n",), logit_bias={17: -1.0})
    submission = Submission("r", model, [Prompt(">a", []), Prompt("", [])], params, [])
    texts = [[completion("b", 5), completion("c", 6)], [completion("", 5, 0), completion(">d", 6)]]
    records = list(generation_records(submission, texts, ids=["i1", "i2", "i3", "i4"], session_id="s", shared=True))
    assert [(one.id, one.prompt, one.text, one.seed) for one in records] == [
        ("i1", ">a", ">ab", 5), ("i2", ">a", ">ac", 6), ("i4", "", ">d", 6),
    ]  # fmt: skip
    one = records[0]
    assert (one.model, one.bundle_sha256, one.finish_reason, one.session_id, one.shared) == (
        "m",
        "a",
        "stop",
        "s",
        True,
    )
    assert (one.prompt_tokens, one.completion_tokens, one.queue_s, one.total_s) == (2, 3, 0.1, 0.6)
    sampling = json.loads(json.dumps(one.sampling))
    assert sampling["stop"] == ["\n\n"]
    assert sampling["logit_bias"] == {"17": -1.0}
    assert "seed" not in sampling
    assert abs(one.created_s - time.time()) < 60
