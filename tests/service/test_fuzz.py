"""Whatever is sent, the answer is a good one or names the client's fault; never a 5xx, never silence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.api.huggingface_schemas import HuggingFaceError, HuggingFaceParameters, HuggingFaceRequest
from service.api.openai_schemas import ChatMessage, ChatRequest, CompletionRequest, OpenAiError, StreamOptions
from service.api.schemas import ErrorResponse, GenerateRequest, GenerateResponse
from service.api.tokens import DetokenizeRequest, TokenizeRequest

if TYPE_CHECKING:
    import httpx
    from pydantic import BaseModel

NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([0, 1, -1, 2**31, 2**63, 2**64, 0.5, 1.0, 10**400, 5e-324])
)
TEXTS = st.one_of(
    st.text(max_size=40), st.sampled_from(["<|4chanGtxStart|>", "<|endoftext|>", ">", "\n", "\x00", "\u2028", "🐸"])
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)
FIELDS = st.sampled_from(sorted(GenerateRequest.model_fields))
BODIES = st.one_of(
    st.dictionaries(st.one_of(FIELDS, TEXTS), JSON, max_size=4),
    st.fixed_dictionaries(
        {},
        optional={
            "prompt": TEXTS,
            "temperature": st.floats(0, 100),
            "top_k": st.integers(0, 300),
            "top_p": st.floats(0, 1, exclude_min=True),
            "stop": st.lists(TEXTS, max_size=3),
            "seed": st.integers(0, 2**63 - 1),
            "logit_bias": st.dictionaries(st.integers(0, 300).map(str), st.floats(-100, 100), max_size=3),
            "max_new_tokens": st.integers(1, 20),
            "logprobs": st.integers(0, 20),
            "n": st.integers(1, 3),
        },
    ),
    JSON,
)
FEW_TRIES = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
TRIES = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
HEADERS = {"content-type": "application/json"}


def check(client: httpx.Client, content: bytes) -> None:
    response = client.post("/generate", content=content, headers=HEADERS)
    if response.status_code == 200:
        GenerateResponse.model_validate_json(response.content)
        return
    assert 400 <= response.status_code < 500, response.text
    ErrorResponse.model_validate_json(response.content)


@TRIES
@given(BODIES)
@example({"prompt": "\ud800"})
@example({"temperature": 5e-324})
@example({"min_new_tokens": 0, "max_new_tokens": 1, "stop": [">"]})
def test_any_json_is_answered(client: httpx.Client, body: Any) -> None:
    if isinstance(body, dict):
        body.setdefault("max_new_tokens", 8)
    check(client, json.dumps(body).encode())


@TRIES
@given(st.one_of(st.binary(max_size=200), BODIES.map(lambda body: json.dumps(body).encode()[:-1])))
def test_any_bytes_are_answered(client: httpx.Client, content: bytes) -> None:
    check(client, content)


DIALECTS: dict[str, tuple[type[BaseModel], type[BaseModel], type[BaseModel]]] = {
    "/": (HuggingFaceRequest, HuggingFaceParameters, HuggingFaceError),
    "/v1/completions": (CompletionRequest, StreamOptions, OpenAiError),
    "/v1/chat/completions": (ChatRequest, ChatMessage, OpenAiError),
    "/tokenize": (TokenizeRequest, TokenizeRequest, ErrorResponse),
    "/detokenize": (DetokenizeRequest, DetokenizeRequest, ErrorResponse),
}


@pytest.mark.parametrize("path", DIALECTS)
@FEW_TRIES
@given(st.data())
def test_any_json_is_answered_in_every_dialect(client: httpx.Client, path: str, data: st.DataObject) -> None:
    request, part, error = DIALECTS[path]
    inner = st.dictionaries(st.sampled_from(sorted(part.model_fields)), JSON, max_size=3)
    given_fields = st.dictionaries(
        st.one_of(st.sampled_from(sorted(request.model_fields)), TEXTS), st.one_of(JSON, inner), max_size=4
    )
    body = data.draw(st.one_of(given_fields, JSON))
    if isinstance(body, dict):
        required = {name for name, field in request.model_fields.items() if field.is_required()}
        user = [{"role": "user", "content": data.draw(TEXTS)}]
        usual = {"inputs": "", "messages": user, "prompt": data.draw(TEXTS), "tokens": [1]}
        body = {name: usual[name] for name in required} | body
    response = client.post(path, content=json.dumps(body).encode(), headers=HEADERS)
    assert response.status_code < 500, response.text
    if response.status_code != 200:
        error.model_validate_json(response.content)


@TRIES
@given(st.dictionaries(FIELDS, JSON, max_size=3))
def test_any_stream_ends_with_its_end(client: httpx.Client, body: dict[str, Any]) -> None:
    body.setdefault("max_new_tokens", 4)
    response = client.post("/generate_stream", content=json.dumps(body).encode(), headers=HEADERS)
    assert response.status_code < 500
    if response.status_code == 200:
        assert response.text.split("\n\n")[-2].startswith("event: end\n")
