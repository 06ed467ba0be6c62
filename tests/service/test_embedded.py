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


def test_the_first_line_has_the_temperature_that_it_was_given(shipped: Server) -> None:
    sampling = httpx.get(f"{shipped.url}/models").json()["models"][0]["default_sampling"]
    own = {name: sampling[name] for name in ("temperature", "opening_temperature")}

    def texts(**body: Any) -> list[str]:
        return [generate(shipped, seed=seed, **body)["greentexts"][0]["text"] for seed in range(6)]

    assert texts() == texts(**own)
    # A temperature alone is that of all lines, whatever the model's own first lines have.
    assert texts(temperature=1.0) == texts(temperature=1.0, opening_temperature=1.0)
    assert texts(temperature=1.0) != texts(temperature=1.0, opening_temperature=0.1)
    cold = texts(temperature=1.0, opening_temperature=0.001)
    assert len({text.split("\n")[0] for text in cold}) == 1
    assert len(set(cold)) > 1


def test_the_start_token_is_there_once_whoever_sends_it(shipped: Server) -> None:
    without, sent = (generate(shipped, prompt=prompt, seed=3) for prompt in ("", "<|4chanGtxStart|>"))
    [one], [other] = without["greentexts"], sent["greentexts"]
    assert one.pop("id") != other.pop("id")
    assert one == other
    assert without["usage"] == sent["usage"] == {**without["usage"], "prompt_tokens": 1}


def test_what_spells_a_control_token_is_text(shipped: Server) -> None:
    answer = generate(shipped, prompt=">be me <|endoftext|>", max_new_tokens=5)
    assert answer["usage"]["prompt_tokens"] > 5
    assert answer["greentexts"][0]["text"].startswith(">be me <|endoftext|>")


def test_a_seed_gives_its_text_in_every_dialect(shipped: Server) -> None:
    def post(path: str, **body: Any) -> Any:
        response = httpx.post(f"{shipped.url}{path}", json=body, timeout=60)
        assert response.status_code == 200, response.text
        return response.json()

    for seed in range(4):
        sampling = {"temperature": 0.7, "top_k": 40, "top_p": 0.9, "repetition_penalty": 1.1, "seed": seed}
        user = [{"role": "user", "content": "be me"}]
        native = generate(shipped, prompt="be me", max_new_tokens=40, **sampling)["greentexts"][0]
        texts = {
            native["text"].removeprefix(native["prompt"]),
            post("/", inputs="be me", parameters={**sampling, "max_new_tokens": 40})[0]["generated_text"],
            post("/v1/completions", prompt="be me", max_tokens=40, **sampling)["choices"][0]["text"],
            post("/v1/completions", prompt=["x", "be me"], max_tokens=40, **sampling)["choices"][1]["text"],
            post("/v1/chat/completions", messages=user, max_tokens=40, **sampling)["choices"][0]["message"]["content"],
        }
        assert len(texts) == 1


def test_a_prompt_of_tokens_is_its_text(shipped: Server) -> None:
    url, prompt = shipped.url, ">be me\n>find a small frog"
    tokens = httpx.post(f"{url}/tokenize", json={"prompt": prompt}).json()["tokens"]
    assert httpx.post(f"{url}/detokenize", json={"tokens": tokens}).json()["prompt"] == prompt
    texts = [
        httpx.post(f"{url}/v1/completions", json={"prompt": given, "seed": 5, "max_tokens": 30}).json()["choices"]
        for given in (prompt, tokens)
    ]
    assert texts[0] == texts[1]


def test_the_best_of_several_is_the_likeliest(shipped: Server) -> None:
    body = {"inputs": "be me", "parameters": {"best_of": 6, "seed": 1, "details": True, "max_new_tokens": 20}}
    ((text),) = httpx.post(f"{shipped.url}/", json=body, timeout=60).json()
    best, *others = [text["details"], *text["details"]["best_of_sequences"]]

    def mean(details: dict[str, Any]) -> float:
        logprobs = [token["logprob"] for token in details["tokens"]]
        return sum(logprobs) / len(logprobs)

    assert sorted(details["seed"] for details in (best, *others)) == [1, 2, 3, 4, 5, 6]
    assert [mean(best), *map(mean, others)] == sorted([mean(best), *map(mean, others)], reverse=True)
    alone = generate(shipped, prompt="be me", seed=best["seed"], max_new_tokens=20)["greentexts"][0]
    assert alone["text"].removeprefix(alone["prompt"]) == text["generated_text"]


def test_memory_stays_within_bounds_with_all_slots_full(shipped: Server) -> None:
    with ThreadPoolExecutor(80) as pool:
        list(pool.map(lambda _: generate(shipped, max_new_tokens=255, min_new_tokens=255), range(80)))
    wait_until_idle(shipped)
    supervisor = psutil.Process(shipped.process.pid)
    workers = supervisor.children(recursive=True)
    assert workers
    # Pages that processes share are counted once, in parts.
    assert sum(process.memory_full_info().pss for process in (supervisor, *workers)) < RESIDENT_BYTES
