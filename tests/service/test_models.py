"""Several models at once, over a real server, in every dialect."""

from __future__ import annotations

import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from huggingface_hub import InferenceClient

from service.api.schemas import ModelsResponse
from tests.service.conftest import Metrics, Server, fake_server, stop_server, wait_until_idle
from tests.service.fake_model import NAME, TEXT, write_fake_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow
USER = [{"role": "user", "content": "be me"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    for name in (NAME, "a", "b", "broken"):
        write_fake_bundle(folder / name, name)
    (folder / "broken" / "model.onnx").write_bytes(b"other 8!")
    (folder / "half").mkdir()
    shutil.copy(folder / "a" / "model.onnx", folder / "half")
    return folder


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Server]:
    server = fake_server(
        tmp_path_factory.mktemp("server"),
        folder / NAME,
        GREENTEXT_DEADLINE_S="30",
        GREENTEXT_MODEL_ALIASES=f"full=a, tinystories-1m-simple=a, dummy={NAME}",
        # The default, and two others.
        GREENTEXT_MODEL_MEMORY_BYTES="450000",
    )
    server.wait_until_ready()
    yield server
    stop_server(server)


def post(server: Server, path: str, **body: Any) -> httpx.Response:
    return httpx.post(server.url + path, json=body, timeout=30)


def states(server: Server) -> dict[str, str]:
    response = httpx.get(f"{server.url}/models", timeout=30)
    ModelsResponse.model_validate_json(response.content)
    return {model["name"]: model["state"] for model in response.json()["models"]}


def test_eight_that_ask_first_in_any_dialect_are_all_served_by_one_load(several: Server) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("/generate", {"model": "a"}),
        ("/generate_stream", {"model": "full"}),
        ("/models/a", {"inputs": ""}),
        ("/models/tinystories-1m-simple", {"inputs": "", "stream": True}),
        ("/v1/completions", {"model": "a"}),
        ("/v1/completions", {"model": "full", "stream": True}),
        ("/v1/chat/completions", {"model": "a", "messages": USER}),
        ("/tokenize", {"model": "a", "prompt": "x"}),
    ]
    assert states(several)["a"] == "unloaded"
    with ThreadPoolExecutor(len(calls)) as pool:
        for response in pool.map(lambda call: post(several, call[0], **call[1]), calls):
            assert response.status_code == 200, response.text
    assert states(several)["a"] == "loaded"
    assert several.log.read_text().count("loaded model=a ") == 1


def test_the_models_are_told_with_their_names_and_faults(several: Server) -> None:
    answer = httpx.get(f"{several.url}/models", timeout=30).json()
    assert [model["name"] for model in answer["models"]] == [NAME, "a", "b"]
    assert [model["default"] for model in answer["models"]] == [True, False, False]
    assert answer["models"][1]["aliases"] == ["full", "tinystories-1m-simple"]
    assert {found["directory"]: found["state"] for found in answer["unusable"]} == {
        "broken": "broken",
        "half": "incomplete",
    }
    with openai.OpenAI(base_url=f"{several.url}/v1", api_key="none") as ai:
        assert [model.id for model in ai.models.list()] == [NAME, "a", "b"]
        assert ai.models.retrieve("full").id == "a"
        assert ai.completions.create(model="full", prompt="").model == "a"
    assert InferenceClient(f"{several.url}/models/full").text_generation("") == TEXT
    # Given a URL, it names the model "dummy".
    chat = InferenceClient(several.url).chat_completion(messages=[{"role": "user", "content": "be me"}])
    assert chat.choices[0].message.content == TEXT


@pytest.mark.parametrize("name", ["broken", "half", "gpt2"])
def test_a_model_that_is_not_served_is_not_found(several: Server, name: str) -> None:
    response = post(several, "/generate", model=name)
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "model_not_found"
    assert f"{NAME}, a, b" in response.json()["error"]["message"]


def test_a_bundle_that_is_put_into_the_folder_is_served_without_a_restart(
    several: Server, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(write_fake_bundle(tmp_path / "new", "new"), folder / "new")
    end = time.monotonic() + 10
    while post(several, "/generate", model="new").status_code == 404 and time.monotonic() < end:
        time.sleep(0.1)
    assert states(several)["new"] == "loaded"
    # There is room for two beside the default: the one asked for the longest ago goes.
    assert post(several, "/generate", model="b").status_code == 200
    assert states(several) == {NAME: "loaded", "a": "unloaded", "b": "loaded", "new": "loaded"}
    shutil.rmtree(folder / "new")
    end = time.monotonic() + 10
    while "new" in states(several) and time.monotonic() < end:
        time.sleep(0.1)
    assert post(several, "/generate", model="new").status_code == 404
    assert post(several, "/generate", model="a").status_code == 200


def test_the_numbers_are_those_of_all_models(several: Server) -> None:
    wait_until_idle(several)
    before = Metrics(several).value("greentext_request_success_total")
    long = {"max_new_tokens": 400, "min_new_tokens": 400, "n": 2}
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(post, several, "/generate", model=name, **long) for name in (NAME, "a")]
        end = time.monotonic() + 5
        while Metrics(several).value("greentext_requests_running") < 4 and time.monotonic() < end:
            time.sleep(0.01)
        assert Metrics(several).value("greentext_requests_running") == 4
        assert [future.result().status_code for future in futures] == [200, 200]
    wait_until_idle(several)
    # The warm-up of a model that is loaded is nobody's request.
    assert Metrics(several).value("greentext_request_success_total") - before == 4


def test_stopping_lets_the_texts_of_all_models_end(tmp_path: Path, folder: Path) -> None:
    server = fake_server(tmp_path, folder / NAME, GREENTEXT_DRAIN_S="5", FAKE_STEP_S="0.01")
    try:
        server.wait_until_ready()
        assert post(server, "/generate", model="a", max_new_tokens=1).status_code == 200
        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(post, server, "/generate", model=name) for name in (NAME, "a")]
            time.sleep(0.2)
            server.process.send_signal(signal.SIGTERM)
            texts = [future.result().json()["greentexts"][0]["text"] for future in futures]
        assert texts == [TEXT, TEXT]
        server.process.wait(20)
    finally:
        server.process.kill()
    assert "Traceback" not in server.log.read_text()
