"""The service as it is shipped: its own settings, its own model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from tests.service.conftest import Server, start_server, stop_server, wait_until_idle

if TYPE_CHECKING:
    from collections.abc import Iterator

RESIDENT_BYTES = 400_000_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(tmp_path_factory.mktemp("shipped"), "service.service:GreentextService")
    server.wait_until_ready()
    yield server
    stop_server(server)


def generate(server: Server, **body: Any) -> dict[str, Any]:
    response = httpx.post(f"{server.url}/generate", json=body, timeout=60)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_an_empty_object_writes_a_greentext(shipped: Server) -> None:
    answer = generate(shipped)
    (greentext,) = answer["greentexts"]
    assert answer["model"] == "greentext-thanks"
    assert greentext["text"].startswith(">")
    assert len(greentext["lines"]) >= 2
    assert "<|" not in greentext["text"]


def test_a_beginning_is_continued(shipped: Server) -> None:
    greentext = generate(shipped, prompt="be me\n>find a small frog")["greentexts"][0]
    assert greentext["text"].startswith(">be me\n>find a small frog")
    assert len(greentext["text"]) > len(greentext["prompt"])


def test_a_seed_gives_its_text_alone_and_in_company(shipped: Server) -> None:
    bodies = [{"seed": seed, "prompt": "be me", "max_new_tokens": 60} for seed in range(12)]
    alone = [generate(shipped, **body)["greentexts"][0]["text"] for body in bodies]
    with ThreadPoolExecutor(12) as pool:
        together = [
            answer["greentexts"][0]["text"] for answer in pool.map(lambda body: generate(shipped, **body), bodies)
        ]
    assert together == alone
    assert len(set(alone)) > 6
    several = generate(shipped, seed=0, n=12, prompt="be me", max_new_tokens=60)
    assert [greentext["text"] for greentext in several["greentexts"]] == alone


def test_the_start_token_is_there_once_whoever_sends_it(shipped: Server) -> None:
    without, sent = (generate(shipped, prompt=prompt, seed=3) for prompt in ("", "<|4chanGtxStart|>"))
    assert without["greentexts"] == sent["greentexts"]
    assert without["usage"] == sent["usage"] == {**without["usage"], "prompt_tokens": 1}


def test_what_spells_a_control_token_is_text(shipped: Server) -> None:
    answer = generate(shipped, prompt=">be me <|endoftext|>", max_new_tokens=5)
    assert answer["usage"]["prompt_tokens"] > 5
    assert answer["greentexts"][0]["text"].startswith(">be me <|endoftext|>")


def test_memory_stays_within_bounds_with_all_slots_full(shipped: Server) -> None:
    with ThreadPoolExecutor(80) as pool:
        list(pool.map(lambda _: generate(shipped, max_new_tokens=255, min_new_tokens=255), range(80)))
    wait_until_idle(shipped)
    workers = psutil.Process(shipped.process.pid).children(recursive=True)
    assert workers
    for worker in workers:
        assert worker.memory_info().rss < RESIDENT_BYTES
