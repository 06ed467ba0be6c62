"""What the OpenAI dialect takes and answers, field by field.

Beyond OpenAI's own there are a few fields that its client sends through `extra_body`: top_k, min_p, typical_p,
repetition_penalty and min_tokens.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from service.api.fields import MAX_COUNT, MAX_MODEL_NAME_CHARACTERS, LogitBias, Part, Prompts, StopStrings, Unsupported
from service.engine.sampling_params import MAX_LOGPROBS, MAX_N, MAX_SEED

MAX_COMPLETION_LOGPROBS: Final = 5


class StreamOptions(Part):
    """How to send a stream."""

    include_usage: bool | None = Field(None, description="Send the numbers of tokens in a last chunk.")
    include_obfuscation: bool | None = Field(None, description="Without effect: chunks carry nothing but text.")


class OpenAiSampling(Part):
    """What completions and chats have in common. What is left out, or null, is as the model's own defaults are."""

    model: str | None = Field(
        None,
        max_length=MAX_MODEL_NAME_CHARACTERS,
        description="A name from `GET /v1/models`; null is the default model.",
    )
    temperature: float | None = Field(None, ge=0, le=2, description="How freely to choose; 0 is greedy.")
    top_p: float | None = Field(
        None, gt=0, le=1, description="Choose among the likeliest tokens that make up this probability; 1 is all."
    )
    top_k: int | None = Field(None, ge=0, le=MAX_COUNT, description="Choose among the k likeliest tokens; 0 is all.")
    min_p: float | None = Field(
        None, ge=0, le=1, description="Choose among tokens at least this times as likely as the likeliest; 0 is all."
    )
    typical_p: float | None = Field(None, gt=0, le=1, description="Locally typical sampling; 1 is off.")
    repetition_penalty: float | None = Field(
        None, gt=0, le=100, description="Above 1, tokens of prompt and text become less likely."
    )
    presence_penalty: float | None = Field(
        None, ge=-2, le=2, description="Taken from the logit of each token that the new text has."
    )
    frequency_penalty: float | None = Field(
        None, ge=-2, le=2, description="Taken from a token's logit for each time the new text has it."
    )
    logit_bias: LogitBias = Field(
        None, description="What to add to the logits of tokens: ids, written as strings, to numbers from -100 to 100."
    )
    seed: int | None = Field(
        None, ge=0, le=MAX_SEED, description="The same seed gives the same text; text i of n has seed + i. Null draws."
    )
    stop: StopStrings = Field(None, description="A string or several: the text ends before the first of them.")
    min_tokens: int | None = Field(None, ge=0, le=MAX_COUNT, description="The text does not end by itself before.")
    n: int | None = Field(None, ge=1, le=MAX_N, description="How many texts for each prompt; null is one.")
    stream: bool | None = Field(None, description="Whether to send each token as it comes.")
    stream_options: StreamOptions | None = Field(None, description="How; for streams only.")
    user: str | None = Field(None, description="Without effect: who asks is not kept.")


class CompletionRequest(OpenAiSampling):
    """A beginning to continue, and how."""

    prompt: Prompts = Field(
        default_factory=lambda: [""],
        description="A string, a list of token ids, or a list of several of either. A `>` is put before a string if it "
        "has none; token ids are taken as they are. The service sets the start token itself.",
        json_schema_extra={"default": ""},
    )
    max_tokens: int | None = Field(None, ge=1, le=MAX_COUNT, description="Where to end at the latest.")
    logprobs: int | None = Field(
        None,
        ge=0,
        le=MAX_COMPLETION_LOGPROBS,
        description="Report each new token's log probability, and those of this many of the likeliest.",
    )
    echo: bool | None = Field(None, description="Whether a text begins with its prompt. Not with logprobs.")
    best_of: int | None = Field(
        None,
        ge=1,
        le=MAX_N,
        description="Write as many for each prompt, and answer with the n of the highest mean log probability. Not in "
        "a stream.",
    )
    suffix: Unsupported = Field(None, description="Null only: texts are written to their end.")


def _content(value: object) -> str:
    """A message's text, whole or in parts."""
    match value:
        case str():
            return value
        case [*parts]:
            texts = [_part(part) for part in parts]
            return "".join(texts)
    raise ValueError("content must be a string, or a list of parts of the type text")


def _part(part: object) -> str:
    match part:
        case {"type": "text", "text": str(text), **rest} if not rest:
            return text
    raise ValueError("content may have parts of the type text only")


_TEXT_PART: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}


class ChatMessage(Part):
    """A message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        str,
        PlainValidator(_content),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": _TEXT_PART}]}, mode="validation"),
    ] = Field(description="Text, or parts of the type text.")
    name: str | None = Field(None, description="Without effect.")


class ChatRequest(OpenAiSampling):
    """A chat. Its last message of the role user is the beginning that is continued; the others are not read."""

    messages: list[ChatMessage] = Field(min_length=1, description="At least one of them of the role user.")
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_COUNT, description="Where to end at the latest.")
    max_tokens: int | None = Field(None, ge=1, le=MAX_COUNT, description="The same, by its old name.")
    logprobs: bool | None = Field(None, description="Whether to report each new token's log probability.")
    top_logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description="With logprobs: also those of this many of the likeliest tokens."
    )
    audio: Unsupported = Field(None, description="Null only.")
    function_call: Unsupported = Field(None, description="Null only.")
    functions: Unsupported = Field(None, description="Null only.")
    modalities: Unsupported = Field(None, description="Null only.")
    parallel_tool_calls: Unsupported = Field(None, description="Null only.")
    prediction: Unsupported = Field(None, description="Null only.")
    reasoning_effort: Unsupported = Field(None, description="Null only.")
    response_format: Unsupported = Field(None, description="Null only: greentexts have one format.")
    tool_choice: Unsupported = Field(None, description="Null only.")
    tools: Unsupported = Field(None, description="Null only: the model calls no tools.")


class OpenAiErrorDetail(Part):
    """What went wrong."""

    message: str = Field(description="For people.")
    type: str = Field(description="`invalid_request_error`, `rate_limit_error` or `server_error`.")
    param: str | None = Field(description="Which field of the request, if it is one.")
    code: str | None = Field(description="For programs.", examples=["model_not_found"])


class OpenAiError(Part):
    """Any answer but a good one; also what a stream ends with."""

    error: OpenAiErrorDetail


class OpenAiUsage(Part):
    """Tokens read and written."""

    prompt_tokens: int = Field(description="Tokens of all prompts, each with its start token.")
    completion_tokens: int = Field(description="New tokens of all texts, of candidates too.")
    total_tokens: int


class CompletionLogprobs(Part):
    """The new tokens of a text, one after the other."""

    tokens: list[str] = Field(description="One that is no whole character is spelt as `bytes:` and its bytes.")
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int] = Field(description="Where in `text` each begins, in characters.")


class CompletionChoice(Part):
    """One text."""

    index: int = Field(description="Prompt by prompt, n of each.")
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: Literal["stop", "length"] | None = Field(description="Null in a stream until the text has ended.")


class CompletionResponse(Part):
    """What was written; in a stream, a chunk of it."""

    id: str
    object: Literal["text_completion"]
    created: int = Field(description="Seconds since 1970.")
    model: str
    system_fingerprint: str = Field(description="Another one, and a seed may give another text.")
    choices: list[CompletionChoice]
    usage: OpenAiUsage | None = None


class ChatTokenAlternative(Part):
    """A token that could have stood there."""

    token: str
    logprob: float
    bytes: list[int]


class ChatTokenLogprob(ChatTokenAlternative):
    """A token of the text, and how likely the model held it, before any sampling parameter."""

    top_logprobs: list[ChatTokenAlternative]


class ChatLogprobs(Part):
    """The new tokens of a text."""

    content: list[ChatTokenLogprob]
    refusal: None = Field(None, description="Always null.")


class ChatAnswer(Part):
    """The text, as a message."""

    role: Literal["assistant"]
    content: str = Field(description="What the model wrote, without the beginning.")
    refusal: None = Field(None, description="Always null.")


class ChatChoice(Part):
    """One text."""

    index: int
    message: ChatAnswer
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"]


class ChatResponse(Part):
    """What was written."""

    id: str
    object: Literal["chat.completion"]
    created: int = Field(description="Seconds since 1970.")
    model: str
    system_fingerprint: str = Field(description="Another one, and a seed may give another text.")
    choices: list[ChatChoice]
    usage: OpenAiUsage


class OpenAiModel(Part):
    """A model that is served."""

    id: str
    object: Literal["model"]
    created: int = Field(description="When its manifest was written; seconds since 1970.")
    owned_by: str


class OpenAiModels(Part):
    """The models that are served, the default first."""

    object: Literal["list"]
    data: list[OpenAiModel]
