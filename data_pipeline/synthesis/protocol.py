"""OpenAI's chat completions as they come over the wire: what an answer holds, and what an error means.

Sources: https://platform.openai.com/docs/api-reference/chat/object and .../docs/guides/error-codes. Other servers keep
to these more or less; where they leave something out, the careful meaning is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import orjson

from data_pipeline.synthesis.ledger import Answer
from data_pipeline.synthesis.settings import AnswerFormat

if TYPE_CHECKING:
    from data_pipeline.synthesis.settings import Price

MAX_MESSAGE_CHARACTERS: Final = 400
"""Of a server's error that are shown."""


class Verdict(StrEnum):
    """What to do about a request that failed."""

    AGAIN = "again"
    """It was not billed."""
    AGAIN_MAYBE_BILLED = "again_maybe_billed"
    WEAKER_FORMAT = "weaker_format"
    """The server does not know the response format."""
    REFUSED = "refused"
    """The server will not answer this one, whoever asks."""
    FATAL = "fatal"
    """It will not answer any."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer."""

    verdict: Verdict
    name: str
    """What it is counted under: `http_429`, `connection`, `malformed_body`, ..."""
    message: str


# Statuses that say nothing of whether the model behind a gateway did its work.
_GATEWAY: Final = frozenset({408, 499, 502, 504, 520, 521, 522, 523, 524})
_REFUSING_CODES: Final = frozenset({"content_filter", "content_policy_violation", "invalid_prompt"})
_FORMAT_WORDS: Final = ("response_format", "json_schema", "json_object", "json mode", "structured output")
_HINTS: Final = {
    401: "check the API key in the environment variable {key}",
    402: "the account has no credit left",
    403: "the key may not use this model or server",
    404: "check --model and --base-url (which ends with /v1 for most servers)",
    413: "ask for less: --vocabulary-words, --examples-per-request",
}


def judge(status: int, body: Any, sent_format: AnswerFormat, api_key_variable: str) -> Failure:
    """What an error status means. `body` is the answer's, decoded where it was JSON."""
    error = body.get("error", body) if isinstance(body, dict) else body
    fields = error if isinstance(error, dict) else {"message": str(error or "")}
    message = str(fields.get("message") or "no explanation")[:MAX_MESSAGE_CHARACTERS]
    code, param = str(fields.get("code") or ""), str(fields.get("param") or "")
    name = f"http_{status}"
    if status == 429 and "insufficient_quota" in (code, str(fields.get("type") or "")):
        return Failure(Verdict.FATAL, name, f"{message} (the account's credit or monthly limit is used up)")
    if status in (409, 425, 429) or (status >= 500 and status not in _GATEWAY):
        return Failure(Verdict.AGAIN, name, message)
    if status in _GATEWAY:
        return Failure(Verdict.AGAIN_MAYBE_BILLED, name, message)
    if code in _REFUSING_CODES:
        return Failure(Verdict.REFUSED, name, message)
    about = f"{param} {code} {message}".lower()
    may_weaken = status in (400, 404, 415, 422) and sent_format is not AnswerFormat.PLAIN
    if may_weaken and any(word in about for word in _FORMAT_WORDS):
        return Failure(Verdict.WEAKER_FORMAT, name, message)
    hint = _HINTS.get(status, "").format(key=api_key_variable)
    if status in (400, 422):
        hint = _hint_for(about)
    return Failure(Verdict.FATAL, name, f"HTTP {status}: {message}" + (f" ({hint})" if hint else ""))


def _hint_for(about: str) -> str:
    """Which setting a complaint is about."""
    for word, hint in (
        ("max_completion_tokens", "try --output-limit-name max_tokens, or another --max-output-tokens"),
        ("max_tokens", "try --output-limit-name max_completion_tokens, or another --max-output-tokens"),
        ("temperature", "this model may want its own: --temperature none"),
        ("reasoning", "leave --reasoning-effort away, or name one that the model has"),
        ("context", "ask for less: --texts-per-request, --vocabulary-words, --max-output-tokens"),
        ("api key", "check the API key"),
        ("model", "check --model"),
    ):
        if word in about:
            return hint
    return ""


def weaker(answer_format: AnswerFormat) -> AnswerFormat:
    """The format to ask for where a server does not know this one."""
    return AnswerFormat.JSON_OBJECT if answer_format is AnswerFormat.JSON_SCHEMA else AnswerFormat.PLAIN


def read_body(
    content: bytes | dict[str, Any],
    answer_format: AnswerFormat,
    price: Price | None,
    reserved_microdollars: float,
) -> Answer | Failure:
    """The answer in a body with status 200; a failure where there is none in it.

    Where the server does not say how many tokens it took, the answer costs what was reserved for it.
    """
    try:
        body = orjson.loads(content) if isinstance(content, bytes) else content
        choice = body["choices"][0]
        message = choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        if isinstance(content, bytes):
            # Some servers send errors with status 200.
            start = content[:MAX_MESSAGE_CHARACTERS].decode("utf-8", "replace")
        else:
            start = str(content)[:MAX_MESSAGE_CHARACTERS]
        return Failure(Verdict.AGAIN_MAYBE_BILLED, "malformed_body", f"no chat completion: {start}")
    if isinstance(text, list):  # parts, as some servers have them
        text = "".join(str(part.get("text") or "") for part in text if isinstance(part, dict))
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    known = all(type(count) is int and count >= 0 for count in counts)
    input_tokens, output_tokens = (int(count or 0) if known else 0 for count in counts)
    cost = 0.0 if price is None else price.microdollars(input_tokens, output_tokens)
    return Answer(
        content=text if isinstance(text, str) else "",
        finish_reason=str(choice.get("finish_reason") or ""),
        refusal=str(refusal or ""),
        model=str(body.get("model") or ""),
        answer_format=answer_format.value,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_microdollars=round(cost, 3) if known else reserved_microdollars,
        usage_known=known,
        stamp=str(body.get("id") or ""),
    )


def refused_answer(failure: Failure, answer_format: AnswerFormat) -> Answer:
    """What is kept of a request that the server will not answer, so that nobody asks again. It costs nothing."""
    return Answer(
        content="",
        finish_reason="content_filter",
        refusal=failure.message,
        model="",
        answer_format=answer_format.value,
        input_tokens=0,
        output_tokens=0,
        cost_microdollars=0.0,
    )
