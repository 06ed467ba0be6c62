"""The service over the fake model, with paths that look into its process and paths where it fails."""

import logging
import sys

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.service import API, GreentextService
from tests.service.fake_model import install

install()

logger = logging.getLogger("service.observed")


async def modules(request: Request) -> Response:
    """What this process has imported of OpenTelemetry's SDK and exporters."""
    return JSONResponse([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exp"))])


async def boom(request: Request) -> Response:
    """Fails, in the words of a client."""
    raise ValueError(request.query_params["words"])


async def say(request: Request) -> Response:
    """Writes a line that would like to be two."""
    logger.warning("one\nline\r\n%s", '{"level": "critical"}')
    return Response(status_code=204)


API.router.routes += [Route("/modules", modules), Route("/boom", boom), Route("/say", say)]

__all__ = ["GreentextService"]
