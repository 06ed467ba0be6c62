"""What our own dialect takes and answers, field by field; the API's documentation is made from it.

A request is checked strictly: no `"5"` for 5, no `true` for 1, no unknown field. Where a field is left out, or null,
the model's own default holds. The answers' models document what `service.api.native` writes; tests hold it to them.
"""

from typing import Literal

from pydantic import Field

from service.api.fields import MAX_COUNT, MAX_MODEL_NAME_CHARACTERS, LogitBias, Part, StopStrings
from service.engine.sampling_params import MAX_LOGPROBS, MAX_N, MAX_SEED


class GenerateRequest(Part):
    """What to write, and how. Every field may be left out: `{}` asks for one greentext."""

    prompt: str = Field(
        "",
        description="The beginning to continue, such as `be me`; a `>` is put before it if it has none. "
        "Text that spells a control token is plain text.",
    )
    model: str | None = Field(
        None, max_length=MAX_MODEL_NAME_CHARACTERS, description="A name from `GET /models`; null is the default model."
    )
    share: bool = Field(
        False, description="Let others see it on the board, if the content policy has nothing against it."
    )
    temperature: float | None = Field(
        None, ge=0, le=100, description="How freely to choose: 0 always takes the likeliest token."
    )
    opening_temperature: float | None = Field(
        None,
        gt=0,
        le=100,
        description="The same for the first line alone. Null is `temperature` if the request has one, else the model's "
        "own; without effect where `temperature` is 0.",
    )
    top_k: int | None = Field(None, ge=0, le=MAX_COUNT, description="Choose among the k likeliest tokens; 0 is all.")
    top_p: float | None = Field(
        None, gt=0, le=1, description="Choose among the likeliest tokens that make up this probability; 1 is all."
    )
    min_p: float | None = Field(
        None, ge=0, le=1, description="Choose among tokens at least this times as likely as the likeliest; 0 is all."
    )
    typical_p: float | None = Field(
        None, gt=0, le=1, description="Locally typical sampling (Meister et al. 2022); 1 is off."
    )
    repetition_penalty: float | None = Field(
        None, gt=0, le=100, description="Above 1, tokens of prompt and text become less likely (Keskar et al. 2019)."
    )
    presence_penalty: float | None = Field(
        None, ge=-100, le=100, description="Taken from the logit of each token that the new text has."
    )
    frequency_penalty: float | None = Field(
        None, ge=-100, le=100, description="Taken from a token's logit for each time the new text has it."
    )
    logit_bias: LogitBias = Field(
        None,
        description="What to add to the logits of tokens: ids, written as strings, to numbers from -100 to 100.",
        examples=[{"17": -100}],
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=MAX_SEED,
        description="The same seed, prompt and parameters give the same text; text i of n has seed + i. Null draws.",
    )
    stop: StopStrings = Field(
        None, description="A string or several: the text ends before the first of them to come up."
    )
    max_new_tokens: int | None = Field(None, ge=1, le=MAX_COUNT, description="Where to end at the latest.")
    min_new_tokens: int | None = Field(None, ge=0, le=MAX_COUNT, description="The text does not end by itself before.")
    ignore_eos: bool | None = Field(
        None, description="Go on after the model's end token, to max_new_tokens: for measurements that need a length."
    )
    n: int | None = Field(None, ge=1, le=MAX_N, description="How many greentexts to write; null is one.")
    logprobs: int | None = Field(
        None,
        ge=0,
        le=MAX_LOGPROBS,
        description="Report each new token's log probability, and those of this many of the likeliest.",
    )


class TokenAlternative(Part):
    """A token that could have stood there."""

    token_id: int
    text: str
    logprob: float = Field(description="Natural logarithm of its probability.")


class TokenLogprobs(TokenAlternative):
    """A token of the text, and how likely the model held it, before any sampling parameter."""

    top: list[TokenAlternative] = Field(description="The likeliest tokens there, best first.")


class WrittenGreentext(Part):
    """One greentext."""

    id: str = Field(description="For `POST /ratings` and `GET /generations/{id}`.")
    text: str = Field(description="The whole greentext, the given beginning and all.")
    lines: list[str] = Field(description="Its lines, without the `>`.")
    finish_reason: Literal["end", "stop", "length", "deadline"] = Field(
        description="`end`: by itself; `stop`: at a stop string; `length`: at max_new_tokens, or with the model's "
        "context full; `deadline`: the request's time was up."
    )
    seed: int = Field(description="The seed that gives this text again.")
    prompt: str = Field(description="The beginning that was continued; empty if none was given.")
    logprobs: list[TokenLogprobs] | None = Field(None, description="One for each new token, if asked for.")


class Usage(Part):
    """Tokens read and written."""

    prompt_tokens: int = Field(description="Tokens of the prompt, with the start token, counted once.")
    completion_tokens: int = Field(description="New tokens of all texts.")


class Timings(Part):
    """Where the time went; for several texts, the longest of each."""

    queue_ms: float = Field(description="Waiting for a slot.")
    prefill_ms: float = Field(description="Reading the prompt.")
    decode_ms: float = Field(description="Writing.")
    total_ms: float = Field(description="From the request to the last token.")


class GenerateResponse(Part):
    """What was written."""

    id: str = Field(description="The request's id, also in the header x-request-id.")
    model: str
    model_edition: str = Field(
        description="The beginning of the hash of the model's file. The same edition, seed, prompt and sampling "
        "parameters give the same text."
    )
    greentexts: list[WrittenGreentext]
    usage: Usage
    timings: Timings


class StreamedToken(Part):
    """Data of the event `token`."""

    index: int = Field(description="Which of the n greentexts it continues.")
    text: str = Field(description="What it adds; empty where a character or stop string is not complete yet.")
    token_id: int | None = Field(description="Null where held back text comes out after the last token.")
    logprob: float | None = Field(None, description="If logprobs were asked for.")


class ErrorDetail(Part):
    """What went wrong."""

    type: str = Field(description="For programs.", examples=["invalid_request"])
    message: str = Field(description="For people.", examples=["temperature: input should be a valid number"])
    field: str | None = Field(None, description="Which field of the request, if it is one.", examples=["temperature"])
    request_id: str


class ErrorResponse(Part):
    """Any answer but a good one; also the data of the event `error`."""

    error: ErrorDetail


class ServedSampling(Part):
    """What holds where a request says nothing."""

    temperature: float
    opening_temperature: float = Field(description="Of the first line.")
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    max_new_tokens: int


class ModelInfo(Part):
    """A model that is served."""

    name: str
    edition: str = Field(
        description="The beginning of the hash of its file: a name may come to mean another model.",
        examples=["6d0c1a5f3b27"],
    )
    aliases: list[str] = Field(description="Other names that it answers to.")
    default: bool = Field(description="Whether it answers requests that name no model.")
    state: Literal["loaded", "loading", "unloaded"] = Field(
        description="`unloaded`: the first request for it waits until it is loaded."
    )
    description: str
    base_model: str
    architecture: str
    precision: str = Field(description="Of its weights.", examples=["int8"])
    context_length: int = Field(description="Tokens that a text may have, prompt and all.")
    vocab_size: int
    default_sampling: ServedSampling
    evaluation: dict[str, float] = Field(description="Figures measured on held-out texts.")
    license: str
    card: str = Field(description="The model card, in Markdown.")


class UnusableBundle(Part):
    """A bundle in the models folder that cannot be served as it is."""

    directory: str = Field(description="Its name in the folder.")
    state: Literal["incomplete", "broken"] = Field(description="`incomplete`: it is still being copied, it seems.")
    reason: str


class ModelsResponse(Part):
    """The models that are served, and the bundles that are not."""

    models: list[ModelInfo]
    unusable: list[UnusableBundle]
