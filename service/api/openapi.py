"""The API's description in OpenAPI 3.1, made from the schemas that requests are checked with."""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from greentext import __version__
from greentext.manifest import DefaultSampling
from service.api.errors import STATUS, ErrorType
from service.api.schemas import ErrorResponse, GenerateRequest, GenerateResponse, ModelsResponse, StreamedToken

REF: Final = "#/components/schemas/{model}"

ANSWERS: Final[dict[ErrorType, str]] = {
    ErrorType.INVALID_REQUEST: "The request is not JSON, or a field of it cannot be; the message names the field.",
    ErrorType.MODEL_NOT_FOUND: "There is no such model; the message names those there are.",
    ErrorType.BODY_TIMEOUT: "The body came too slowly.",
    ErrorType.BODY_TOO_LARGE: "The body is too large.",
    ErrorType.UNSUPPORTED_MEDIA_TYPE: "The body is not JSON by its content-type.",
    ErrorType.QUEUE_FULL: "Too many requests are waiting.",
    ErrorType.INTERNAL: "Something went wrong here.",
    ErrorType.UNAVAILABLE: "The service is starting or stopping.",
    ErrorType.DEADLINE: "No text came in time.",
}

REQUEST_EXAMPLES: Final[dict[str, Any]] = {
    "continue": {"summary": "Continue a beginning", "value": {"prompt": "be me"}},
    "default": {"summary": "One greentext", "value": {}},
    "several": {
        "summary": "Two to choose from, the same each time",
        "value": {"prompt": "be me\n>find a frog", "temperature": 0.7, "n": 2, "seed": 7},
    },
}

STREAM_EXAMPLE: Final = (
    'event: token\ndata: {"index":0,"text":">be","token_id":262}\n\n'
    'event: end\ndata: {"id":"gt-5a0c...","model":"...","greentexts":[...],"usage":{...},"timings":{...}}\n\n'
)


def openapi(defaults: DefaultSampling | None) -> dict[str, Any]:
    """The description, with a model's defaults where there is one."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Wholesome Greentext",
            "summary": "Writes wholesome greentexts.",
            "description": "Every field of a request may be left out; `{}` asks for one greentext.",
            "version": __version__,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [
            {"name": "greentexts", "description": "Write greentexts."},
            {"name": "service", "description": "What is served, and how it is doing."},
        ],
        "paths": _paths(),
        "components": {"schemas": _schemas(defaults)},
    }


def _schemas(defaults: DefaultSampling | None) -> dict[str, Any]:
    requests: list[type[BaseModel]] = [GenerateRequest]
    answers: list[type[BaseModel]] = [GenerateResponse, StreamedToken, ErrorResponse, ModelsResponse]
    _, definitions = models_json_schema(
        [*((model, "validation") for model in requests), *((model, "serialization") for model in answers)],
        ref_template=REF,
    )
    schemas: dict[str, Any] = definitions["$defs"]
    properties = schemas["GenerateRequest"]["properties"]
    values: dict[str, Any] = {"n": 1, "typical_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    values |= {"min_new_tokens": 0, "ignore_eos": False}
    if defaults is not None:
        values |= defaults.model_dump()
    for name, value in values.items():
        properties[name]["default"] = value
    return schemas


def _schema(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REF.format(model=model.__name__)}


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": _schema(model)}}


def _faults() -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for error_type, text in ANSWERS.items():
        answers[str(STATUS[error_type])] = {"description": text, "content": _json(ErrorResponse)}
    retry_after = {"description": "Seconds to wait before trying again.", "schema": {"type": "integer"}}
    for error_type in (ErrorType.QUEUE_FULL, ErrorType.UNAVAILABLE):
        answers[str(STATUS[error_type])]["headers"] = {"Retry-After": retry_after}
    return answers


def _plain(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"text/plain": {"schema": {"type": "string"}}}}


def _get(summary: str, *, operation: str, answers: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"summary": summary, "operationId": operation, "tags": ["service"], "responses": answers}}


def _paths() -> dict[str, Any]:
    body = {
        "required": True,
        "content": {"application/json": {"schema": _schema(GenerateRequest), "examples": REQUEST_EXAMPLES}},
    }
    request_id = {
        "name": "x-request-id",
        "in": "header",
        "description": "An id of your own for the request: letters, digits, `.`, `_` and `-`, at most 64.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    }
    stream = {
        "description": "Events: `token` for each token (StreamedToken), then one `end` (GenerateResponse) or `error` "
        "(ErrorResponse). Lines that begin with `:` only keep the connection open.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": STREAM_EXAMPLE}},
    }

    def post(summary: str, operation: str, answer: dict[str, Any]) -> dict[str, Any]:
        return {
            "post": {
                "summary": summary,
                "operationId": operation,
                "tags": ["greentexts"],
                "parameters": [request_id],
                "requestBody": body,
                "responses": {"200": answer, **_faults()},
            }
        }

    written = {"description": "What was written.", "content": _json(GenerateResponse)}
    served = {"description": "The default model first.", "content": _json(ModelsResponse)}
    down = _plain("Not now.")
    return {
        "/generate": post("Write greentexts", "generate", written),
        "/generate_stream": post("Write greentexts, token by token", "generateStream", stream),
        "/models": _get("The models that are served", operation="models", answers={"200": served}),
        "/livez": _get("Whether the process is well", operation="livez", answers={"200": _plain("Yes."), "503": down}),
        "/healthz": _get("The same", operation="healthz", answers={"200": _plain("Yes."), "503": down}),
        "/readyz": _get(
            "Whether requests are taken: the model is loaded and has written a text",
            operation="readyz",
            answers={"200": _plain("Yes."), "503": down},
        ),
        "/metrics": _get(
            "Figures for Prometheus", operation="metrics", answers={"200": _plain("In its text exposition format.")}
        ),
    }
