"""To put a text on the board later, and to take it off: `PATCH /generations/{id}`, on both kinds of databases."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from service.api import board
from service.api.board_schemas import KeptGreentext, SharingResponse
from service.api.sessions import COOKIE
from service.store.records import BoardOrder, Rating, SharingChange, Verdict
from service.store.sink import DatabaseSink
from tests.service.store.places import FLAGGED, TEXT, Place, record, wait_for
from tests.service.store.test_board_api import client_of, error_of, own_session, ready

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

    from service.store.records import StoredGeneration, WriteResult
    from service.store.store import Store

WITHIN_S = 10.0


def share(store: Store, generation_id: str, *, shared: bool = True, session: str = "s1") -> WriteResult:
    return store.share(generation_id, session, shared=shared).result(WITHIN_S)


def shown(result: WriteResult) -> StoredGeneration:
    assert result.verdict is Verdict.DONE
    assert result.generation is not None
    return result.generation


def on_board(store: Store) -> set[str]:
    return {one.id for one in store.board(BoardOrder.RECENT, limit=50).result(WITHIN_S).generations}


class TestStore:
    def test_a_text_goes_on_the_board_and_off_it(self, store: Store) -> None:
        one = record(shared=False, session_id="s1")
        store.record(one)  # and is not saved yet
        found = shown(share(store, one.id))
        assert (found.id, found.text, found.shared, found.on_board, found.declined) == (one.id, TEXT, True, True, ())
        assert found.mine
        assert on_board(store) == {one.id}
        for _ in range(2):  # it may be asked for twice
            found = shown(share(store, one.id, shared=False))
            assert (found.shared, found.on_board) == (False, False)
            assert on_board(store) == set()
        assert shown(share(store, one.id)).on_board

    def test_its_ratings_stay_while_it_is_away(self, store: Store) -> None:
        one = record(session_id="s1")
        store.record(one)
        store.rate(one.id, "s1", Rating.GOOD).result(WITHIN_S)
        share(store, one.id, shared=False)
        found = shown(share(store, one.id))
        assert (found.good, found.your_rating) == (1, Rating.GOOD)
        best = store.board(BoardOrder.BEST, limit=5).result(WITHIN_S).generations
        assert [generation.id for generation in best] == [one.id]

    @pytest.mark.parametrize(
        ("text", "reasons"),
        [
            (FLAGGED, ("violent",)),
            (">mail me at a.b@example.org", ("personal_data",)),
            (" \n", ("empty",)),
            (">a\n" * 2000, ("too_long",)),
        ],
    )
    def test_the_policy_decides_whenever_it_is_shared(
        self, store: Store, place: Place, text: str, reasons: tuple[str, ...]
    ) -> None:
        later, at_once = record(text=text, shared=False, session_id="s1"), record(text=text, session_id="s1")
        store.record(later)
        store.record(at_once)
        found = shown(share(store, later.id))
        assert (found.shared, found.on_board, found.declined) == (True, False, reasons)
        asked = store.find(at_once.id, "s1").result(WITHIN_S)
        assert asked is not None
        assert asked.declined == reasons
        assert on_board(store) == set()
        assert shown(share(store, later.id, shared=False)).declined == ()
        rows = place.rows("SELECT on_board, shared FROM generations ORDER BY shared")
        assert [(bool(row.on_board), bool(row.shared)) for row in rows] == [(False, False), (False, True)]

    def test_only_its_own_session_may(self, store: Store) -> None:
        one, nobodys, gone = record(session_id="s1"), record(), record(session_id="s1")
        for text in (one, nobodys, gone):
            store.record(text)
        store.delete(gone.id, "s1").result(WITHIN_S)
        verdicts = [
            share(store, i, shared=False, session=session).verdict
            for i, session in [(one.id, "s2"), (nobodys.id, "s1"), ("nothing", "s1"), (gone.id, "s1"), (gone.id, "s2")]
        ]
        assert verdicts == ["not_yours", "not_yours", "unknown", "deleted", "deleted"]
        assert on_board(store) == {one.id, nobodys.id}

    def test_the_later_wish_holds_whichever_is_saved_first(self, place: Place) -> None:
        one = record(shared=False, session_id="s1", created_s=1.0)
        sink = DatabaseSink(place.database())

        def change(*, shared: bool, at_s: float) -> SharingChange:
            return SharingChange(generation_id=one.id, session_id="s1", shared=shared, at_s=at_s)

        sink.write([one])
        sink.write([change(shared=True, at_s=2.0)])
        (late,) = sink.write([change(shared=False, at_s=4.0)])
        (overtaken,) = sink.write([change(shared=True, at_s=3.0)])
        sink.close()
        assert [shown(result).on_board for result in (late, overtaken)] == [False, False]
        assert place.rows("SELECT shared, shared_changed_s FROM generations") == [(False, 4.0)]

    def test_a_batch_may_come_twice(self, place: Place) -> None:
        one = record(shared=False, session_id="s1")
        batch = [
            one,
            SharingChange(generation_id=one.id, session_id="s1", shared=True, at_s=time.time()),
        ]
        sink = DatabaseSink(place.database())
        for _ in range(2):
            _, changed = sink.write(batch)
            assert shown(changed).on_board
        sink.close()

    def test_several_processes_change_and_rate_the_same_texts(
        self, make_store: Callable[..., Store], place: Place
    ) -> None:
        stores = [make_store(), make_store()]
        texts = [record(shared=False, session_id="s1") for _ in range(12)]
        for one in texts:
            stores[0].record(one)
        wait_for(lambda: place.count("generations") == len(texts))
        futures = []
        for turn in range(6):
            order = texts if turn % 2 else texts[::-1]
            futures += [stores[turn % 2].share(one.id, "s1", shared=turn % 3 == 2) for one in order]
            futures += [stores[1 - turn % 2].rate(one.id, f"s{turn}", Rating.GOOD) for one in order]
        assert {future.result(30).verdict for future in futures} == {Verdict.DONE}
        assert on_board(stores[0]) == {one.id for one in texts}  # as the last turn wished, whoever saved it
        assert {row.good for row in place.rows("SELECT good FROM generations")} == {6}

    def test_it_waits_for_a_text_that_another_process_saves(self, make_store: Callable[..., Store]) -> None:
        here, there = make_store(), make_store()
        one = record(shared=False, session_id="s1")
        future = here.share(one.id, "s1", shared=True)
        time.sleep(0.1)
        there.record(one)
        assert shown(future.result(WITHIN_S)).on_board

    def test_what_was_deleted_says_nothing_of_it(self, store: Store, place: Place) -> None:
        one = record(shared=False, session_id="s1")
        store.record(one)
        share(store, one.id)
        store.delete(one.id, "s1").result(WITHIN_S)
        assert on_board(store) == set()
        assert place.rows("SELECT shared, shared_changed_s, on_board FROM generations") == [(False, None, False)]

    def test_where_prompts_are_not_kept_the_rest_is_shown(self, make_store: Callable[..., Store]) -> None:
        store = make_store(store_prompts=False)
        one = record(shared=False, session_id="s1")
        store.record(one)
        found = shown(share(store, one.id))
        assert (found.text, found.prompt, found.on_board) == (TEXT.removeprefix(">be me"), None, True)
        assert found.sampling == {"temperature": 0.8}


# ---------------------------------------------------------------------------------------------- HTTP


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a session."""
    async with client_of(store) as client:
        await client.post("/session")
        yield client


async def patch(client: httpx.AsyncClient, generation_id: str, body: Any) -> httpx.Response:
    return await client.patch(f"/generations/{generation_id}", json=body)


async def test_a_text_is_put_on_the_board_and_taken_off(client: httpx.AsyncClient, store: Store) -> None:
    await ready(store)
    one = record(shared=False, session_id=own_session(client))
    store.record(one)
    answer = await patch(client, one.id, {"shared": True})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "private, no-store"
    KeptGreentext.model_validate(answer.json())
    assert (answer.json()["shared"], answer.json()["on_board"], answer.json()["reason"]) == (True, True, None)
    assert answer.json() == (await client.get(f"/generations/{one.id}")).json()
    assert [text["id"] for text in (await client.get("/board")).json()["greentexts"]] == [one.id]
    answer = await patch(client, one.id, {"shared": False})
    assert (answer.json()["shared"], answer.json()["on_board"]) == (False, False)
    assert (await client.get("/board")).json()["greentexts"] == []


async def test_its_writer_is_told_why_it_is_not_there_and_nobody_else(client: httpx.AsyncClient, store: Store) -> None:
    await ready(store)
    text = ">mail me at a.b@example.org\n>or I kill them all"
    one = record(text=text, shared=False, session_id=own_session(client))
    store.record(one)
    answer = (await patch(client, one.id, {"shared": True})).json()
    assert (answer["shared"], answer["on_board"], answer["reason"]) == (True, False, "personal data, violent")
    assert (await client.get(f"/generations/{one.id}")).json()["reason"] == "personal data, violent"
    async with client_of(store) as other:
        assert (await other.get(f"/generations/{one.id}")).json()["reason"] is None
    assert (await patch(client, one.id, {"shared": False})).json()["reason"] is None


@pytest.mark.parametrize("sampling", [{"stop": ["my words"]}, {"logit_bias": {"17": 4.0}}])
async def test_others_do_not_read_what_nobody_judged(
    client: httpx.AsyncClient, store: Store, sampling: dict[str, Any]
) -> None:
    await ready(store)
    one = record(session_id=own_session(client), sampling={"temperature": 0.5, **sampling})
    plain = record(session_id=one.session_id, sampling={"temperature": 0.5, "stop": [], "logit_bias": {}})
    for text in (one, plain):
        store.record(text)
    await asyncio.to_thread(wait_for, lambda: store.stats.pending == 0)
    async with client_of(store) as other:
        seen = {text["id"]: text for text in (await other.get("/board")).json()["greentexts"]}
        assert (seen[one.id]["sampling"], seen[plain.id]["sampling"]) == (None, plain.sampling)
        assert (await other.get(f"/generations/{one.id}")).json()["sampling"] is None
    assert (await client.get(f"/generations/{one.id}")).json()["sampling"] == one.sampling


async def test_a_text_that_waits_to_be_saved_is_told_as_it_will_be(
    make_store: Callable[..., Store], place: Place
) -> None:
    for store_prompts in (True, False):
        store = make_store(store_prompts=store_prompts)
        await ready(store)
        await asyncio.to_thread(place.take_away)
        one = record(shared=False)
        store.record(one)
        async with client_of(store) as client:
            found = (await client.get(f"/generations/{one.id}")).json()
        await asyncio.to_thread(place.bring_back)
        KeptGreentext.model_validate(found)
        assert found["prompt"] == (one.prompt if store_prompts else None)
        assert (found["sampling"] is None) or store_prompts
        assert (found["seed"], found["model_edition"]) == (one.seed, one.bundle_sha256[:12])
        store.stop(2)


async def test_nobody_shares_what_is_not_theirs(client: httpx.AsyncClient, store: Store) -> None:
    await ready(store)
    one = record(shared=False, session_id="another")
    store.record(one)
    assert error_of(await patch(client, one.id, {"shared": True})) == (404, "not_found")
    for cookie in ("", f"{COOKIE}=short"):
        async with client_of(store) as stranger:
            answer = await stranger.patch(f"/generations/{one.id}", json={"shared": True}, headers={"cookie": cookie})
            assert error_of(answer) == (404, "not_found")
            assert "set-cookie" not in answer.headers
    for path in ("a%20b", "a" * 65, "%F0%9F"):
        assert error_of(await patch(client, path, {"shared": True})) == (404, "not_found")
    assert on_board(store) == set()


async def test_a_deleted_text_is_gone(client: httpx.AsyncClient, store: Store) -> None:
    await ready(store)
    one = record(session_id=own_session(client))
    store.record(one)
    await client.delete(f"/generations/{one.id}")
    assert error_of(await patch(client, one.id, {"shared": True})) == (410, "gone")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "shared"), ({"shared": 1}, "shared"), ({"shared": "true"}, "shared"), ({"shared": None}, "shared"),
        ({"shared": True, "text": ">mine"}, "text"), ([], None),
    ],
)  # fmt: skip
async def test_a_change_that_cannot_be(client: httpx.AsyncClient, body: Any, field: str | None) -> None:
    answer = await patch(client, "x", body)
    assert error_of(answer) == (400, "invalid_request")
    assert answer.json()["error"].get("field") == field


async def test_a_body_that_is_not_json_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.patch("/generations/x", content=b'{"shared": true}', headers={"content-type": "text/plain"})
    assert error_of(answer) == (415, "unsupported_media_type")


async def test_while_the_database_is_away_it_waits(
    client: httpx.AsyncClient, store: Store, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "WRITE_WITHIN_S", 0.3)
    await ready(store)
    one = record(shared=False, session_id=own_session(client))
    store.record(one)
    await asyncio.to_thread(wait_for, lambda: store.stats.pending == 0)
    await asyncio.to_thread(place.take_away)
    answer = await patch(client, one.id, {"shared": True})
    assert (answer.status_code, answer.json()) == (202, {"id": one.id, "shared": True, "saved": False})
    SharingResponse.model_validate(answer.json())
    await asyncio.to_thread(place.bring_back)
    await asyncio.to_thread(wait_for, lambda: store.stats.pending == 0, 20)
    assert (await client.get(f"/generations/{one.id}")).json()["on_board"]


async def test_who_changes_too_often_waits(make_store: Callable[..., Store]) -> None:
    store = make_store(ratings_per_minute=2)
    await ready(store)
    async with client_of(store) as client:
        await client.post("/session")
        one = record(session_id=own_session(client))
        store.record(one)
        answers = [await patch(client, one.id, {"shared": False}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert int(answers[-1].headers["retry-after"]) >= 1


class TestSession:
    async def test_a_session_begins_once(self, store: Store, place: Place) -> None:
        async with client_of(store) as client:
            first = await client.post("/session")
            assert (first.status_code, first.content) == (204, b"")
            assert first.headers["cache-control"] == "private, no-store"
            assert "HttpOnly" in first.headers["set-cookie"]
            again = await client.post("/session")
            assert again.status_code == 204
            assert "set-cookie" not in again.headers
            assert place.count("sessions") == 0  # nothing is kept of who has not written anything
            one = record(session_id=own_session(client))
            store.record(one)
            assert (await client.get(f"/generations/{one.id}")).json()["mine"]

    async def test_also_where_the_board_is_closed(self, make_store: Callable[..., Store]) -> None:
        async with client_of(make_store(board_public=False)) as client:
            assert "set-cookie" in (await client.post("/session")).headers

    async def test_also_while_the_database_is_away(self, store: Store, place: Place) -> None:
        await asyncio.to_thread(place.take_away)
        async with client_of(store) as client:
            assert (await client.post("/session")).status_code == 204
        await asyncio.to_thread(place.bring_back)

    async def test_not_without_end(self, make_store: Callable[..., Store]) -> None:
        store = make_store(board_reads_per_minute=2)
        async with client_of(store) as client:
            answers = []
            for _ in range(21):
                answers.append(await client.post("/session"))
                client.cookies.clear()
            assert [answer.status_code for answer in answers] == [204] * 20 + [429]
            assert "set-cookie" not in answers[-1].headers
