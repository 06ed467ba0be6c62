"""What the fields of all dialects have in common.

A request is checked strictly: no `"5"` for 5, no `true` for 1, no unknown field. Where a field is left out, or null,
the model's own default holds.
"""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from service.engine.sampling_params import MAX_LOGIT_BIASES, MAX_STOP_CHARACTERS, MAX_STOP_STRINGS

MAX_COUNT: Final = 2**31 - 1
MAX_MODEL_NAME_CHARACTERS: Final = 128
MAX_TOKEN_DIGITS: Final = 9
MAX_BIAS: Final = 100


class Part(BaseModel):
    """A JSON object that holds what its fields say, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _check_biases(value: dict[str, float]) -> dict[str, float]:
    for token, bias in value.items():
        if not (token.isascii() and token.isdigit() and len(token) <= MAX_TOKEN_DIGITS):
            raise ValueError('keys must be token ids, such as "17"')
        if abs(bias) > MAX_BIAS:
            raise ValueError("values must be from -100 to 100")
    return value


def _refuse(value: object) -> None:
    if value is not None:
        raise ValueError("is not supported here; leave it out")


def _prompts(value: object) -> list[str] | list[list[int]]:
    """Prompts as a list, whichever way they were given."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if all(map(_is_token, value)):
            return [value]
        if all(isinstance(part, str) for part in value):
            return value
        if all(isinstance(part, list) and all(map(_is_token, part)) for part in value):
            return value
    raise ValueError("must be a string, a list of token ids, or a list of several of either")


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT


_STOP_STRING: Final = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_CHARACTERS}
_STOP_LIST: Final = {"type": "array", "maxItems": MAX_STOP_STRINGS, "items": _STOP_STRING}
_TOKENS: Final = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}}
_STRINGS: Final = {"type": "array", "minItems": 1, "items": {"type": "string"}}

StopString = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]
StopStrings = Annotated[
    list[StopString] | None,
    Field(max_length=MAX_STOP_STRINGS),
    BeforeValidator(_one_or_more),
    WithJsonSchema({"anyOf": [_STOP_STRING, _STOP_LIST, {"type": "null"}]}, mode="validation"),
]
"""A string, or several."""

LogitBias = Annotated[
    Annotated[dict[str, float], Field(max_length=MAX_LOGIT_BIASES), AfterValidator(_check_biases)] | None, Field()
]
"""Token ids, written as strings, to numbers from -100 to 100."""

Prompts = Annotated[
    Any,
    PlainValidator(_prompts),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, _STRINGS, _TOKENS, {"type": "array", "minItems": 1, "items": _TOKENS}]},
        mode="validation",
    ),
]
"""A prompt or several, each a string or a list of token ids; in the model a list."""

Unsupported = Annotated[None, BeforeValidator(_refuse), WithJsonSchema({"type": "null"}, mode="validation")]
"""A field of a dialect that this service cannot honour: null only, so that nothing is silently left undone."""


def as_sampling(given: dict[str, Any]) -> dict[str, Any]:
    """Values of a request's fields as `SamplingParams` wants them; those that are null are left out."""
    said = {name: value for name, value in given.items() if value is not None}
    if "stop" in said:
        said["stop"] = tuple(said["stop"])
    if "logit_bias" in said:
        said["logit_bias"] = {int(token): bias for token, bias in said["logit_bias"].items()}
    return said
