"""The OpenAI dialect over a real server: its wire format, and the client that must work with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest

from service.api.openai_schemas import ChatResponse, CompletionResponse, OpenAiError, OpenAiModels
from service.engine.sampling_params import MAX_SEED
from tests.service.conftest import PROMPT_CHARACTERS, SLOTS, WAITING, Server
from tests.service.fake_model import END_ID, LOGPROB, NAME, START_ID, TEXT, TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
FROG = ">be me\n>find "
USER = [{"role": "user", "content": "be me"}]


@pytest.fixture
def ai(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=30) as ai:
        yield ai


def complete(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post(COMPLETIONS, json=body)
    assert response.status_code == 200, response.text
    CompletionResponse.model_validate_json(response.content)
    answer: dict[str, Any] = response.json()
    return answer


def chunks(client: httpx.Client, path: str = COMPLETIONS, **body: Any) -> list[dict[str, Any]]:
    response = client.post(path, json={**body, "stream": True})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block for block in response.text.removesuffix("\n\n").split("\n\n") if not block.startswith(":")]
    assert blocks.pop() == "data: [DONE]"
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def refused(client: httpx.Client, path: str, body: Any, status: int = 400) -> dict[str, Any]:
    response = client.post(path, json=body)
    assert response.status_code == status, response.text
    OpenAiError.model_validate_json(response.content)
    error: dict[str, Any] = response.json()["error"]
    return error


# ------------------------------------------------------------------------------------------- the wire


def test_a_completion_says_all_that_openai_says(client: httpx.Client) -> None:
    answer = complete(client, prompt="be kind", max_tokens=6)
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    assert answer["model"] == NAME
    assert answer["system_fingerprint"].startswith("fp_")
    assert answer["choices"] == [{"index": 0, "text": ">be me", "logprobs": None, "finish_reason": "length"}]
    assert answer["usage"] == {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15}
    assert complete(client)["choices"][0] == {"index": 0, "text": TEXT, "logprobs": None, "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("prompt", "echoed"),
    [
        ("be kind", [">be kind"]),
        (["a", ">b"], [">a", ">b"]),
        (list(b"x y"), ["x y"]),
        ([START_ID, *b"x"], ["x"]),
        ([list(b"a"), list(b"b")], ["a", "b"]),
        ("<|4chanGtxStart|>", [""]),
        ("<|4chanGtxStart|>be", [">be"]),
    ],
    ids=str,
)
def test_a_prompt_comes_in_four_kinds(client: httpx.Client, prompt: Any, echoed: list[str]) -> None:
    answer = complete(client, prompt=prompt, echo=True, max_tokens=3)
    assert [choice["text"] for choice in answer["choices"]] == [text + ">be" for text in echoed]
    assert [choice["index"] for choice in answer["choices"]] == list(range(len(echoed)))
    assert answer["usage"]["prompt_tokens"] == sum(1 + len(text) for text in echoed)


def test_logprobs_say_where_each_token_begins(client: httpx.Client) -> None:
    logprobs = complete(client, logprobs=2)["choices"][0]["logprobs"]
    assert logprobs["tokens"][:3] == [">", "b", "e"]
    assert [token for token in logprobs["tokens"] if token.startswith("bytes:")] == [
        f"bytes:\\x{byte:02x}" for byte in "🐸".encode()
    ]
    assert logprobs["token_logprobs"] == [LOGPROB] * len(TOKENS)
    assert logprobs["top_logprobs"][0] == {"A": LOGPROB, "B": LOGPROB - 1}
    assert [TEXT[at] for at in logprobs["text_offset"][:8]] == list(TEXT[:8])
    assert logprobs["text_offset"][-1] == len(TEXT) - 1
    assert complete(client, logprobs=0)["choices"][0]["logprobs"]["top_logprobs"] is None


def test_logprobs_end_before_a_stop_string(client: httpx.Client) -> None:
    choice = complete(client, logprobs=0, stop="a frog")["choices"][0]
    assert choice["text"] == "".join(choice["logprobs"]["tokens"]) == FROG
    assert choice["finish_reason"] == "stop"


def test_the_best_are_chosen(client: httpx.Client) -> None:
    answer = complete(client, prompt=["a", "b"], n=2, best_of=3, max_tokens=2)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"] == {"prompt_tokens": 6, "completion_tokens": 12, "total_tokens": 18}


def test_a_stream_is_chunks(client: httpx.Client) -> None:
    *pieces, last = chunks(client, prompt="be me")
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in pieces)
    assert "".join(chunk["choices"][0]["text"] for chunk in pieces) == TEXT
    assert last["choices"] == [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}]
    for chunk in (*pieces, last):
        CompletionResponse.model_validate(chunk)
        assert "usage" not in chunk
    assert len({(chunk["id"], chunk["created"]) for chunk in (*pieces, last)}) == 1


def test_a_stream_may_tell_usage_and_echo(client: httpx.Client) -> None:
    *pieces, last = chunks(
        client, prompt=["a", "b"], n=2, echo=True, max_tokens=4, stream_options={"include_usage": True}
    )
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 6, "completion_tokens": 16, "total_tokens": 22}
    assert all(chunk["usage"] is None for chunk in pieces)
    texts = ["", "", "", ""]
    for chunk in pieces:
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["text"]
    assert texts == [">a>be ", ">a>be ", ">b>be ", ">b>be "]
    ends = [chunk["choices"][0] for chunk in pieces if chunk["choices"][0]["finish_reason"]]
    assert sorted(choice["index"] for choice in ends) == [0, 1, 2, 3]


def test_logprobs_are_streamed(client: httpx.Client) -> None:
    plain = complete(client, logprobs=1)["choices"][0]["logprobs"]
    parts = [chunk["choices"][0]["logprobs"] for chunk in chunks(client, logprobs=1)[:-1]]
    for name, values in plain.items():
        assert [value for part in parts for value in part[name]] == values


def test_what_was_held_back_comes_with_the_end(client: httpx.Client) -> None:
    sent = chunks(client, stop=["me\n>lose"], max_tokens=9)
    assert "".join(chunk["choices"][0]["text"] for chunk in sent) == ">be me\n>f"
    sent = chunks(client, stop=["a frog", "never"])
    assert "".join(chunk["choices"][0]["text"] for chunk in sent) == FROG


BAD: list[tuple[str, Any]] = [
    ("prompt", None),
    ("prompt", 5),
    ("prompt", []),
    ("prompt", ["a", 1]),
    ("prompt", [[]  , ["a"]]),
    ("prompt", [True]),
    ("prompt", [-1]),
    ("prompt", [9999]),
    ("prompt", [65, END_ID]),
    ("prompt", [65] * 600),
    ("prompt", ["a"] * (SLOTS + WAITING + 1)),
    ("prompt", "a" * (PROMPT_CHARACTERS + 1)),
    ("max_tokens", 0),
    ("max_tokens", 1025),
    ("logprobs", 6),
    ("logprobs", True),
    ("best_of", SLOTS + WAITING + 1),
    ("suffix", "the end"),
    ("echo", "yes"),
    ("messages", USER),
]  # fmt: skip
BAD_IN_BOTH: list[tuple[str, Any]] = [
    ("model", 5),
    ("temperature", 2.5),
    ("temperature", "warm"),
    ("top_p", 0),
    ("top_k", -1),
    ("presence_penalty", 3),
    ("frequency_penalty", -3),
    ("repetition_penalty", 0.001),
    ("logit_bias", {"a": 1}),
    ("logit_bias", {"1": 101}),
    ("logit_bias", {"9999": 1}),
    ("logit_bias", [1]),
    ("seed", -1),
    ("seed", MAX_SEED + 1),
    ("stop", ["a"] * 17),
    ("stop", 1),
    ("min_tokens", 97),
    ("n", 0),
    ("n", SLOTS + WAITING + 1),
    ("stream_options", {"include_usage": True}),
    ("unheard_of", 1),
]
BAD_CHAT: list[tuple[str, Any]] = [
    ("messages", None),
    ("messages", []),
    ("messages", "be me"),
    ("messages", [{"role": "system", "content": "x"}]),
    ("messages", [{"role": "wizard", "content": "x"}]),
    ("messages", [{"role": "tool", "content": "x"}]),
    ("messages", [{"role": "user"}]),
    ("messages", [{"role": "user", "content": 5}]),
    ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
    ("messages", [{"role": "user", "content": "a" * (PROMPT_CHARACTERS + 1)}]),
    ("max_completion_tokens", 1025),
    ("max_tokens", 1025),
    ("logprobs", 5),
    ("top_logprobs", 21),
    ("top_logprobs", 1),
    ("tools", []),
    ("tool_choice", "auto"),
    ("functions", []),
    ("response_format", {"type": "json_object"}),
    ("prompt", "be me"),
]


@pytest.mark.parametrize(("field", "value"), BAD + BAD_IN_BOTH, ids=lambda value: repr(value)[:40])
def test_a_bad_field_is_named(client: httpx.Client, field: str, value: Any) -> None:
    error = refused(client, COMPLETIONS, {field: value})
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", field, None)
    assert error["message"].startswith(f"{field}: ")
    assert len(error["message"]) < 300


@pytest.mark.parametrize(("field", "value"), BAD_CHAT + BAD_IN_BOTH, ids=lambda value: repr(value)[:40])
def test_a_bad_field_of_a_chat_is_named(client: httpx.Client, field: str, value: Any) -> None:
    error = refused(client, CHAT, {"messages": USER, field: value})
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith(field)
    assert error["message"].startswith(f"{error['param']}: ")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"echo": True, "logprobs": 0}, "logprobs"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"best_of": 2, "temperature": 0}, "best_of"),
        ({"prompt": ["a"] * 5, "n": 2}, "prompt"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(client: httpx.Client, body: dict[str, Any], field: str) -> None:
    assert refused(client, COMPLETIONS, body)["param"] == field


def test_the_length_of_a_chat_has_two_names(client: httpx.Client) -> None:
    for body in ({"max_tokens": 3}, {"max_completion_tokens": 3}, {"max_tokens": 3, "max_completion_tokens": 3}):
        answer = client.post(CHAT, json={"messages": USER, **body}).json()
        assert answer["choices"][0]["message"]["content"] == TEXT[:3]
    error = refused(client, CHAT, {"messages": USER, "max_tokens": 3, "max_completion_tokens": 4})
    assert error["param"] == "max_tokens"


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
def test_null_is_as_good_as_nothing(client: httpx.Client, path: str) -> None:
    own = {"suffix": None} if path == COMPLETIONS else {"messages": USER, "tools": None, "response_format": None}
    body = {"temperature": None, "stop": None, "logit_bias": None, "user": "me", "n": None, "stream": None, **own}
    assert client.post(path, json=body).status_code == 200


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
def test_all_its_errors_are_in_its_words(client: httpx.Client, path: str) -> None:
    json_type = {"content-type": "application/json"}
    requests: list[tuple[dict[str, Any], int, str | None]] = [
        ({"content": b"x" * 20_000, "headers": json_type}, 413, "body_too_large"),
        ({"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "unsupported_media_type"),
        ({"content": b"{", "headers": json_type}, 400, None),
    ]
    for request, status, code in requests:
        response = client.post(path, **request)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert client.get(path).status_code == 405
    assert client.get("/v1/embeddings").json()["error"]["code"] == "unknown_url"
    error = refused(client, path, {"messages": USER, "model": "gpt-5"} if path == CHAT else {"model": "gpt-5"}, 404)
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "model", "model_not_found")
    assert NAME in error["message"]


def test_a_chat_continues_its_last_user_message(client: httpx.Client) -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": ">ok"},
        {"role": "user", "content": [{"type": "text", "text": "be"}, {"type": "text", "text": " me"}]},
        {"role": "assistant", "content": ""},
    ]
    response = client.post(CHAT, json={"messages": messages, "logprobs": True, "top_logprobs": 1})
    ChatResponse.model_validate_json(response.content)
    answer = response.json()
    assert answer["object"] == "chat.completion"
    assert answer["usage"]["prompt_tokens"] == 1 + len(">be me")
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": TEXT, "refusal": None}
    assert choice["finish_reason"] == "stop"
    content = choice["logprobs"]["content"]
    assert [byte for token in content for byte in token["bytes"]] == list(TOKENS)
    assert content[0]["top_logprobs"] == [{"token": "A", "logprob": LOGPROB, "bytes": [65]}]


def test_a_streamed_chat_says_its_role_first(client: httpx.Client) -> None:
    first, *pieces, last = chunks(client, CHAT, messages=USER)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert {chunk["object"] for chunk in (first, *pieces, last)} == {"chat.completion.chunk"}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in pieces) == TEXT
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "stop")


# ------------------------------------------------------------------------------------------- the client


def test_plain(ai: openai.OpenAI) -> None:
    answer = ai.completions.create(model=NAME, prompt="be me")
    assert answer.choices[0].text == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(TOKENS)


def test_all_the_fields_of_the_contract(ai: openai.OpenAI) -> None:
    answer = ai.completions.create(
        model=NAME,
        prompt=["be me", "well"],
        max_tokens=9,
        temperature=0.7,
        top_p=0.9,
        n=2,
        logprobs=3,
        stop=["never"],
        seed=5,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={"17": -100},
        user="someone",
        extra_body={"top_k": 40, "min_p": 0.1, "repetition_penalty": 1.2},
    )
    assert [choice.text for choice in answer.choices] == [TEXT[:9]] * 4
    logprobs = answer.choices[3].logprobs
    assert logprobs is not None
    assert logprobs.token_logprobs == [LOGPROB] * 9
    assert logprobs.top_logprobs is not None
    assert len(logprobs.top_logprobs[0]) == 3
    assert logprobs.text_offset == list(range(9))


def test_streamed(ai: openai.OpenAI) -> None:
    with ai.completions.create(
        model=NAME, prompt="be me", stream=True, echo=True, stream_options={"include_usage": True}
    ) as stream:
        *pieces, last = stream
    assert "".join(chunk.choices[0].text for chunk in pieces) == ">be me" + TEXT
    assert last.usage is not None
    assert last.usage.total_tokens == 7 + len(TOKENS)


def test_several_and_stopped(ai: openai.OpenAI) -> None:
    answer = ai.completions.create(model=NAME, prompt="be me", n=3, best_of=4, stop="a frog", echo=True)
    assert [choice.text for choice in answer.choices] == [">be me" + FROG] * 3


@pytest.mark.parametrize(
    ("arguments", "error", "param", "code"),
    [
        ({"temperature": 3}, openai.BadRequestError, "temperature", None),
        ({"suffix": "x"}, openai.BadRequestError, "suffix", None),
        ({"extra_body": {"x": 1}}, openai.BadRequestError, "x", None),
        ({"model": "gpt-5"}, openai.NotFoundError, "model", "model_not_found"),
        ({"stream": True, "best_of": 2}, openai.BadRequestError, "best_of", None),
    ],
    ids=str,
)
def test_refused(
    ai: openai.OpenAI, arguments: dict[str, Any], error: type[openai.APIStatusError], param: str, code: str | None
) -> None:
    with pytest.raises(error) as caught:
        ai.completions.create(**{"model": NAME, "prompt": "be me", **arguments})
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.type == "invalid_request_error"


def test_a_full_queue_is_a_rate_limit(ai: openai.OpenAI, full_queue: None) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        ai.completions.create(model=NAME, prompt="be me", stream=True)
    assert int(caught.value.response.headers["retry-after"]) >= 1
    assert caught.value.code == "rate_limit_exceeded"


def test_chat(ai: openai.OpenAI) -> None:
    answer = ai.chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": "be me"}], n=2, max_completion_tokens=9, seed=1, stop=["x"]
    )
    assert [choice.message.content for choice in answer.choices] == [TEXT[:9]] * 2
    assert answer.choices[0].finish_reason == "length"
    with pytest.raises(openai.BadRequestError) as caught:
        ai.chat.completions.create(
            model=NAME,
            messages=[{"role": "user", "content": "be me"}],
            tools=[{"type": "function", "function": {"name": "x"}}],
        )
    assert caught.value.param == "tools"


def test_chat_streamed(ai: openai.OpenAI) -> None:
    stream = ai.chat.completions.create(
        model=NAME,
        messages=[{"role": "user", "content": "be me"}],
        n=2,
        logprobs=True,
        stream=True,
        stream_options={"include_usage": True},
    )
    texts, roles = ["", ""], [0, 0]
    usage = None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            roles[choice.index] += choice.delta.role == "assistant"
    assert texts == [TEXT, TEXT]
    assert roles == [1, 1]
    assert usage is not None
    assert usage.completion_tokens == 2 * len(TOKENS)


def test_models(ai: openai.OpenAI, client: httpx.Client) -> None:
    OpenAiModels.model_validate_json(client.get("/v1/models").content)
    (model,) = ai.models.list()
    assert model.id == NAME
    assert model.created > 1_600_000_000
    assert ai.models.retrieve(NAME) == model
    with pytest.raises(openai.NotFoundError) as caught:
        ai.models.retrieve("openai/gpt-5")
    assert caught.value.code == "model_not_found"


async def test_asynchronous(server: Server) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as ai:
        stream = await ai.completions.create(model=NAME, prompt="be me", stream=True)
        texts = [chunk.choices[0].text async for chunk in stream]
    assert "".join(texts) == TEXT
