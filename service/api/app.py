"""The whole API as one Starlette application, and the list of its paths."""

from collections.abc import Awaitable, Callable
from http import HTTPMethod

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from service.api.docs import DocsPages
from service.api.errors import ApiError, ErrorType
from service.api.generation import Generation
from service.api.guard import BodyGuard, Envelope
from service.api.native import NativeApi
from service.api.responses import error_response
from service.registry import Registry
from service.settings import Settings

CORS_MAX_AGE_S = 3600


def create_app(registry: Registry, settings: Settings) -> Starlette:
    """The API over the models of a registry, which may still be empty: then requests are answered with a 503."""
    native = NativeApi(Generation(registry, settings))
    docs = DocsPages(registry)
    guard = [Middleware(BodyGuard, settings=settings)]

    def post(path: str, endpoint: Callable[[Request], Awaitable[Response | ASGIApp]]) -> Route:
        return Route(path, endpoint, methods=[HTTPMethod.POST], middleware=guard)

    middleware = [Middleware(Envelope)]
    if settings.cors_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("authorization", "content-type", "x-request-id"),
            expose_headers=("retry-after", "x-request-id"),
            max_age=CORS_MAX_AGE_S,
        )
        middleware.insert(0, cors)
    return Starlette(
        routes=[
            post("/generate", native.generate),
            post("/generate_stream", native.generate_stream),
            Route("/models", native.models),
            Route("/", _to_docs),
            *docs.routes,
        ],
        middleware=middleware,
        exception_handlers={ApiError: _api_error, HTTPException: _http_error},
    )


def paths(app: Starlette) -> frozenset[str]:
    """All paths that an application of ours answers; they are plain, without parameters."""
    return frozenset(route.path for route in app.routes if isinstance(route, Route))


async def _to_docs(request: Request) -> Response:  # noqa: ARG001 - an endpoint's signature
    return RedirectResponse("/docs")


async def _api_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return error_response(error, request.state.request_id)


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
    return error_response(fault, request.state.request_id)
