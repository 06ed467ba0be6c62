"""What a server's words mean, also those of servers that keep to the protocol more or less."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.synthesis.ledger import Answer
from data_pipeline.synthesis.protocol import MAX_MESSAGE_CHARACTERS, Failure, Verdict, judge, read_body, weaker
from data_pipeline.synthesis.settings import AnswerFormat, Price

SCHEMA, PLAIN = AnswerFormat.JSON_SCHEMA, AnswerFormat.PLAIN
SCALARS = st.none() | st.booleans() | st.integers(-5, 10**6) | st.floats() | st.text(max_size=5)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)
)


def error(message: str = "", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}}


@pytest.mark.parametrize(
    ("status", "body", "sent_format", "verdict"),
    [
        (429, error("Rate limit reached", code="rate_limit_exceeded"), SCHEMA, Verdict.AGAIN),
        (429, error("Over quota", code="insufficient_quota"), SCHEMA, Verdict.FATAL),
        (429, error("Over quota", type="insufficient_quota"), SCHEMA, Verdict.FATAL),
        (409, None, SCHEMA, Verdict.AGAIN),
        (500, "oops", SCHEMA, Verdict.AGAIN),
        (503, None, SCHEMA, Verdict.AGAIN),
        (529, None, SCHEMA, Verdict.AGAIN),
        (502, "<html>", SCHEMA, Verdict.AGAIN_MAYBE_BILLED),
        (504, None, SCHEMA, Verdict.AGAIN_MAYBE_BILLED),
        (408, None, SCHEMA, Verdict.AGAIN_MAYBE_BILLED),
        (524, None, SCHEMA, Verdict.AGAIN_MAYBE_BILLED),
        (400, error("no", param="response_format"), SCHEMA, Verdict.WEAKER_FORMAT),
        (422, {"detail": "x", "message": "json_schema is not supported"}, SCHEMA, Verdict.WEAKER_FORMAT),
        (400, error("no", param="response_format"), PLAIN, Verdict.FATAL),
        (400, error("filtered", code="content_filter"), SCHEMA, Verdict.REFUSED),
        (400, error("max_tokens is too large"), SCHEMA, Verdict.FATAL),
        (401, error("Incorrect API key", code="invalid_api_key"), SCHEMA, Verdict.FATAL),
        (404, error("no such model", code="model_not_found"), SCHEMA, Verdict.FATAL),
        (402, None, SCHEMA, Verdict.FATAL),
        (301, None, SCHEMA, Verdict.FATAL),
    ],
)
def test_what_a_status_means(status: int, body: Any, sent_format: AnswerFormat, verdict: Verdict) -> None:
    assert judge(status, body, sent_format, "MY_KEY").verdict is verdict


@pytest.mark.parametrize(
    ("status", "body", "hint"),
    [
        (401, error(), "MY_KEY"),
        (404, None, "--base-url"),
        (400, error("Unsupported parameter: 'max_tokens'"), "max_completion_tokens"),
        (400, error("Unsupported parameter: 'max_completion_tokens'"), "--output-limit-name max_tokens"),
        (400, error("maximum context length is 4096"), "--texts-per-request"),
        (400, error("'temperature' does not support 0.7"), "--temperature none"),
    ],
)
def test_an_end_says_what_to_change(status: int, body: Any, hint: str) -> None:
    assert hint in judge(status, body, PLAIN, "MY_KEY").message


@given(st.integers(300, 599), ANYTHING, st.sampled_from(AnswerFormat))
def test_any_error_body_is_judged(status: int, body: Any, sent_format: AnswerFormat) -> None:
    assert len(judge(status, body, sent_format, "K").message) < MAX_MESSAGE_CHARACTERS + 200


@given(ANYTHING)
def test_any_answer_is_read_or_a_failure(body: Any) -> None:
    spoilt = [body, {"choices": body}, {"choices": [body]}, {"choices": [{"message": body}]},
              {"choices": [{"message": {"content": body, "refusal": body}, "finish_reason": body}], "usage": body,
               "model": body, "id": body}]  # fmt: skip
    for value in spoilt:
        try:
            content = json.dumps(value).encode()
        except ValueError:
            continue
        for said in (content, value):
            outcome = read_body(said, PLAIN, Price(1, 1), 77.0)
            assert isinstance(outcome, Failure) or outcome.cost_microdollars >= 0


@given(st.binary())
def test_any_bytes_are_a_failure_that_may_have_been_billed(content: bytes) -> None:
    outcome = read_body(content, PLAIN, None, 0.0)
    assert isinstance(outcome, Failure)
    assert outcome.verdict is Verdict.AGAIN_MAYBE_BILLED


@pytest.mark.parametrize(
    "usage",
    [None, {}, [], "many", {"prompt_tokens": 5}, {"prompt_tokens": "5", "completion_tokens": 1},
     {"prompt_tokens": -1, "completion_tokens": 1}, {"prompt_tokens": True, "completion_tokens": 1}],
)  # fmt: skip
def test_without_sound_usage_an_answer_costs_what_was_reserved(usage: Any) -> None:
    body = {"choices": [{"message": {"content": "x"}}], "usage": usage}
    outcome = read_body(body, PLAIN, Price(1, 1), 77.0)
    assert isinstance(outcome, Answer)
    assert (outcome.cost_microdollars, outcome.usage_known, outcome.input_tokens) == (77.0, False, 0)


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": ">be me"}, {"type": "text", "text": "\n>eat"}]
    outcome = read_body({"choices": [{"message": {"content": parts}, "finish_reason": None}]}, PLAIN, None, 0.0)
    assert isinstance(outcome, Answer)
    assert (outcome.content, outcome.finish_reason) == (">be me\n>eat", "")


def test_formats_weaken_down_to_plain() -> None:
    assert [weaker(SCHEMA), weaker(AnswerFormat.JSON_OBJECT)] == [AnswerFormat.JSON_OBJECT, PLAIN]
