"""The original front end's call, from a page of another origin, in a real browser: preflight, answer and errors."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.service.conftest import BODY_BYTES, Server, fake_server, stop_server, wait_until_idle
from tests.service.fake_model import NAME, TEXT, write_fake_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

ALIAS = "tinystories-33m-thanks"
BODY = {
    "inputs": "<|4chanGtxStart|>",
    "parameters": {
        "top_k": 50,
        "top_p": 0.9,
        "temperature": 0.8,
        "repetition_penalty": 1.2,
        "max_new_tokens": 45,
        "return_full_text": False,
        "do_sample": True,
        "num_return_sequences": 1,
    },
    "options": {"use_cache": False},
}
CALL = """async ({url, body, type}) => {
  try {
    const answer = await fetch(url, {
      method: "POST",
      headers: { Authorization: "Bearer hf_something", "Content-Type": type },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
    return {
      status: answer.status,
      result: await answer.json(),
      headers: Object.fromEntries(answer.headers.entries()),
    };
  } catch (error) {
    return { refused: String(error) };
  }
}"""


class Stranger(BaseHTTPRequestHandler):
    """A page with nothing on it."""

    def do_GET(self) -> None:
        content = b"<!doctype html><title>the original front end</title><link rel=icon href=data:,>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def origins() -> Iterator[tuple[str, str]]:
    """Two origins with such a page."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Stranger) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    known, unknown = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    yield known, unknown
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, origins: tuple[str, str]) -> Iterator[Server]:
    """Lets pages of the first origin call, and writes one text at a time."""
    bundle = write_fake_bundle(tmp_path_factory.mktemp("models") / NAME)
    server = fake_server(
        tmp_path_factory.mktemp("server"),
        bundle,
        GREENTEXT_CORS_ORIGINS=origins[0],
        GREENTEXT_MODEL_ALIASES=f"{ALIAS}={NAME}",
        GREENTEXT_MAX_SLOTS="1",
        GREENTEXT_MAX_WAITING="0",
        GREENTEXT_DEADLINE_S="30",
        FAKE_STEP_S="0.02",
    )
    server.wait_until_ready()
    yield server
    stop_server(server)


@pytest.fixture
def pages(browser: Browser, origins: tuple[str, str]) -> Iterator[tuple[Page, Page]]:
    """The page of each origin."""
    context = browser.new_context()
    opened = context.new_page(), context.new_page()
    for page, origin in zip(opened, origins, strict=True):
        page.goto(origin)
    yield opened
    context.close()


def call(page: Page, url: str, body: Any = BODY, *, content_type: str = "application/json") -> dict[str, Any]:
    answer: dict[str, Any] = page.evaluate(CALL, {"url": url, "body": body, "type": content_type})
    return answer


def test_it_reads_its_text(pages: tuple[Page, Page], service: Server) -> None:
    page, _ = pages
    asked: list[str] = []
    network = page.context.new_cdp_session(page)
    network.on("Network.requestWillBeSent", lambda sent: asked.append(sent["request"]["method"]))
    network.send("Network.enable")
    for path in (f"/models/{ALIAS}", "/"):
        wait_until_idle(service)
        answer = call(page, service.url + path)
        assert answer["status"] == 200, answer
        assert answer["result"][0]["generated_text"] == TEXT.encode()[:45].decode("utf-8", "ignore")
    assert sorted(asked) == ["OPTIONS", "OPTIONS", "POST", "POST"]  # the preflights, and the calls


@pytest.mark.parametrize("path", [f"/models/{ALIAS}", "/", "/generate"])
def test_a_page_of_another_origin_is_refused(pages: tuple[Page, Page], service: Server, path: str) -> None:
    _, stranger = pages
    assert "Failed to fetch" in call(stranger, service.url + path)["refused"]


def test_its_errors_can_be_read(pages: tuple[Page, Page], service: Server) -> None:
    page, _ = pages
    url = f"{service.url}/models/{ALIAS}"
    wrong = {**BODY, "parameters": {"temperature": -1}}
    for body, content_type, status, words in (
        (wrong, "application/json", 422, "temperature"),
        ("{", "application/json", 422, "the body"),
        (BODY, "text/plain", 415, "send JSON"),
        ({**BODY, "inputs": "a" * BODY_BYTES}, "application/json", 413, "bytes"),
    ):
        answer = call(page, url, body, content_type=content_type)
        assert answer["status"] == status
        assert words in answer["result"]["error"]
        assert answer["headers"]["x-request-id"]
    answer = call(page, f"{service.url}/models/unknown")
    assert answer["status"] == 404
    assert ALIAS in answer["result"]["error"] or NAME in answer["result"]["error"]
    answer = call(page, f"{service.url}/nothing")
    assert (answer["status"], answer["result"]["error"]["type"]) == (404, "not_found")


def test_a_full_queue_can_be_read(pages: tuple[Page, Page], service: Server) -> None:
    page, _ = pages
    wait_until_idle(service)
    long = {"max_new_tokens": 500, "min_new_tokens": 500}
    with httpx.Client(timeout=30) as client:
        for body, path in ((BODY, f"/models/{ALIAS}"), ({}, "/generate")):
            with client.stream("POST", f"{service.url}/generate_stream", json=long) as busy:
                tokens = busy.iter_raw()  # to let go of it would end the text
                next(tokens)
                answer = call(page, service.url + path, body)
            assert answer["status"] == 429
            assert "try again" in str(answer["result"]["error"])
            assert int(answer["headers"]["retry-after"]) >= 1
            wait_until_idle(service)
