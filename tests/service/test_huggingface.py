"""The Hugging Face dialect over a real server: its wire format, and the two clients that must work with it."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import httpx
import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import OverloadedError as HubOverloadedError
from huggingface_hub.errors import ValidationError as HubValidationError
from text_generation import Client
from text_generation.errors import NotFoundError, OverloadedError, ValidationError

from service.api.huggingface_schemas import HuggingFaceError, HuggingFaceInfo, HuggingFaceText
from service.engine.sampling_params import MAX_SEED
from tests.service.conftest import ORIGIN, PROMPT_CHARACTERS, SLOTS, WAITING, Server
from tests.service.fake_model import CONTEXT, END_ID, LOGPROB, NAME, TEXT, TOKENS

pytestmark = [
    pytest.mark.filterwarnings("ignore:The `dict` method is deprecated"),  # text_generation, of pydantic
]

ORIGINAL = {
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
FROG = ">be me\n>find "


def write(client: httpx.Client, inputs: Any = "", path: str = "/", **parameters: Any) -> Any:
    response = client.post(path, json={"inputs": inputs, "parameters": parameters})
    assert response.status_code == 200, response.text
    return response.json()


def events(client: httpx.Client, inputs: str = "", **parameters: Any) -> list[dict[str, Any]]:
    with client.stream("POST", "/", json={"inputs": inputs, "parameters": parameters, "stream": True}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        text = response.read().decode()
    assert text.endswith("\n\n")
    blocks = [block for block in text.removesuffix("\n\n").split("\n\n") if not block.startswith(":")]
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def refused(client: httpx.Client, body: Any, status: int = 422, path: str = "/") -> str:
    response = client.post(path, json=body)
    assert response.status_code == status, response.text
    HuggingFaceError.model_validate_json(response.content)
    error = response.json()
    if status == 422:
        assert error["error_type"] == "validation"
    message: str = error["error"]
    return message


# ------------------------------------------------------------------------------------------- the original front end


def test_the_original_front_end_is_answered_across_origins(client: httpx.Client) -> None:
    preflight = client.options(
        "/",
        headers={
            "origin": ORIGIN,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    headers = {"origin": ORIGIN, "authorization": "Bearer hf_x", "content-type": "application/json"}
    response = client.post("/", content=json.dumps(ORIGINAL), headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.json() == [{"generated_text": TOKENS[:45].decode("utf-8", "ignore")}]


def test_each_of_its_models_may_be_a_path(client: httpx.Client) -> None:
    assert client.post(f"/models/{NAME}", json=ORIGINAL).json() == client.post("/", json=ORIGINAL).json()
    assert NAME in refused(client, ORIGINAL, 404, "/models/gpt2/large")


# ------------------------------------------------------------------------------------------- the wire


def test_a_text_is_a_list_of_one(client: httpx.Client) -> None:
    answer = write(client, "be kind", max_new_tokens=6)
    assert answer == [{"generated_text": ">be me"}]
    assert write(client, "be kind", max_new_tokens=6, return_full_text=True) == [{"generated_text": ">be kind>be me"}]


def test_the_body_may_be_as_short_as_can_be(client: httpx.Client) -> None:
    assert client.post("/", json={"inputs": "", "parameters": None, "options": None, "stream": None}).json() == [
        {"generated_text": TEXT}
    ]
    assert client.post("/", json={"inputs": ""}).json() == [{"generated_text": TEXT}]


def test_lists_go_in_and_lists_come_out(client: httpx.Client) -> None:
    assert write(client, ["a", "b"], max_new_tokens=3) == [[{"generated_text": ">be"}], [{"generated_text": ">be"}]]
    answer = write(client, ["a", "b"], num_return_sequences=2, seed=4, details=True, return_full_text=True)
    assert [[text["details"]["seed"] for text in texts] for texts in answer] == [[4, 5], [4, 5]]
    assert [[text["generated_text"] for text in texts] for texts in answer] == [[">a" + TEXT] * 2, [">b" + TEXT] * 2]
    assert len(write(client, num_return_sequences=3, max_new_tokens=1)) == 3


def test_details_say_what_each_token_is(client: httpx.Client) -> None:
    (text,) = write(client, details=True, top_n_tokens=2, seed=9)
    HuggingFaceText.model_validate(text)
    details = text["details"]
    assert details["finish_reason"] == "eos_token"
    assert details["generated_tokens"] == len(TOKENS)
    assert details["seed"] == 9
    assert [token["id"] for token in details["tokens"]] == list(TOKENS)
    assert "".join(token["text"] for token in details["tokens"]) == TEXT == text["generated_text"]
    assert details["tokens"][0]["logprob"] == LOGPROB
    assert [[token["id"] for token in tokens] for tokens in details["top_tokens"]] == [[65, 66]] * len(TOKENS)
    assert write(client, details=True, max_new_tokens=3)[0]["details"]["finish_reason"] == "length"


def test_a_text_ends_before_a_stop_string(client: httpx.Client) -> None:
    (text,) = write(client, stop=["a frog", "never"], details=True)
    assert text["generated_text"] == FROG
    assert text["details"]["finish_reason"] == "stop_sequence"
    assert "".join(token["text"] for token in text["details"]["tokens"]) == FROG


def test_the_best_of_several_comes_with_the_others(client: httpx.Client) -> None:
    (text,) = write(client, best_of=3, details=True, seed=5)
    assert text["generated_text"] == TEXT
    assert [other["seed"] for other in text["details"]["best_of_sequences"]] == [6, 7]
    assert text["details"]["seed"] == 5
    assert write(client, best_of=3) == [{"generated_text": TEXT}]


def test_only_the_last_tokens_of_a_prompt_are_read(client: httpx.Client) -> None:
    last = events(client, "a" * 50, truncate=7)[-1]
    assert last["details"]["input_length"] == 8
    assert events(client, "a" * 5, truncate=400)[-1]["details"]["input_length"] == 7


def test_a_stream_sends_each_token_and_the_whole_text_last(client: httpx.Client) -> None:
    *tokens, last = events(client, seed=3)
    assert [event["index"] for event in (*tokens, last)] == list(range(1, len(TOKENS) + 2))
    for event, token in zip(tokens, TOKENS, strict=True):
        assert event.keys() == {"index", "token", "generated_text", "details"}
        assert event["token"].keys() == {"id", "text", "logprob", "special"}
        assert event["token"]["id"] == token
        assert event["token"]["special"] is False
        assert event["generated_text"] is event["details"] is None
    assert "".join(event["token"]["text"] for event in tokens) == TEXT
    assert last["token"] == {"id": END_ID, "text": "", "logprob": None, "special": True}
    assert last["generated_text"] == TEXT
    assert last["details"] == {
        "finish_reason": "eos_token",
        "generated_tokens": len(TOKENS),
        "seed": 3,
        "input_length": 1,
    }


def test_a_text_that_is_cut_ends_with_its_last_token(client: httpx.Client) -> None:
    *tokens, last = events(client, "well", max_new_tokens=3, return_full_text=True, top_n_tokens=1)
    assert len(tokens) == 2
    assert last["token"]["id"] == TOKENS[2]
    assert last["top_tokens"][0]["id"] == 65
    assert last["generated_text"] == ">well>be"
    assert last["details"]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("stop", "length", "text", "reason"),
    [
        (["a frog"], 50, FROG, "stop_sequence"),
        (["me\n>lose"], 9, ">be me\n>f", "length"),
        (["frog!"], 96, TEXT, "eos_token"),
    ],
)
def test_a_stop_string_is_never_sent_and_nothing_else_is_kept_back(
    client: httpx.Client, stop: list[str], length: int, text: str, reason: str
) -> None:
    sent = events(client, stop=stop, max_new_tokens=length)
    assert "".join(event["token"]["text"] for event in sent if not event["token"]["special"]) == text
    assert sent[-1]["generated_text"] == text
    assert sent[-1]["details"]["finish_reason"] == reason


def test_false_for_do_sample_is_greedy_unless_a_choice_is_asked_for(client: httpx.Client) -> None:
    """As in TGI, whose client always sends do_sample."""
    greedy = refused(client, {"inputs": "", "parameters": {"do_sample": False, "best_of": 2}})
    assert "all candidates would be the same" in greedy
    assert len(write(client, do_sample=False, temperature=0.5, best_of=2)) == 1
    assert write(client, do_sample=False) == [{"generated_text": TEXT}]


BAD_PARAMETERS: list[tuple[str, Any]] = [
    ("temperature", -1),
    ("temperature", "0.5"),
    ("top_k", -1),
    ("top_p", 0),
    ("top_p", 1.5),
    ("typical_p", 0),
    ("min_p", 2),
    ("repetition_penalty", 0),
    ("frequency_penalty", 101),
    ("presence_penalty", "x"),
    ("seed", -1),
    ("seed", MAX_SEED + 1),
    ("stop", [""]),
    ("stop", ["a"] * 17),
    ("max_new_tokens", 0),
    ("max_new_tokens", 1025),
    ("min_new_tokens", 97),
    ("num_return_sequences", 0),
    ("num_return_sequences", SLOTS + WAITING + 1),
    ("best_of", 0),
    ("best_of", SLOTS + WAITING + 1),
    ("truncate", 0),
    ("top_n_tokens", 21),
    ("watermark", True),
    ("decoder_input_details", True),
    ("adapter_id", "x"),
    ("grammar", {"type": "regex", "value": "a"}),
    ("do_sample", "yes"),
    ("max_time", 1.0),
    ("unheard_of", 1),
]


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS, ids=lambda value: repr(value)[:30])
def test_a_bad_parameter_is_named(client: httpx.Client, name: str, value: Any) -> None:
    message = refused(client, {"inputs": "", "parameters": {name: value}})
    assert message.startswith(f"parameters.{name}: ")
    assert len(message) < 300


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "inputs"),
        ({"inputs": None}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": ["a", 1]}, "inputs"),
        ({"inputs": {"text": "a"}}, "inputs"),
        ({"inputs": "a" * (PROMPT_CHARACTERS + 1)}, "inputs"),
        ({"inputs": ["a"] * (SLOTS + WAITING + 1)}, "inputs"),
        ({"inputs": ["a"] * 5, "parameters": {"num_return_sequences": 2}}, "inputs"),
        ({"inputs": "🐸" * 200}, "inputs"),
        ({"inputs": "", "options": {"use_gpu": True}}, "options.use_gpu"),
        ({"inputs": "", "options": {"use_cache": 1}}, "options.use_cache"),
        ({"inputs": "", "parameters": []}, "parameters"),
        ({"inputs": "", "stream": "yes"}, "stream"),
        ({"inputs": "", "prompt": ""}, "prompt"),
        ({"inputs": ["a"], "stream": True}, "inputs"),
        ({"inputs": "", "parameters": {"top_n_tokens": 2}}, "parameters.top_n_tokens"),
        ({"inputs": "", "stream": True, "parameters": {"best_of": 2}}, "parameters.best_of"),
        (
            {"inputs": "", "stream": True, "parameters": {"num_return_sequences": 2}},
            "parameters.num_return_sequences",
        ),
        ({"inputs": "", "parameters": {"best_of": 2, "num_return_sequences": 2}}, "parameters.best_of"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_cannot_be_is_refused(client: httpx.Client, body: Any, field: str) -> None:
    assert refused(client, body).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("request_of", "status", "error_type"),
    [
        ({"content": b"x" * 20_000, "headers": {"content-type": "application/json"}}, 413, "body_too_large"),
        ({"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "unsupported_media_type"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 422, "validation"),
    ],
)
def test_all_its_errors_are_in_its_words(
    client: httpx.Client, request_of: dict[str, Any], status: int, error_type: str
) -> None:
    response = client.post("/", **request_of)
    assert (response.status_code, response.json()["error_type"]) == (status, error_type)
    assert client.delete("/").json()["error_type"] == "method_not_allowed"
    assert set(client.delete("/").headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


def test_our_own_dialect_shows_the_way_to_this_one(client: httpx.Client) -> None:
    response = client.post("/generate", json={"inputs": "be me", "parameters": {}})
    assert response.status_code == 400
    assert "POST /" in response.json()["error"]["message"]


def test_a_client_can_learn_what_is_served(client: httpx.Client) -> None:
    response = client.get("/info")
    HuggingFaceInfo.model_validate_json(response.content)
    info = response.json()
    assert info["model_id"] == NAME
    assert info["max_total_tokens"] == CONTEXT
    assert info["max_best_of"] == SLOTS + WAITING


# ------------------------------------------------------------------------------------------- huggingface_hub's client


@pytest.fixture
def hub(server: Server) -> InferenceClient:
    return InferenceClient(server.url, timeout=30)


def test_hub_plain(hub: InferenceClient) -> None:
    assert hub.text_generation("be me") == TEXT
    assert hub.text_generation("be me", return_full_text=True, max_new_tokens=4, do_sample=True) == ">be me>be "


def test_hub_details(hub: InferenceClient) -> None:
    answer = hub.text_generation("be me", details=True, seed=7, top_n_tokens=1, best_of=2, do_sample=True)
    assert answer.generated_text == TEXT
    assert answer.details is not None
    assert answer.details.finish_reason == "eos_token"
    assert answer.details.seed == 7
    assert [token.id for token in answer.details.tokens] == list(TOKENS)
    assert answer.details.best_of_sequences is not None
    assert answer.details.best_of_sequences[0].generated_text == TEXT


def test_hub_streamed(hub: InferenceClient) -> None:
    assert "".join(hub.text_generation("be me", stream=True)) == TEXT


def test_hub_details_streamed(hub: InferenceClient) -> None:
    *tokens, last = hub.text_generation("be me", stream=True, details=True, max_new_tokens=8)
    assert [output.token.id for output in (*tokens, last)] == list(TOKENS[:8])
    assert math.isclose(sum(output.token.logprob for output in (*tokens, last)), 8 * LOGPROB)
    assert last.generated_text == TEXT[:8]
    assert last.details is not None
    assert last.details.finish_reason == "length"
    assert last.details.generated_tokens == 8
    assert last.details.input_length == 7


def test_hub_stopped(hub: InferenceClient) -> None:
    assert hub.text_generation("be me", stop=["a frog"]) == FROG
    assert "".join(hub.text_generation("be me", stop=["a frog"], stream=True)) == FROG


def test_hub_refused(hub: InferenceClient, server: Server) -> None:
    with pytest.raises(HubValidationError, match=r"parameters\.temperature"):
        hub.text_generation("be me", temperature=-1.0)
    with pytest.raises(HubValidationError, match="watermark"):
        hub.text_generation("be me", watermark=True, stream=True)
    with pytest.raises(HubValidationError, match="grammar"):
        hub.text_generation("be me", grammar={"type": "regex", "value": "a"})  # type: ignore[arg-type]
    other = InferenceClient(f"{server.url}/models/{NAME}", timeout=30)
    assert other.text_generation("be me") == TEXT


async def test_hub_asynchronous(server: Server) -> None:
    hub = AsyncInferenceClient(server.url, timeout=30)
    plain, detailed = await asyncio.gather(
        hub.text_generation("be me"), hub.text_generation("be me", details=True, seed=1)
    )
    assert plain == detailed.generated_text == TEXT
    stream = await hub.text_generation("be me", stream=True, details=True)
    texts = [output.token.text async for output in stream]
    assert "".join(texts) == TEXT


def test_hub_endpoint_info(server: Server) -> None:
    hub = InferenceClient(server.url, provider="hf-inference", timeout=30)
    assert hub.get_endpoint_info()["model_id"] == NAME


# ------------------------------------------------------------------------------------------- TGI's own client


@pytest.fixture
def tgi(server: Server) -> Client:
    return Client(server.url, timeout=30)


def test_tgi_plain_and_detailed(tgi: Client) -> None:
    answer = tgi.generate("be me", do_sample=True, max_new_tokens=96, seed=11, top_n_tokens=2)
    assert answer.generated_text == TEXT
    assert answer.details.finish_reason == "eos_token"
    assert answer.details.seed == 11
    assert [token.id for token in answer.details.tokens] == list(TOKENS)
    assert answer.details.top_tokens is not None
    assert len(tgi.generate("be me").details.tokens) == 20


def test_tgi_streamed(tgi: Client) -> None:
    *tokens, last = tgi.generate_stream("be me", max_new_tokens=96, seed=2)
    assert "".join(response.token.text for response in tokens) == last.generated_text == TEXT
    assert last.token.special
    assert last.details is not None
    assert last.details.finish_reason == "eos_token"
    assert last.details.seed == 2


def test_tgi_several(tgi: Client) -> None:
    answer = tgi.generate("be me", do_sample=True, best_of=3, max_new_tokens=9)
    assert answer.generated_text == TEXT[:9]
    assert answer.details.best_of_sequences is not None
    assert [other.generated_text for other in answer.details.best_of_sequences] == [TEXT[:9]] * 2


def test_tgi_stopped(tgi: Client) -> None:
    answer = tgi.generate("be me", stop_sequences=["a frog"], max_new_tokens=96)
    assert (answer.generated_text, answer.details.finish_reason) == (FROG, "stop_sequence")
    *_, last = tgi.generate_stream("be me", stop_sequences=["a frog"], max_new_tokens=96)
    assert last.generated_text == FROG


def test_tgi_refused(tgi: Client, server: Server) -> None:
    with pytest.raises(ValidationError, match=r"parameters\.max_new_tokens"):
        tgi.generate("be me", max_new_tokens=5000)
    with pytest.raises(ValidationError, match="watermark"):
        list(tgi.generate_stream("be me", watermark=True))
    with pytest.raises(NotFoundError, match=NAME):
        Client(f"{server.url}/models/none").generate("be me")


def test_a_full_queue_is_told_in_each_clients_words(tgi: Client, hub: InferenceClient, full_queue: None) -> None:
    with pytest.raises(OverloadedError, match="too many requests"):
        tgi.generate("be me")
    with pytest.raises(HubOverloadedError, match="too many requests"):
        hub.text_generation("be me", stream=True)
    response = httpx.post(f"{tgi.base_url}/", json={"inputs": ""})
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1
