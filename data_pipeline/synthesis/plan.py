"""What is asked: one request for each kind, theme and sample, the same whenever it is made anew.

A request's key is the hash of all that its answer depends on: server, body and sample number. Answers are kept under
it, so that what was paid for once is never asked again, whichever run or folder wants it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from data_pipeline.synthesis.settings import AnswerFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data_pipeline.synthesis.prompts import PromptBook
    from data_pipeline.synthesis.settings import Kind, SynthesisSettings

TOKENS_BESIDES: Final = 64
"""What a server's template puts around two messages, generously."""

_SCHEMA: Final = {
    "type": "json_schema",
    "json_schema": {
        "name": "greentexts",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"greentexts": {"type": "array", "items": {"type": "string"}}},
            "required": ["greentexts"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the stage: what becomes of it is recorded once."""

    position: int
    kind: Kind
    theme: str
    sample: int

    @property
    def key(self) -> str:
        """For the stage's journal."""
        return f"{self.kind}/{self.theme}/{self.sample}"


@dataclass(frozen=True, slots=True)
class Request:
    """A request to `/chat/completions`."""

    key: str
    """At most 64 characters, as the Batch API wants of a `custom_id`."""
    body: dict[str, Any]
    """Without `response_format`."""
    max_input_tokens: int
    """A bound: a token of any tokenizer stands for one byte or more."""
    max_output_tokens: int

    def body_for(self, answer_format: AnswerFormat) -> dict[str, Any]:
        """The body as it is sent."""
        if answer_format is AnswerFormat.PLAIN:
            return self.body
        wanted = _SCHEMA if answer_format is AnswerFormat.JSON_SCHEMA else {"type": "json_object"}
        return {**self.body, "response_format": wanted}


def items(settings: SynthesisSettings, themes: tuple[str, ...]) -> Iterator[Item]:
    """All items; samples vary slowest, so that a run that is stopped early has something of everything."""
    position = 0
    for sample in range(settings.samples):
        for theme in themes:
            for kind in settings.kinds:
                yield Item(position, kind, theme, sample)
                position += 1


def make_request(item: Item, ask: int, settings: SynthesisSettings, book: PromptBook) -> Request:
    """The request of an item, asked for the `ask`th time (from 0)."""
    system, user = book.messages(item.kind, item.theme, item.sample, settings)
    body: dict[str, Any] = {
        "model": settings.model,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
        settings.output_limit_name: settings.max_output_tokens,
    }
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    if settings.reasoning_effort is not None:
        body["reasoning_effort"] = settings.reasoning_effort
    identity = {
        "server": settings.base_url.rstrip("/"),
        "body": body,
        # The format asked for first: what a server makes us fall back to must not make its answers strangers.
        "format": settings.answer_format,
        "sample": item.sample,
        "ask": ask,
    }
    sent_bytes = len(system.encode()) + len(user.encode()) + len(orjson.dumps(_SCHEMA))
    return Request(
        key=hashlib.sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).hexdigest()[:48],
        body=body,
        max_input_tokens=sent_bytes + TOKENS_BESIDES,
        max_output_tokens=settings.max_output_tokens,
    )
