"""POST /generate and GET /models, over a real server."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from service.api.schemas import ErrorResponse, GenerateResponse, ModelsResponse
from service.engine.sampling_params import MAX_SEED
from tests.service.conftest import DEADLINE_S, PROMPT_CHARACTERS, SLOTS, WAITING
from tests.service.fake_model import LOGPROB, NAME, TEXT, TOKENS

if TYPE_CHECKING:
    import httpx

LINES = [line.removeprefix(">") for line in TEXT.split("\n")]


def generate(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post("/generate", json=body)
    assert response.status_code == 200, response.text
    GenerateResponse.model_validate_json(response.content)
    answer: dict[str, Any] = response.json()
    return answer


def refused(client: httpx.Client, status: int, **request: Any) -> dict[str, Any]:
    response = client.post("/generate", **request)
    assert response.status_code == status, response.text
    ErrorResponse.model_validate_json(response.content)
    error: dict[str, Any] = response.json()["error"]
    assert error["request_id"] == response.headers["x-request-id"]
    return error


def test_an_empty_object_writes_one_greentext(client: httpx.Client) -> None:
    answer = generate(client)
    (greentext,) = answer["greentexts"]
    assert greentext["text"] == TEXT
    assert greentext["lines"] == LINES
    assert greentext["finish_reason"] == "end"
    assert greentext["prompt"] == ""
    assert "logprobs" not in greentext
    assert answer["model"] == NAME
    assert answer["usage"] == {"prompt_tokens": 1, "completion_tokens": len(TOKENS)}
    timings = answer["timings"]
    assert sum(timings[part] for part in ("queue_ms", "prefill_ms", "decode_ms")) == pytest.approx(
        timings["total_ms"], abs=0.01
    )


def test_null_is_as_good_as_nothing(client: httpx.Client) -> None:
    fields = {"temperature": None, "stop": None, "n": None, "seed": None, "logit_bias": None, "logprobs": None}
    assert generate(client, **fields)["greentexts"][0]["text"] == TEXT


def test_every_field_is_taken(client: httpx.Client) -> None:
    answer = generate(
        client,
        prompt="be me",
        model=NAME,
        temperature=1,
        opening_temperature=2.5,
        top_k=3,
        top_p=0.5,
        min_p=0.1,
        typical_p=0.9,
        repetition_penalty=1.3,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={"17": -100, "18": 2.5},
        seed=MAX_SEED,
        stop=["frog"],
        max_new_tokens=40,
        min_new_tokens=2,
        n=2,
        logprobs=1,
    )
    assert [greentext["seed"] for greentext in answer["greentexts"]] == [MAX_SEED, 0]
    for greentext in answer["greentexts"]:
        assert greentext["text"] == ">be me>be me\n>find a "
        assert greentext["finish_reason"] == "stop"
        first = greentext["logprobs"][0]
        top = [{"token_id": 65, "text": "A", "logprob": LOGPROB}]
        assert first == {"token_id": 62, "text": ">", "logprob": LOGPROB, "top": top}


@pytest.mark.parametrize(
    ("prompt", "beginning"),
    [
        ("be me", ">be me"),
        (">be me", ">be me"),
        ("> be  me ", "> be  me "),
        ("", ""),
        ("be me\n>hungry\n", ">be me\n>hungry\n"),
        ("<|4chanGtxStart|>", ""),
        ("<|4chanGtxStart|>be me", ">be me"),
        ("<|4chanGtxStart|><|4chanGtxStart|>", "><|4chanGtxStart|>"),
        (" <|4chanGtxStart|>", "> <|4chanGtxStart|>"),
        (">be <|endoftext|>", ">be <|endoftext|>"),
        (">caf\u00e9 🐸\u0000", ">caf\u00e9 🐸\u0000"),
    ],
)
def test_a_prompt_is_continued_as_it_stands(client: httpx.Client, prompt: str, beginning: str) -> None:
    answer = generate(client, prompt=prompt)
    (greentext,) = answer["greentexts"]
    assert greentext["prompt"] == beginning
    assert greentext["text"] == beginning + TEXT
    # The start token, and each byte as it is: what spells a control token is text like any other.
    assert answer["usage"]["prompt_tokens"] == 1 + len(beginning.encode())


def test_a_stop_string_ends_the_text_before_it(client: httpx.Client) -> None:
    greentext = generate(client, stop="\n")["greentexts"][0]
    assert (greentext["text"], greentext["finish_reason"]) == (">be me", "stop")


def test_max_new_tokens_ends_the_text(client: httpx.Client) -> None:
    answer = generate(client, max_new_tokens=3)
    assert answer["greentexts"][0]["text"] == ">be"
    assert answer["greentexts"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3


def test_n_texts_have_seeds_that_count_up(client: httpx.Client) -> None:
    answer = generate(client, n=3, seed=5, max_new_tokens=2)
    assert [greentext["seed"] for greentext in answer["greentexts"]] == [5, 6, 7]
    assert answer["usage"] == {"prompt_tokens": 1, "completion_tokens": 6}


def test_the_deadline_ends_a_text_as_it_is(client: httpx.Client) -> None:
    answer = generate(client, max_new_tokens=500, min_new_tokens=500)
    assert answer["greentexts"][0]["finish_reason"] == "deadline"
    assert answer["greentexts"][0]["text"].startswith(TEXT)
    assert answer["timings"]["total_ms"] == pytest.approx(DEADLINE_S * 1000, abs=500)


@pytest.mark.parametrize("name", ["mine-1.2_3", "a" * 64])
def test_a_decent_request_id_is_kept(client: httpx.Client, name: str) -> None:
    response = client.post("/generate", json={"max_new_tokens": 1}, headers={"x-request-id": name})
    assert response.headers["x-request-id"] == response.json()["id"] == name


@pytest.mark.parametrize("name", ["", "a" * 65, "a b", "<script>"])
def test_another_is_replaced(client: httpx.Client, name: str) -> None:
    response = client.post("/generate", json={"max_new_tokens": 1}, headers={"x-request-id": name})
    assert response.headers["x-request-id"] == response.json()["id"] != name


BAD_FIELDS: list[tuple[str, Any]] = [
    ("prompt", 5),
    ("prompt", None),
    ("prompt", ["be me"]),
    ("prompt", "a" * (PROMPT_CHARACTERS + 1)),
    ("model", 1),
    ("opening_temperature", "0.5"),
    ("opening_temperature", 0),
    ("opening_temperature", 101),
    ("temperature", "0.5"),
    ("temperature", True),
    ("temperature", -0.1),
    ("temperature", 101),
    ("temperature", [1]),
    ("top_k", 1.5),
    ("top_k", -1),
    ("top_k", 2**31),
    ("top_p", 0),
    ("top_p", 1.1),
    ("min_p", -0.1),
    ("min_p", 2),
    ("typical_p", 0),
    ("repetition_penalty", 0),
    ("presence_penalty", -101),
    ("frequency_penalty", "much"),
    ("logit_bias", {"a": 1}),
    ("logit_bias", {"-1": 1}),
    ("logit_bias", {"1": "2"}),
    ("logit_bias", {"1": 101}),
    ("logit_bias", {"9999": 1}),
    ("logit_bias", {"٣": 1}),
    ("logit_bias", [1]),
    ("logit_bias", {str(i): 1 for i in range(1025)}),
    ("seed", -1),
    ("seed", MAX_SEED + 1),
    ("seed", 10**400),
    ("seed", "7"),
    ("stop", 1),
    ("stop", ""),
    ("stop", ["a", 1]),
    ("stop", ["a"] * 17),
    ("stop", "a" * 257),
    ("max_new_tokens", 0),
    ("max_new_tokens", 1025),
    ("max_new_tokens", 2**31),
    ("max_new_tokens", True),
    ("min_new_tokens", 97),
    ("n", 0),
    ("n", SLOTS + WAITING + 1),
    ("n", 65),
    ("n", "1"),
    ("logprobs", 21),
    ("logprobs", True),
    ("unheard_of", 1),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS, ids=lambda value: repr(value)[:30])
def test_a_bad_field_is_named(client: httpx.Client, field: str, value: Any) -> None:
    error = refused(client, 400, json={field: value})
    assert error["type"] == "invalid_request"
    assert error["field"] == field
    assert error["message"].startswith(f"{field}: ")
    assert len(error["message"]) < 300


def test_numbers_that_json_has_no_word_for_are_refused(client: httpx.Client) -> None:
    for number in ("NaN", "Infinity", "-Infinity", "1e999"):
        body = f'{{"temperature": {number}}}'
        error = refused(client, 400, content=body, headers={"content-type": "application/json"})
        assert error["field"] == "temperature"


def test_a_prompt_beyond_the_context_is_refused(client: httpx.Client) -> None:
    error = refused(client, 400, json={"prompt": "🐸" * 200})
    assert error["field"] == "prompt"
    assert "801 tokens" in error["message"] or "802 tokens" in error["message"]


def test_an_error_does_not_repeat_what_was_sent(client: httpx.Client) -> None:
    secret = "hunter2-" * 20
    for body in ({secret: 1}, {"model": "m" * 50 + secret[:70]}, {"stop": {secret: 1}}, {"logit_bias": {secret: 1}}):
        response = client.post("/generate", json=body)
        assert 400 <= response.status_code < 500
        assert response.text.count("hunter2") <= 14  # the name of the field, cut short
        assert len(response.text) < 400


def test_an_unknown_model_is_answered_with_the_known_ones(client: httpx.Client) -> None:
    error = refused(client, 404, json={"model": "gpt-5"})
    assert error["type"] == "model_not_found"
    assert error["field"] == "model"
    assert NAME in error["message"]
    assert "gpt-5" not in error["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"be me"',
        b"{} {}",
        b"\xff\xfe",
        b'{"prompt": "\xff"}',
        b'{"prompt": "\\ud800"}',
        b"[" * 2000,
        b'{"prompt": 1e5, }',
        b"prompt=be+me",
    ],
)
def test_what_is_no_json_object_is_refused(client: httpx.Client, body: bytes) -> None:
    error = refused(client, 400, content=body, headers={"content-type": "application/json"})
    assert error["type"] == "invalid_request"
    assert "field" not in error
    assert error["message"].startswith("the body: ")


def test_the_models_are_described(client: httpx.Client) -> None:
    response = client.get("/models")
    assert response.status_code == 200
    ModelsResponse.model_validate_json(response.content)
    (model,) = response.json()["models"]
    assert model["name"] == NAME
    assert model["edition"] == hashlib.sha256(b"no model").hexdigest()[:12]
    assert model["edition"] == generate(client, max_new_tokens=1)["model_edition"]
    assert model["default"] is True
    assert model["context_length"] == 512
    assert model["precision"] == "fp32"
    assert model["default_sampling"]["max_new_tokens"] == 96
    assert model["evaluation"] == {"bits_per_byte": 1.25}
    assert model["card"].startswith("# Fake")
