"""The whole API as one Starlette application, and the list of its paths."""

from collections.abc import Awaitable, Callable
from http import HTTPMethod
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from service.api import huggingface, openai
from service.api.board import BoardApi
from service.api.docs import DocsPages
from service.api.errors import ApiError, ErrorType, Wording, native_words
from service.api.generation import Generation, Submission
from service.api.guard import BodyGuard, Envelope, LastResort
from service.api.huggingface import HuggingFaceApi
from service.api.native import NativeApi
from service.api.observation import Observation
from service.api.openai import OpenAiApi
from service.api.openai_chat import OpenAiChatApi
from service.api.page import STATIC_DIRECTORY, Page
from service.api.recording import generation_records
from service.api.responses import error_response
from service.api.sessions import session_id_of
from service.api.tokens import TokensApi
from service.api.watched import note_error
from service.registry import Registry
from service.settings import Settings
from service.store.store import Store
from service.tracing import Tracing

if TYPE_CHECKING:
    from service.engine.llm_engine import Completion

CORS_MAX_AGE_S = 3600


def create_app(
    registry: Registry,
    settings: Settings,
    store: Store,
    *,
    static_directory: Path = STATIC_DIRECTORY,
    tracing: Tracing | None = None,
) -> Starlette:
    """The API over the models of a registry, which may still be empty: then requests are answered with a 503.

    What ends well goes into the store. `static_directory`: where the board's page is, if it was built. `tracing`: what
    takes spans, if there are to be some.
    """

    def keep(submission: Submission, texts: "list[list[Completion]]") -> None:
        session_id = None if submission.request is None else session_id_of(submission.request)
        records = generation_records(
            submission, texts, ids=submission.ids, session_id=session_id, shared=submission.shared
        )
        for record in records:
            store.record(record)  # never waits, never raises

    generation = Generation(registry, settings, keep)
    native = NativeApi(generation)
    hugging_face = HuggingFaceApi(generation)
    open_ai = OpenAiApi(generation)
    chat = OpenAiChatApi(generation)
    tokens = TokensApi(generation)
    docs = DocsPages(registry)
    page = Page(static_directory)
    guard = [Middleware(BodyGuard, settings=settings)]

    def post(path: str, endpoint: Callable[[Request], Awaitable[Response | ASGIApp]]) -> Route:
        return Route(path, endpoint, methods=[HTTPMethod.POST], middleware=guard)

    async def index(request: Request) -> Response | ASGIApp:
        if request.method == HTTPMethod.POST:
            return await hugging_face.generate(request)
        return page.index(request)

    middleware = [Middleware(Envelope, wording_of=wording_of)]
    if tracing is not None or settings.access_log:
        middleware.append(Middleware(Observation, tracing=tracing, access_log=settings.access_log))
    if settings.cors_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("DELETE", "GET", "PATCH", "POST"),
            allow_headers=("authorization", "content-type", "traceparent", "tracestate", "x-request-id"),
            expose_headers=("retry-after", "x-request-id"),
            max_age=CORS_MAX_AGE_S,
        )
        middleware.append(cors)
    middleware.append(Middleware(LastResort))
    return Starlette(
        routes=[
            post("/generate", native.generate),
            post("/generate_stream", native.generate_stream),
            Route("/models", native.models),
            post("/tokenize", tokens.tokenize),
            post("/detokenize", tokens.detokenize),
            post("/v1/completions", open_ai.completions),
            post("/v1/chat/completions", chat.completions),
            Route("/v1/models", open_ai.models),
            Route("/v1/models/{model:path}", open_ai.model),
            Route("/info", hugging_face.info),
            *docs.routes,
            *BoardApi(store, settings).routes,
            *page.routes,
            Route("/", index, methods=[HTTPMethod.GET, HTTPMethod.POST], middleware=guard),
            post("/models/{model:path}", hugging_face.generate),
        ],
        middleware=middleware,
        exception_handlers={ApiError: _api_error, HTTPException: _http_error},
    )


def wording_of(path: str) -> Wording:
    """How errors are put at a path, known or not."""
    if path.startswith("/v1/"):
        return openai.words
    if path in ("/", "/info") or path.startswith("/models/"):
        return huggingface.words
    return native_words


class PathLabels:
    """What requests are counted under: the paths of an application's routes, and none that anybody makes up."""

    def __init__(self, app: Starlette) -> None:
        routes = [route for route in app.routes if isinstance(route, Route)]
        self._plain = frozenset(route.path for route in routes if not route.param_convertors)
        self._patterns = [(route.path_regex, route.path_format) for route in routes if route.param_convertors]

    def label(self, path: str) -> str | None:
        """`/models/{model}` for `/models/x`; None where there is no route."""
        if path in self._plain:
            return path
        return next((label for pattern, label in self._patterns if pattern.match(path)), None)


async def _api_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    note_error(request.scope, error.type)
    return error_response(error, request.state.request_id, request.state.wording)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        fault = ApiError(
            ErrorType.METHOD_NOT_ALLOWED, f"the methods here are {allowed}", headers=dict(error.headers or {})
        )
    else:
        fault = ApiError(ErrorType.NOT_FOUND, "there is nothing at this path; /docs lists what there is")
    note_error(request.scope, fault.type)
    return error_response(fault, request.state.request_id, request.state.wording)
