"""The API's description in OpenAPI 3.1, made from the schemas that requests are checked with."""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from greentext import __version__
from greentext.manifest import DefaultSampling
from service.api import huggingface, openai
from service.api.board_openapi import BOARD_ANSWERS, BOARD_REQUESTS, BOARD_TAG, board_paths
from service.api.errors import ApiError, ErrorType, Wording, native_words
from service.api.huggingface_schemas import HuggingFaceError, HuggingFaceInfo, HuggingFaceRequest, HuggingFaceText
from service.api.openai_schemas import (
    ChatRequest,
    ChatResponse,
    CompletionRequest,
    CompletionResponse,
    OpenAiError,
    OpenAiModel,
    OpenAiModels,
)
from service.api.schemas import ErrorResponse, GenerateRequest, GenerateResponse, ModelsResponse, StreamedToken
from service.api.tokens import DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse

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

EXAMPLES: Final[dict[type[BaseModel], dict[str, Any]]] = {
    GenerateRequest: {
        "continue": {"summary": "Continue a beginning", "value": {"prompt": "be me"}},
        "default": {"summary": "One greentext", "value": {}},
        "several": {
            "summary": "Two to choose from, the same each time",
            "value": {"prompt": "be me\n>find a frog", "temperature": 0.7, "n": 2, "seed": 7},
        },
    },
    HuggingFaceRequest: {
        "one": {"summary": "One text", "value": {"inputs": "be me", "parameters": {"max_new_tokens": 60}}},
        "details": {
            "summary": "With details",
            "value": {"inputs": "be me", "parameters": {"details": True, "seed": 7, "temperature": 0.7}},
        },
    },
    CompletionRequest: {
        "one": {"summary": "One text", "value": {"prompt": "be me", "max_tokens": 60}},
        "several": {
            "summary": "Two texts for each of two beginnings",
            "value": {"prompt": ["be me", "be a frog"], "n": 2},
        },
    },
    ChatRequest: {"one": {"summary": "One text", "value": {"messages": [{"role": "user", "content": "be me"}]}}},
    TokenizeRequest: {"one": {"summary": "A text", "value": {"prompt": ">be me"}}},
    DetokenizeRequest: {"one": {"summary": "Tokens", "value": {"tokens": [262, 300]}}},
    **BOARD_REQUESTS,
}

REQUEST_ID: Final[dict[str, Any]] = {
    "name": "x-request-id",
    "in": "header",
    "description": "An id of your own for the request: letters, digits, `.`, `_` and `-`, at most 64.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
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
            {"name": "greentexts", "description": "Write greentexts, in our own words."},
            BOARD_TAG,
            {"name": "Hugging Face", "description": "For clients of text-generation-inference and of the hub."},
            {"name": "OpenAI", "description": "For clients of OpenAI's completions and chats."},
            {"name": "service", "description": "What is served, and how it is doing."},
        ],
        "paths": _paths(),
        "components": {"schemas": _schemas(defaults)},
    }


def _schemas(defaults: DefaultSampling | None) -> dict[str, Any]:
    answers: list[type[BaseModel]] = [
        GenerateResponse, StreamedToken, ErrorResponse, ModelsResponse, HuggingFaceText, HuggingFaceInfo,
        HuggingFaceError, CompletionResponse, ChatResponse, OpenAiModel, OpenAiModels, OpenAiError, TokenizeResponse,
        DetokenizeResponse, *BOARD_ANSWERS,
    ]  # fmt: skip
    _, definitions = models_json_schema(
        [*((model, "validation") for model in EXAMPLES), *((model, "serialization") for model in answers)],
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


def _faults(wording: Wording, schema: type[BaseModel]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    retry_after = {"description": "Seconds to wait before trying again.", "schema": {"type": "integer"}}
    for error_type, text in ANSWERS.items():
        status, _ = wording(ApiError(error_type, text), "")
        answer = answers.setdefault(str(status), {"description": text, "content": _json(schema)})
        if text not in answer["description"]:
            answer["description"] += " " + text
        if error_type in (ErrorType.QUEUE_FULL, ErrorType.UNAVAILABLE):
            answer["headers"] = {"Retry-After": retry_after}
    return answers


def _plain(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"text/plain": {"schema": {"type": "string"}}}}


def _get(summary: str, *, operation: str, answers: dict[str, Any], tag: str = "service") -> dict[str, Any]:
    return {"get": {"summary": summary, "operationId": operation, "tags": [tag], "responses": answers}}


def _post(
    summary: str,
    *,
    operation: str,
    tag: str,
    request: type[BaseModel],
    answer: dict[str, Any],
    wording: Wording = native_words,
    error: type[BaseModel] = ErrorResponse,
) -> dict[str, Any]:
    body = {"application/json": {"schema": _schema(request), "examples": EXAMPLES[request]}}
    return {
        "post": {
            "summary": summary,
            "operationId": operation,
            "tags": [tag],
            "parameters": [REQUEST_ID],
            "requestBody": {"required": True, "content": body},
            "responses": {"200": answer, **_faults(wording, error)},
        }
    }


def _good(description: str, schema: type[BaseModel]) -> dict[str, Any]:
    return {"description": description, "content": _json(schema)}


def _stream(description: str, example: str) -> dict[str, Any]:
    return {
        "description": f"{description} Lines that begin with `:` only keep the connection open.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": example}},
    }


def _or_stream(answer: dict[str, Any], description: str) -> dict[str, Any]:
    """An answer of a dialect where a field of the request asks for a stream."""
    stream = {"text/event-stream": {"schema": {"type": "string"}}}
    return {"description": f"{answer['description']} {description}", "content": {**answer["content"], **stream}}


def _with_model(operations: dict[str, Any]) -> dict[str, Any]:
    name = {
        "name": "model",
        "in": "path",
        "required": True,
        "description": "A name or alias from `GET /models`.",
        "schema": {"type": "string"},
    }
    return {
        method: {**operation, "parameters": [name, *operation.get("parameters", [])]}
        for method, operation in operations.items()
    }


def _paths() -> dict[str, Any]:
    return {**_native_paths(), **board_paths(), **_hugging_face_paths(), **_open_ai_paths(), **_system_paths()}


def _native_paths() -> dict[str, Any]:
    tag = "greentexts"
    stream = _stream(
        "Events: `token` for each token (StreamedToken), then one `end` (GenerateResponse) or `error` (ErrorResponse).",
        STREAM_EXAMPLE,
    )
    written = _good("What was written.", GenerateResponse)
    served = _good("The default model first.", ModelsResponse)
    return {
        "/generate": _post("Write greentexts", operation="generate", tag=tag, request=GenerateRequest, answer=written),
        "/generate_stream": _post(
            "Write greentexts, token by token",
            operation="generateStream",
            tag=tag,
            request=GenerateRequest,
            answer=stream,
        ),
        "/tokenize": _post(
            "What a text is to a model",
            operation="tokenize",
            tag=tag,
            request=TokenizeRequest,
            answer=_good("Its tokens.", TokenizeResponse),
        ),
        "/detokenize": _post(
            "What tokens are as text",
            operation="detokenize",
            tag=tag,
            request=DetokenizeRequest,
            answer=_good("Their text.", DetokenizeResponse),
        ),
        "/models": _get(
            "The models that are served, and bundles that cannot be", operation="models", answers={"200": served}
        ),
    }


def _hugging_face_paths() -> dict[str, Any]:
    tag = "Hugging Face"
    texts = {"type": "array", "items": _schema(HuggingFaceText)}
    written = {
        "description": "A list of texts; for a list of inputs, a list of such lists.",
        "content": {"application/json": {"schema": {"anyOf": [texts, {"type": "array", "items": texts}]}}},
    }
    answer = _or_stream(written, "With `stream`: an event for each token, the last with the whole text.")

    def post(summary: str, operation: str) -> dict[str, Any]:
        return _post(
            summary,
            operation=operation,
            tag=tag,
            request=HuggingFaceRequest,
            answer=answer,
            wording=huggingface.words,
            error=HuggingFaceError,
        )

    info = _good("What is served.", HuggingFaceInfo)
    page = {
        "200": {"description": "HTML.", "content": {"text/html": {"schema": {"type": "string"}}}},
        "307": {"description": "To the documentation, where the page was not built."},
    }
    return {
        "/": {
            **post("As text-generation-inference and the hub's inference API", "huggingface"),
            **_get("The board's page, for a browser", operation="page", answers=page, tag=BOARD_TAG["name"]),
        },
        "/models/{model}": _with_model(post("The same, with a model of one's choice", "huggingfaceModel")),
        "/info": _get("The default model, and limits", operation="info", answers={"200": info}, tag=tag),
    }


def _open_ai_paths() -> dict[str, Any]:
    tag = "OpenAI"
    chunks = "With `stream`: chunks of it as events, and `[DONE]`."

    def post(summary: str, operation: str, request: type[BaseModel], response: type[BaseModel]) -> dict[str, Any]:
        return _post(
            summary,
            operation=operation,
            tag=tag,
            request=request,
            answer=_or_stream(_good("What was written.", response), chunks),
            wording=openai.words,
            error=OpenAiError,
        )

    models = {"200": _good("The default model first.", OpenAiModels)}
    model = {"200": _good("It is served.", OpenAiModel), "404": _good("There is no such model.", OpenAiError)}
    return {
        "/v1/completions": post("Continue prompts", "completions", CompletionRequest, CompletionResponse),
        "/v1/chat/completions": post(
            "Continue the last user message of a chat", "chatCompletions", ChatRequest, ChatResponse
        ),
        "/v1/models": _get("The models that are served", operation="openaiModels", answers=models, tag=tag),
        "/v1/models/{model}": _with_model(_get("One of them", operation="openaiModel", answers=model, tag=tag)),
    }


def _system_paths() -> dict[str, Any]:
    down = _plain("Not now.")
    well = {"200": _plain("Yes."), "503": down}
    return {
        "/livez": _get("Whether the process is well", operation="livez", answers=well),
        "/healthz": _get("The same", operation="healthz", answers=well),
        "/readyz": _get(
            "Whether requests are taken: the model is loaded and has written a text", operation="readyz", answers=well
        ),
        "/metrics": _get(
            "Figures for Prometheus", operation="metrics", answers={"200": _plain("In its text exposition format.")}
        ),
    }
