"""The built page: its index, and the files beside it. A file is served when it was found there, never by its path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from data_pipeline.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Iterator

STATIC: Final = Path(__file__).parent / "static"
INDEX: Final = "index.html"
ASSETS: Final = "assets"
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
}


class Page:
    """The folder that `make frontend` builds."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is `STATIC` unless given. Raises StageError where it is not built."""
        self._folder = folder or STATIC
        if not (self._folder / INDEX).is_file():
            raise StageError("the page is not built: run `make frontend` once, then this again")
        self._files = dict(self._found())

    def file(self, name: str) -> tuple[bytes, str] | None:
        """Content and type of a file, by its name below the folder; None for all else."""
        if name not in self._files:
            self._files = dict(self._found())  # it may have been built anew
        path = self._files.get(name)
        if path is None:
            return None
        try:
            return path.read_bytes(), TYPES[path.suffix]
        except OSError:
            return None

    def _found(self) -> Iterator[tuple[str, Path]]:
        for parent, prefix in ((self._folder, ""), (self._folder / ASSETS, f"{ASSETS}/")):
            if parent.is_dir():
                with os.scandir(parent) as entries:
                    for entry in entries:
                        if entry.is_file(follow_symlinks=False) and Path(entry.name).suffix in TYPES:
                            yield prefix + entry.name, Path(entry.path)
