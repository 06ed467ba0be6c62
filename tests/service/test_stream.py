"""POST /generate_stream, over a real server."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from service.api.schemas import GenerateResponse, StreamedToken
from tests.service.conftest import SLOTS, Server, wait_until_idle
from tests.service.fake_model import LOGPROB, TEXT, TOKENS

if TYPE_CHECKING:
    import httpx


def read(client: httpx.Client, **body: Any) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream; each is `event`, `data` on one line, and a blank line."""
    with client.stream("POST", "/generate_stream", json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["x-request-id"]
        text = response.read().decode()
    assert text.endswith("\n\n")
    events = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        if block.startswith(":"):
            continue
        event, data = block.split("\n")
        events.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def test_each_token_is_an_event_and_the_end_is_told(client: httpx.Client) -> None:
    *tokens, (last, end) = read(client)
    assert [name for name, _ in tokens] == ["token"] * len(TOKENS)
    for _, data in tokens:
        StreamedToken.model_validate(data)
        assert data["index"] == 0
        assert "logprob" not in data
    assert [data["token_id"] for _, data in tokens] == list(TOKENS)
    assert "".join(data["text"] for _, data in tokens) == TEXT
    assert last == "end"
    GenerateResponse.model_validate(end)
    assert end["model_edition"] == client.get("/models").json()["models"][0]["edition"]
    assert end["greentexts"][0]["text"] == TEXT
    assert end["greentexts"][0]["finish_reason"] == "end"
    assert end["usage"] == {"prompt_tokens": 1, "completion_tokens": len(TOKENS)}


def test_half_a_character_is_never_sent(client: httpx.Client) -> None:
    texts = [data["text"] for name, data in read(client) if name == "token"]
    assert "🐸" in texts
    assert not any("\ufffd" in text for text in texts)


def test_a_stop_string_is_never_sent(client: httpx.Client) -> None:
    *tokens, (_, end) = read(client, stop=["a frog", "never"])
    assert "".join(data["text"] for _, data in tokens) == ">be me\n>find "
    assert end["greentexts"][0]["finish_reason"] == "stop"


def test_what_was_held_back_comes_out_at_the_end(client: httpx.Client) -> None:
    *tokens, (_, end) = read(client, stop=["me\n>lose"], max_new_tokens=9)
    assert "".join(data["text"] for _, data in tokens) == end["greentexts"][0]["text"] == ">be me\n>f"


def test_several_texts_are_told_apart(client: httpx.Client) -> None:
    *tokens, (_, end) = read(client, n=3, prompt="well", seed=1)
    assert [greentext["text"] for greentext in end["greentexts"]] == [">well" + TEXT] * 3
    for index in range(3):
        assert "".join(data["text"] for _, data in tokens if data["index"] == index) == TEXT


def test_logprobs_are_sent_if_asked_for(client: httpx.Client) -> None:
    *tokens, (_, end) = read(client, logprobs=2, max_new_tokens=2)
    assert [data["logprob"] for _, data in tokens] == [LOGPROB, LOGPROB]
    assert [len(token["top"]) for token in end["greentexts"][0]["logprobs"]] == [2, 2]


def test_tokens_come_as_they_are_written(client: httpx.Client) -> None:
    started = time.monotonic()
    with client.stream("POST", "/generate_stream", json={"min_new_tokens": 90}) as response:
        chunks = response.iter_raw()
        next(chunks)
        first_s = time.monotonic() - started
        for _ in chunks:
            pass
    assert first_s < (time.monotonic() - started) / 2


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [({"temperature": "warm"}, 400, "temperature"), ({"x": 1}, 400, "x"), ({"model": "x"}, 404, "model")],
)
def test_an_error_before_the_first_token_is_a_status(
    client: httpx.Client, body: dict[str, Any], status: int, field: str
) -> None:
    response = client.post("/generate_stream", json=body)
    assert response.status_code == status
    assert response.json()["error"]["field"] == field


def test_silence_while_queued_is_broken_by_comments(server: Server, client: httpx.Client) -> None:
    long = {"min_new_tokens": 500, "max_new_tokens": 500}
    busy = [client.send(client.build_request("POST", "/generate_stream", json=long), stream=True) for _ in range(SLOTS)]
    text = ""
    with client.stream("POST", "/generate_stream", json={"max_new_tokens": 2}) as response:
        assert response.status_code == 200
        for part in response.iter_text():
            text += part
            while busy:
                busy.pop().close()
    assert text.startswith(": ping\n\n")
    assert text.split("\n\n")[-2].startswith("event: end")
    wait_until_idle(server)
