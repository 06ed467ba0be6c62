"""The API's documentation: a description for programs, and a page for people that needs nothing from elsewhere.

The page is Swagger UI, from the files that BentoML ships.
"""

import importlib.util
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from service.api.openapi import openapi
from service.api.responses import json_bytes
from service.registry import Registry

ASSETS: Final = ("swagger-ui.css", "swagger-ui-bundle.js")

PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Wholesome Greentext API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<noscript>This page needs JavaScript; the description itself is at <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

# No validatorUrl: Swagger UI would send the description to a validator on the internet.
START: Final = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
  tryItOutEnabled: true,
  defaultModelsExpandDepth: 0,
});
"""

HEADERS: Final = {
    # Swagger UI writes style attributes, and has its icons as data.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def assets_directory() -> Path:
    """Where BentoML keeps Swagger UI. Raises FileNotFoundError when it is not there (any more)."""
    spec = importlib.util.find_spec("bentoml")
    for location in (spec and spec.submodule_search_locations) or ():
        directory = Path(location, "_internal", "server", "static_content")
        if all((directory / name).is_file() for name in ASSETS):
            return directory
    raise FileNotFoundError("the installed BentoML does not bring Swagger UI; install the pinned version")


class DocsPages:
    """The routes of the documentation."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._assets = assets_directory()
        self._openapi: bytes | None = None

    @property
    def routes(self) -> list[Route]:
        """All of them, each with a plain path."""
        return [
            Route("/docs", self.page),
            Route("/docs/start.js", self.start),
            *(Route(f"/docs/{name}", self.asset) for name in ASSETS),
            Route("/openapi.json", self.description),
        ]

    async def page(self, request: Request) -> Response:  # noqa: ARG002 - an endpoint's signature
        """The page for people."""
        return Response(PAGE, media_type="text/html", headers=HEADERS)

    async def start(self, request: Request) -> Response:  # noqa: ARG002 - an endpoint's signature
        """The script that fills it."""
        return Response(START, media_type="text/javascript", headers=HEADERS)

    async def asset(self, request: Request) -> Response:
        """A file of Swagger UI."""
        path = self._assets / request.url.path.rpartition("/")[2]
        return FileResponse(path, headers={**HEADERS, "cache-control": "public, max-age=86400"})

    async def description(self, request: Request) -> Response:  # noqa: ARG002 - an endpoint's signature
        """The description for programs, with the default model's defaults."""
        if self._openapi is None:
            default = self._registry.default
            content = json_bytes(openapi(default.manifest.default_sampling if default else None))
            if default is None:
                return Response(content, media_type="application/json")
            self._openapi = content
        return Response(self._openapi, media_type="application/json", headers={"cache-control": "no-cache"})
