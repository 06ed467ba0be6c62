"""Screenshots: taken in when they prove to be pictures, kept under the hash of their content, shown as what they are.

No link is followed on the way to a file, whether it is read from an input or shown from `images/`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from data_pipeline.atomic import sync
from data_pipeline.curation.errors import NoSuchRowError
from data_pipeline.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from data_pipeline.images.picture import PictureLimits

FOLDER: Final = "images"
STAGE_MARK: Final = "summary.json"
MAX_BYTES: Final = 20_000_000
OLD_S: Final = 3600.0
_NAME: Final = re.compile(r"[0-9a-f]{64}\.(?:png|jpg|webp|gif)")
_TYPES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


class PictureRefusedError(Exception):
    """A picture is not taken in; `reason` is counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Taken:
    """A picture that lies in `images/`."""

    name: str
    width: int
    height: int
    bytes: int


class PictureFolder:
    """The folder `images/` of a curation folder."""

    def __init__(self, folder: Path) -> None:
        """Makes it where it is missing. Raises StageError where it is a link, and OSError."""
        self.path = folder / FOLDER
        if self.path.is_symlink():
            raise StageError(f"{self.path} is a link: pictures must lie in the folder itself, move them there")
        self.path.mkdir(exist_ok=True)

    def take_in(self, roots: Sequence[Path], path: Path) -> Taken:
        """Copies a file that lies below one of `roots`, having checked all of it.

        Raises:
            PictureRefusedError: It is outside of them, behind a link, not there, or no picture that we take.
            OSError: The folder cannot be written.
        """
        from data_pipeline.images.picture import inspect  # noqa: PLC0415  brings Pillow
        from data_pipeline.images.refusals import RefusedError  # noqa: PLC0415

        content = _content_below(roots, path)
        part = self.path / f".{hashlib.sha256(content).hexdigest()}.{os.getpid()}.part"
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                picture = inspect(part, _limits())
            except RefusedError as error:
                raise PictureRefusedError(f"image_{error.reason}", error.detail) from error
            part.replace(self.path / picture.file_name)
        finally:
            part.unlink(missing_ok=True)
        return Taken(picture.file_name, picture.width, picture.height, picture.bytes)

    def settle(self) -> None:
        """The names of all pictures are on the disk when this returns; what kills left long ago is gone."""
        for part in self.path.glob(".*.part"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > OLD_S:
                    part.unlink()
        sync(self.path)

    def content_of(self, name: str) -> tuple[bytes, str]:
        """A picture by its name in the database: its bytes and their type, which they themselves tell.

        Raises:
            NoSuchRowError: There is none, or what lies there is no file of ours.
        """
        missing = NoSuchRowError("This row has no screenshot.")
        if not _NAME.fullmatch(name):
            raise missing
        try:
            content = _read_below(self.path, Path(name))
        except (OSError, PictureRefusedError) as error:
            raise missing from error
        for start, kind in _TYPES:
            if content.startswith(start):
                return content, kind
        if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
            return content, "image/webp"
        raise missing


def roots_of(folder: Path, image: str, named: Sequence[Path]) -> list[Path]:
    """The folders from which a row's picture may come: the row's own, those named, and another stage's beside it.

    `ocr` names pictures where `images` put them, in the folder next to its own.
    """
    roots = [folder, *named]
    parts = Path(os.path.normpath(image)).parts
    if len(parts) > 2 and parts[0] == ".." and parts[1] != "..":
        sibling = folder.parent / parts[1]
        if not sibling.is_symlink() and (sibling / STAGE_MARK).is_file():
            roots.append(sibling)
    return roots


def _limits() -> PictureLimits:
    from data_pipeline.images.picture import PictureLimits  # noqa: PLC0415
    from data_pipeline.images.settings import ImagesSettings  # noqa: PLC0415

    settings = ImagesSettings()
    return PictureLimits(settings.max_pixels, settings.max_side, min_width=1, min_height=1)


def _content_below(roots: Sequence[Path], path: Path) -> bytes:
    spelled = os.path.normpath(path)
    if "\0" in spelled:
        raise PictureRefusedError("image_outside", "its path holds a NUL")
    for root in roots:
        relative = os.path.relpath(spelled, root)
        if not relative.startswith("..") and relative != ".":
            try:
                return _read_below(root, Path(relative))
            except FileNotFoundError as error:
                raise PictureRefusedError("image_missing", relative) from error
            except OSError as error:
                raise PictureRefusedError("image_unreadable", str(error.strerror)) from error
    raise PictureRefusedError("image_outside", spelled)


def _read_below(root: Path, relative: Path) -> bytes:
    """A regular file's content; no part of `relative` may be a link. Raises PictureRefusedError and OSError."""
    with contextlib.ExitStack() as opened:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        opened.callback(os.close, folder)
        for part in relative.parts[:-1]:
            with _no_links(folder, part):
                folder = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            opened.callback(os.close, folder)
        with _no_links(folder, relative.name):
            # Non-blocking, or a pipe would be waited for.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(relative.name, flags, dir_fd=folder)
        opened.callback(os.close, descriptor)
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise PictureRefusedError("image_not_a_file")
        if facts.st_size > MAX_BYTES:
            raise PictureRefusedError("image_too_many_bytes", f"{facts.st_size} bytes")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES)


@contextlib.contextmanager
def _no_links(folder: int, name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and _is_link(folder, name):
            raise PictureRefusedError("image_link", name) from error
        raise


def _is_link(folder: int, name: str) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
