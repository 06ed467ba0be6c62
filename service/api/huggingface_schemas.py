"""What the Hugging Face dialect takes: the hub's inference API, and text-generation-inference (TGI), field by field."""

from typing import Annotated, Any, Final

from pydantic import Field, PlainValidator, WithJsonSchema

from service.api.fields import MAX_COUNT, Part, StopStrings, Unsupported
from service.engine.sampling_params import MAX_LOGPROBS, MAX_N, MAX_SEED


def _inputs(value: object) -> str | list[str]:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return value
    raise ValueError("must be a string or a list of strings")


_INPUTS: Final[dict[str, Any]] = {
    "anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]
}


class HuggingFaceParameters(Part):
    """How to write. What is left out, or null, is as the model's own defaults are."""

    do_sample: bool | None = Field(
        None,
        description="False takes the likeliest token each time, unless temperature, top_k, top_p or typical_p ask for "
        "a choice (as in TGI).",
    )
    temperature: float | None = Field(None, ge=0, le=100, description="How freely to choose; 0 is greedy.")
    top_k: int | None = Field(None, ge=0, le=MAX_COUNT, description="Choose among the k likeliest tokens; 0 is all.")
    top_p: float | None = Field(
        None, gt=0, le=1, description="Choose among the likeliest tokens that make up this probability; 1 is all."
    )
    min_p: float | None = Field(
        None, ge=0, le=1, description="Choose among tokens at least this times as likely as the likeliest; 0 is all."
    )
    typical_p: float | None = Field(None, gt=0, le=1, description="Locally typical sampling; 1 is off.")
    repetition_penalty: float | None = Field(
        None, gt=0, le=100, description="Above 1, tokens of prompt and text become less likely."
    )
    frequency_penalty: float | None = Field(
        None, ge=-100, le=100, description="Taken from a token's logit for each time the new text has it."
    )
    presence_penalty: float | None = Field(
        None, ge=-100, le=100, description="Taken from the logit of each token that the new text has."
    )
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="The same seed gives the same text. Null draws.")
    stop: StopStrings = Field(None, description="The text ends before the first of these strings.")
    max_new_tokens: int | None = Field(None, ge=1, le=MAX_COUNT, description="Where to end at the latest.")
    min_new_tokens: int | None = Field(None, ge=0, le=MAX_COUNT, description="The text does not end by itself before.")
    num_return_sequences: int | None = Field(None, ge=1, le=MAX_N, description="How many texts; text i has seed + i.")
    best_of: int | None = Field(
        None, ge=1, le=MAX_N, description="Write as many, and answer with the one of the highest mean log probability."
    )
    truncate: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="Read only so many tokens of `inputs`, the last ones; the start token "
        "does not count."
    )  # fmt: skip
    return_full_text: bool | None = Field(
        None, description="Whether `generated_text` begins with the prompt; null is false, as in TGI."
    )
    details: bool | None = Field(None, description="Say of each token what it is, and how likely it was.")
    top_n_tokens: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description="With details or in a stream: as many of the likeliest tokens as well."
    )
    decoder_input_details: bool | None = Field(None, description="False only: prompts are not scored.")
    watermark: bool | None = Field(None, description="False only.")
    adapter_id: Unsupported = Field(None, description="Null only: there are no adapters.")
    grammar: Unsupported = Field(None, description="Null only: texts follow no grammar.")


class HuggingFaceOptions(Part):
    """What the hub's API takes beside the parameters, without effect: nothing is cached, models are waited for."""

    use_cache: bool | None = Field(None, description="Without effect.")
    wait_for_model: bool | None = Field(None, description="Without effect.")


class HuggingFaceRequest(Part):
    """What to write, and how."""

    inputs: Annotated[
        str | list[str], PlainValidator(_inputs), WithJsonSchema(_INPUTS, mode="validation")
    ] = Field(
        description="The beginning to continue, or a list of beginnings. A start token at its head is dropped: the "
        "service sets its own. A `>` is put before it if it has none.",
    )  # fmt: skip
    parameters: HuggingFaceParameters | None = Field(None, description="How to write.")
    options: HuggingFaceOptions | None = Field(None, description="Without effect.")
    stream: bool | None = Field(None, description="Whether to send each token as it comes.")


class HuggingFaceError(Part):
    """Any answer but a good one; also what a stream ends with."""

    error: str = Field(description="For people.")
    error_type: str = Field(
        description="For programs: `validation` (422), `generation` (424), `overloaded` (429), or our own words.",
        examples=["validation"],
    )


class HuggingFaceToken(Part):
    """A token of a text."""

    id: int
    text: str
    logprob: float | None = Field(description="Before any sampling parameter; null for the end token.")
    special: bool = Field(description="Whether it is the end token, which stands for no text.")


class HuggingFaceSequence(Part):
    """One of several candidates."""

    generated_text: str
    finish_reason: str = Field(description="`length`, `eos_token` or `stop_sequence`.")
    generated_tokens: int = Field(description="New tokens, without the end token.")
    seed: int
    prefill: list[HuggingFaceToken] = Field(description="Always empty.")
    tokens: list[HuggingFaceToken]
    top_tokens: list[list[HuggingFaceToken]] | None = None


class HuggingFaceDetails(Part):
    """What is told of a text if `details` are asked for."""

    finish_reason: str = Field(description="`length`, `eos_token` or `stop_sequence`.")
    generated_tokens: int = Field(description="New tokens, without the end token.")
    seed: int = Field(description="The seed that gives this text again.")
    prefill: list[HuggingFaceToken] = Field(description="Always empty.")
    tokens: list[HuggingFaceToken]
    top_tokens: list[list[HuggingFaceToken]] | None = None
    best_of_sequences: list[HuggingFaceSequence] | None = Field(None, description="The other candidates, best first.")


class HuggingFaceText(Part):
    """One text. The answer is a list of them; for a list of inputs, a list of such lists."""

    generated_text: str
    details: HuggingFaceDetails | None = None


class HuggingFaceInfo(Part):
    """What is served, in TGI's words."""

    model_id: str
    model_sha: str = Field(description="SHA-256 of the model's graph.")
    model_dtype: str
    model_device_type: str
    model_pipeline_tag: str
    max_concurrent_requests: int
    max_best_of: int
    max_stop_sequences: int
    max_input_tokens: int
    max_total_tokens: int
    max_client_batch_size: int
    router: str
    version: str
