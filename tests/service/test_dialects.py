"""What holds for every dialect alike: bounds, deadlines, clients that leave, metrics, documentation."""

from __future__ import annotations

import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.routing import Route

from service.api.app import create_app
from service.api.tokens import DetokenizeResponse, TokenizeResponse
from service.registry import Registry
from service.settings import Settings
from service.store.store import Store
from tests.service.conftest import (
    ORIGIN,
    ROOT,
    Metrics,
    Server,
    fake_server,
    stop_server,
    wait_until_idle,
)
from tests.service.fake_model import CONTEXT, END_ID, NAME, START_ID, TEXT

if TYPE_CHECKING:
    from pathlib import Path

USER = [{"role": "user", "content": "be me"}]
LONG_PARAMETERS = {"max_new_tokens": 450, "min_new_tokens": 450}
LONG_TOKENS = {"max_tokens": 450, "min_tokens": 450}
LONG: dict[str, tuple[str, dict[str, Any]]] = {
    "huggingface": ("/", {"inputs": "", "parameters": LONG_PARAMETERS}),
    "huggingface model": (f"/models/{NAME}", {"inputs": "", "parameters": LONG_PARAMETERS}),
    "huggingface stream": ("/", {"inputs": "", "parameters": LONG_PARAMETERS, "stream": True}),
    "completions": ("/v1/completions", LONG_TOKENS),
    "completions list": ("/v1/completions", {**LONG_TOKENS, "prompt": ["a"] * 3, "n": 2}),
    "completions stream": ("/v1/completions", {**LONG_TOKENS, "stream": True}),
    "chat": ("/v1/chat/completions", {**LONG_TOKENS, "messages": USER}),
    "chat stream": ("/v1/chat/completions", {**LONG_TOKENS, "messages": USER, "stream": True}),
}
requests = pytest.mark.parametrize(("path", "body"), LONG.values(), ids=LONG.keys())


@requests
def test_a_client_that_leaves_frees_its_slots(server: Server, path: str, body: dict[str, Any]) -> None:
    wait_until_idle(server)
    before = _aborted(server)
    texts = len(body.get("prompt", [""])) * body.get("n", 1)
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head.encode() + content)
        time.sleep(0.15)
    end = time.monotonic() + 5
    while _aborted(server) - before < texts and time.monotonic() < end:
        time.sleep(0.02)
    wait_until_idle(server)
    assert _aborted(server) - before == texts


def _aborted(server: Server) -> float:
    return Metrics(server).value("greentext_request_success_total", finish_reason="abort")


def test_a_full_queue_is_told_at_once(client: httpx.Client, full_queue: None) -> None:
    for path, body in LONG.values():
        response = client.post(path, json=body)
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1


def test_the_deadline_ends_a_text_as_it_is(server: Server) -> None:
    wait_until_idle(server)
    chosen = [LONG[name] for name in ("huggingface", "huggingface stream", "completions", "chat stream")]
    with ThreadPoolExecutor(len(chosen)) as pool:
        for response in pool.map(lambda one: httpx.post(server.url + one[0], json=one[1], timeout=30), chosen):
            assert response.status_code == 200
            assert re.search(r'"finish_reason":"length"|"generated_text":"[^"]', response.text)
            assert "error" not in response.text


@pytest.mark.parametrize("path", ["/", f"/models/{NAME}", "/v1/completions", "/v1/chat/completions", "/tokenize"])
def test_a_page_of_another_origin_may_call(client: httpx.Client, path: str) -> None:
    headers = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    preflight = client.options(path, headers=headers)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    refusal = client.post(path, json={"x": 1}, headers={"origin": ORIGIN})
    assert 400 <= refusal.status_code < 500
    assert refusal.headers["access-control-allow-origin"] == ORIGIN


async def test_a_page_of_another_origin_can_read_what_nobody_foresaw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Registry) -> bool:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(Registry, "is_ready", property(fail))
    settings = Settings.model_validate({"database_url": "none", "cors_origins": ORIGIN})
    app = create_app(Registry(), settings, Store(settings), static_directory=tmp_path)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://greentext.example") as client:
        for path, body in LONG.values():
            answer = await client.post(path, json=body, headers={"origin": ORIGIN})
            assert answer.status_code == 500
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert "went wrong" in answer.text
            assert "disk" not in answer.text


def test_names_in_paths_make_no_labels(server: Server, client: httpx.Client) -> None:
    for path in ("/", "/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"):
        client.post(path, json={"x": 1})
    for i in range(4):
        assert client.post(f"/models/some-{i}/of-{i}", json={"inputs": ""}).status_code == 404
        assert client.get(f"/v1/models/some-{i}").status_code == 404
        assert client.get(f"/v1/other-{i}").status_code == 404
    client.get("/v1/models")
    client.get("/info")
    endpoints = {sample.labels.get("endpoint", "") for sample in Metrics(server).samples}
    assert not any("some-" in endpoint or "other-" in endpoint for endpoint in endpoints)
    assert {
        "/", "/models/{model}", "/v1/completions", "/v1/chat/completions", "/v1/models", "/v1/models/{model}",
        "/tokenize", "/detokenize", "/info",
    } <= endpoints  # fmt: skip


def test_each_path_is_described_and_documented(client: httpx.Client, tmp_path: Path) -> None:
    described = client.get("/openapi.json").json()["paths"]
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    routes = {
        route.path_format
        # Without the files of the board's page, which are there where it was built.
        for route in create_app(Registry(), Settings(), Store(Settings()), static_directory=tmp_path).routes
        if isinstance(route, Route)
    }
    assert {path for path in routes if not path.startswith(("/docs", "/openapi.json"))} <= described.keys()
    for path in (
        "/", "/models/{model}", "/info", "/v1/completions", "/v1/chat/completions", "/v1/models", "/v1/models/{model}",
        "/tokenize", "/detokenize", "/generate", "/generate_stream", "/models", "/session",
    ):  # fmt: skip
        assert path in described, path
        assert f"`{next(iter(described[path])).upper()} {path}`" in page, path


# ------------------------------------------------------------------------------------------- tokens


def test_text_becomes_tokens_and_back(client: httpx.Client) -> None:
    response = client.post("/tokenize", json={"prompt": "be 🐸"})
    TokenizeResponse.model_validate_json(response.content)
    answer = response.json()
    assert answer["tokens"] == list("be 🐸".encode())
    assert answer["texts"][:4] == ["b", "e", " ", "bytes:\\xf0"]
    assert (answer["count"], answer["start_token_id"], answer["context_length"]) == (7, START_ID, CONTEXT)
    back = client.post("/detokenize", json={"tokens": [START_ID, *answer["tokens"], END_ID], "model": NAME})
    DetokenizeResponse.model_validate_json(back.content)
    assert back.json() == {"model": NAME, "prompt": "be 🐸"}


def test_a_control_token_in_a_text_is_text(client: httpx.Client) -> None:
    text = "<|4chanGtxStart|><|endoftext|>"
    assert client.post("/tokenize", json={"prompt": text}).json()["tokens"] == list(text.encode())
    assert client.post("/tokenize", json={"prompt": ""}).json()["tokens"] == []
    assert client.post("/detokenize", json={"tokens": []}).json()["prompt"] == ""


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/tokenize", {}, 400, "prompt"),
        ("/tokenize", {"prompt": 5}, 400, "prompt"),
        ("/tokenize", {"prompt": "a" * 400}, 400, "prompt"),
        ("/tokenize", {"prompt": "a", "x": 1}, 400, "x"),
        ("/tokenize", {"prompt": "a", "model": "x"}, 404, "model"),
        ("/detokenize", {}, 400, "tokens"),
        ("/detokenize", {"tokens": [258]}, 400, "tokens"),
        ("/detokenize", {"tokens": [-1]}, 400, "tokens"),
        ("/detokenize", {"tokens": [10**30]}, 400, "tokens"),
        ("/detokenize", {"tokens": ["a"]}, 400, "tokens"),
        ("/detokenize", {"tokens": "abc"}, 400, "tokens"),
    ],
    ids=str,
)
def test_what_is_no_text_or_token_is_refused(
    client: httpx.Client, path: str, body: dict[str, Any], status: int, field: str
) -> None:
    response = client.post(path, json=body)
    assert response.status_code == status
    assert response.json()["error"]["field"] == field


# ------------------------------------------------------------------------------------------- failures


@pytest.mark.slow
def test_an_engine_that_dies_is_told_in_each_dialects_words(tmp_path: Path, bundle: Path) -> None:
    server = fake_server(tmp_path, bundle, FAKE_STEPS="150", FAKE_STEP_S="0.02", GREENTEXT_DEADLINE_S="60")
    try:
        server.wait_until_ready()
        chosen = [LONG[name] for name in ("huggingface", "huggingface stream", "completions", "completions stream")]
        with ThreadPoolExecutor(len(chosen)) as pool:
            hub, hub_stream, ai, ai_stream = pool.map(
                lambda one: httpx.post(server.url + one[0], json=one[1], timeout=30), chosen
            )
        assert (hub.status_code, hub.json()["error_type"]) == (424, "generation")
        assert '"error_type":"generation"' in hub_stream.text.rstrip("\n").split("\n\n")[-1]
        assert (ai.status_code, ai.json()["error"]["type"]) == (500, "server_error")
        *_, error, done = ai_stream.text.rstrip("\n").split("\n\n")
        assert (json.loads(error.removeprefix("data: "))["error"]["type"], done) == ("server_error", "data: [DONE]")
        for path, body in chosen:
            again = httpx.post(server.url + path, json=body, timeout=30)
            assert again.status_code == 503
            assert again.headers["retry-after"] == "1"
    finally:
        stop_server(server)


def test_the_text_is_the_same_in_every_dialect(client: httpx.Client) -> None:
    """Whether the sampling is the same is for a real model to show: see test_embedded."""
    texts = [
        client.post("/generate", json={}).json()["greentexts"][0]["text"],
        client.post("/", json={"inputs": ""}).json()[0]["generated_text"],
        client.post("/v1/completions", json={}).json()["choices"][0]["text"],
        client.post("/v1/chat/completions", json={"messages": USER}).json()["choices"][0]["message"]["content"],
    ]
    assert texts == [TEXT] * 4
