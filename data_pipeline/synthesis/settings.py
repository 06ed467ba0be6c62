"""What synthesis can be told: what to ask for, of whom, how fast, and for how much money.

The API key is no setting: it is read from an environment variable that a setting names, and written down nowhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - pydantic needs it to make the fields
from typing import Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from data_pipeline.settings import Settings

OPENAI_URL: Final = "https://api.openai.com/v1"

Kind: TypeAlias = Literal["full", "simple", "thanks"]

NOT_OF_THE_RESULT: Final = frozenset(
    {
        "api_key_variable", "answers", "mode", "concurrency", "requests_per_minute", "tokens_per_minute", "timeout_s",
        "attempts", "longest_wait_s", "prices", "budget_dollars", "finish_at_budget", "batch_requests", "batch_poll_s",
        "batch_deadline_s", "batch_price_factor", "prompts",
    }
)  # fmt: skip
"""Settings that say how the answers are come by, not what they are; of `prompts`, the files' hash counts."""


class Mode(StrEnum):
    """How requests reach the server."""

    LIVE = "live"
    BATCH = "batch"


class AnswerFormat(StrEnum):
    """How strictly the server is asked to keep to JSON, the strictest first."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    PLAIN = "plain"


class SynthesisSettings(Settings):
    """Settings of the stage `synthesis`."""

    model: str = Field(default="gpt-4o-mini", min_length=1, description="the model to ask, by the server's name for it")
    base_url: str = Field(default=OPENAI_URL, description="a server that speaks OpenAI's API, up to and with its /v1")
    api_key_variable: str = Field(
        default="OPENAI_API_KEY", description="the environment variable with the API key; other servers may need none"
    )
    kinds: tuple[Kind, ...] = Field(
        default=("full", "simple", "thanks"),
        min_length=1,
        description="full: any words; simple: words of the TinyStories vocabulary only; thanks: ends with a thank-you",
    )
    themes: tuple[str, ...] = Field(default=(), description="themes by name; none means all of prompts/themes.toml")
    samples: int = Field(default=10, ge=1, le=1_000_000, description="requests for each kind and theme")
    texts_per_request: int = Field(default=8, ge=1, le=100, description="greentexts asked for in one request")
    seed: int = Field(default=0, ge=0, description="what sparks, examples and words a request has is drawn from it")
    temperature: float | None = Field(
        default=1.0, ge=0, le=2, description="how varied the answers are; 'none' leaves it to the server"
    )
    reasoning_effort: str | None = Field(default=None, description="for models that reason: minimal, low, medium, high")
    max_output_tokens: int = Field(default=2500, ge=16, description="bound on an answer, which the budget relies on")
    output_limit_name: Literal["max_completion_tokens", "max_tokens"] = Field(
        default="max_completion_tokens", description="what the server calls that bound; older servers know max_tokens"
    )
    answer_format: AnswerFormat = Field(
        default=AnswerFormat.JSON_SCHEMA,
        description="what to ask for first; a server that refuses it is asked for the next weaker one",
    )
    examples_per_request: int = Field(default=3, ge=0, le=50, description="example greentexts, drawn from the inputs")
    vocabulary_words: int = Field(default=250, ge=0, le=3000, description="words of the vocabulary in a simple prompt")
    extra_asks: int = Field(default=1, ge=0, le=10, description="asking anew where nothing of an answer was usable")
    prompts: Path | None = Field(default=None, description="folder with prompts of your own; none means the built-in")

    mode: Mode = Field(default=Mode.LIVE, description="batch: the Batch API, within a day and cheaper")
    concurrency: int = Field(default=8, ge=1, le=1000, description="requests in flight at once")
    requests_per_minute: float | None = Field(default=None, gt=0, description="limit on requests")
    tokens_per_minute: float | None = Field(
        default=None, gt=0, description="limit on tokens, an answer counted as long as it may be"
    )
    timeout_s: float = Field(default=180.0, gt=0, description="an answer takes no longer, in seconds")
    attempts: int = Field(default=8, ge=1, le=100, description="tries for one answer before it is left for another run")
    longest_wait_s: float = Field(
        default=300.0, ge=0, description="a server that wants a longer pause, in seconds, ends the run"
    )
    prices: tuple[str, ...] = Field(
        default=(), description="MODEL=INPUT,OUTPUT in dollars a million tokens, as the provider's price list says"
    )
    budget_dollars: float | None = Field(
        default=None, gt=0, description="never spend more, all runs with the same answers folder together"
    )
    finish_at_budget: bool = Field(
        default=False, description="finish with what there is when the budget is spent, rather than stop"
    )
    answers: Path | None = Field(
        default=None, description="folder where paid answers are kept; none means beside the output, OUT.answers"
    )
    batch_requests: int = Field(default=10_000, ge=1, le=50_000, description="requests in one batch at most")
    batch_poll_s: float = Field(default=30.0, gt=0, description="seconds between looks at a batch")
    batch_deadline_s: float | None = Field(
        default=None, gt=0, description="a batch that takes longer, in seconds, is cancelled; what it has is kept"
    )
    batch_price_factor: float = Field(default=0.5, ge=0, le=1, description="what of the price a batch costs")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("kinds", "themes"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise ValueError(f"{name} names something twice")
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError("base_url must begin with http:// or https://")
        if "@" in self.base_url.split("/", 3)[2] or "?" in self.base_url:
            raise ValueError("base_url must hold no user, password or query: it is written down, keys are not")
        table = price_table(self.prices)
        if self.budget_dollars is not None and self.model not in table:
            raise ValueError(
                f"a budget needs the price of {self.model}: add it to prices as {self.model}=INPUT,OUTPUT, in dollars "
                "a million tokens (0,0 for a server of your own)"
            )
        return self

    def of_the_result(self) -> dict[str, object]:
        """The settings that the texts depend on."""
        values = self.model_dump(mode="json", exclude=set(NOT_OF_THE_RESULT))
        values["base_url"] = self.base_url.rstrip("/")
        if self.finish_at_budget:
            values["budget_dollars"] = self.budget_dollars
        return values

    def price(self, mode: Mode) -> Price | None:
        """The model's; None where nobody said."""
        price = price_table(self.prices).get(self.model)
        if price is None or mode is Mode.LIVE:
            return price
        return Price(price.input * self.batch_price_factor, price.output * self.batch_price_factor)


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars a million tokens, that is microdollars a token."""

    input: float
    """For what is sent. Discounts for cached input are not taken off: costs are upper bounds."""
    output: float
    """For what is answered, reasoning included."""

    def microdollars(self, input_tokens: int, output_tokens: int) -> float:
        """What so many tokens cost."""
        return self.input * input_tokens + self.output * output_tokens


def price_table(prices: tuple[str, ...]) -> dict[str, Price]:
    """Prices by model from `MODEL=INPUT,OUTPUT`. Raises ValueError."""
    table = {}
    for entry in prices:
        model, equals, numbers = entry.rpartition("=")
        try:
            both = [float(number) for number in numbers.split(",")]
        except ValueError:
            both = []
        if not (equals and model and len(both) == 2 and all(math.isfinite(price) and price >= 0 for price in both)):
            raise ValueError(f"{entry!r} is no price: write MODEL=INPUT,OUTPUT, such as my-model=0.15,0.6")
        if model in table:
            raise ValueError(f"two prices for {model}")
        table[model] = Price(*both)
    return table
