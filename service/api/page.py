"""The board's page: `GET /`, and the files that it is made of, as `make frontend` builds them into `service/static`.

All of it is read and compressed once, when the service starts: a build in between is served after the next start, and
no request touches a disk. What can be asked for is what was found there, by its name. Without a page, `/` leads to the
documentation.
"""

import gzip
import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

STATIC_DIRECTORY: Final = Path(__file__).resolve().parent.parent / "static"
INDEX: Final = "index.html"
ASSETS: Final = "assets"
FILE_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")

MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
"""By the end of a name: the system's own table differs from machine to machine."""

SECURITY: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
REVALIDATED: Final = "no-cache"
IMMUTABLE: Final = "public, max-age=31536000, immutable"
"""For files that have a hash of what they hold in their names."""

logger = logging.getLogger("bentoml.service.greentext")


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file, ready to be sent."""

    content: bytes
    compressed: bytes | None
    """With gzip; None where that makes it no smaller."""
    headers: dict[str, str]

    def answer(self, request: Request) -> Response:
        """The file as a client takes it; 304 where it has it already."""
        if _has(request.headers.get("if-none-match", ""), self.headers["etag"]):
            return Response(status_code=304, headers=self.headers)
        if self.compressed is not None and accepts_gzip(request.headers.get("accept-encoding", "")):
            return Response(self.compressed, headers={**self.headers, "content-encoding": "gzip"})
        return Response(self.content, headers=self.headers)


class Page:
    """The page, if it was built, and its routes."""

    def __init__(self, directory: Path = STATIC_DIRECTORY) -> None:
        """Reads what is in a directory: files at its top, `index.html` among them, and in `assets`."""
        self._top = _read(directory, REVALIDATED)
        self._index = self._top.pop(INDEX, None)
        self._assets = {} if self._index is None else _read(directory / ASSETS, IMMUTABLE)

    @property
    def routes(self) -> list[Route]:
        """All but that of `/`, which is not the page's alone; none where there is no page."""
        if self._index is None:
            return []
        return [*(Route(f"/{name}", self.top) for name in self._top), Route(f"/{ASSETS}/{{name}}", self.asset)]

    def index(self, request: Request) -> Response:
        """The page itself; the way to the documentation, where it was not built."""
        return RedirectResponse("/docs") if self._index is None else self._index.answer(request)

    async def top(self, request: Request) -> Response:
        """A file at the top, such as the icon."""
        return self._top[request.scope["path"].removeprefix("/")].answer(request)

    async def asset(self, request: Request) -> Response:
        """A script, a style, an image."""
        file = self._assets.get(request.path_params["name"])
        if file is None:
            raise HTTPException(404)
        return file.answer(request)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a client takes gzip, by its header `Accept-Encoding` (RFC 9110, 12.5.3)."""
    taken: dict[str, bool] = {}
    for part in accept_encoding.lower().split(","):
        coding, *parameters = (word.strip() for word in part.split(";"))
        taken[coding] = not any(re.fullmatch(r"q\s*=\s*0(\.0*)?", parameter) for parameter in parameters)
    return taken.get("gzip", taken.get("*", False))


def _has(if_none_match: str, etag: str) -> bool:
    """Whether one of a client's tags is that of the file, by weak comparison (RFC 9110, 13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return bool(tags & {"*", etag.removeprefix("W/")})


def _read(directory: Path, cache_control: str) -> dict[str, PageFile]:
    """The files in a directory by their names; none, where it is not there or cannot be read."""
    try:
        paths = sorted(path for path in directory.iterdir() if FILE_NAME.fullmatch(path.name) and path.is_file())
        return {path.name: _file(path, cache_control) for path in paths}
    except FileNotFoundError:
        return {}
    except OSError as error:
        logger.warning("the page cannot be read: %s (%s)", directory, error.strerror)
        return {}


def _file(path: Path, cache_control: str) -> PageFile:
    content = path.read_bytes()
    compressed = gzip.compress(content, compresslevel=9, mtime=0)
    headers = {
        **SECURITY,
        "cache-control": cache_control,
        "content-type": MEDIA_TYPES.get(path.suffix, "application/octet-stream"),
        # Weak, for it stands for the file compressed and not.
        "etag": f'W/"{hashlib.sha256(content).hexdigest()[:16]}"',
        "vary": "accept-encoding",
    }
    return PageFile(content, compressed if len(compressed) < len(content) else None, headers)
