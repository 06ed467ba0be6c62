"""What there is to fetch: the pictures of posts and the files of folders, each with an id of its own."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from data_pipeline.errors import StageError
from data_pipeline.images.refusals import Reason
from data_pipeline.rows import Post, Row, Screenshot
from data_pipeline.stage import JOURNAL, KEPT, SUMMARY, Drop, read_rows, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Found(Row):
    """A picture that passed all checks, before copies are looked for: a `Screenshot`, and where it was found."""

    id: str
    origin: str
    path: str
    width: int
    height: int
    sha256: str
    perceptual_hash: str
    format: str
    bytes: int
    url: str
    """After redirects; empty for pictures from a folder."""

    def screenshot(self) -> Screenshot:
        """What `ocr` reads."""
        return Screenshot(**self.model_dump(include=set(Screenshot.model_fields)))


@dataclass(frozen=True, slots=True)
class Item:
    """One picture to fetch: from the first of `urls` that has it, or from `path`."""

    id: str
    origin: str = ""
    urls: tuple[str, ...] = ()
    path: Path | None = None
    drop: Drop | None = None
    """Why nothing is to be fetched."""

    @property
    def host(self) -> str:
        """Of the first URL; empty for a file."""
        try:
            return urlsplit(self.urls[0]).hostname or "?" if self.urls else ""
        except ValueError:
            return "?"

    @property
    def row(self) -> dict[str, Any]:
        """What is kept aside of it."""
        where = {"path": _spelled(str(self.path))} if self.path is not None else {"urls": list(self.urls)}
        return {"id": self.id, "origin": self.origin, **where}


def items_of(inputs: Sequence[Path], folder: Path) -> list[Item]:
    """All pictures in the inputs' order; files of a folder in the order of their names. `folder` is left out of these.

    Raises:
        StageError: An input is not there, or a file of rows holds others than posts.
    """
    items: dict[str, Item] = {}
    for source in inputs:
        for item in _post_items(source) if _holds_posts(source) else _file_items(source, folder):
            # Two folders may hold files of one name, and two dumps the same post.
            name, number = item.id, 2
            while name in items:
                name, number = f"{item.id}~{number}", number + 1
            if name == item.id:
                items[name] = item
            elif item.path is not None:
                items[name] = Item(name, path=item.path)
            else:
                items[name] = Item(name, item.origin, drop=Drop(Reason.REPEATED_POST, item.row))
    return list(items.values())


def fingerprint(source: Path, folder: Path) -> str:
    """What a result is made from: a hash of the rows, or of the files' names, sizes and times.

    Raises:
        StageError: The input is not there.
    """
    if _holds_posts(source):
        return sha256_of(source)
    hasher = hashlib.sha256()
    for path, name in _files(source, folder):
        facts = path.stat()
        hasher.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()


def _holds_posts(source: Path) -> bool:
    if source.is_dir():
        return any((source / name).exists() for name in (KEPT, JOURNAL, SUMMARY))
    return source.suffix == ".jsonl"


def _post_items(source: Path) -> Iterator[Item]:
    for post in read_rows(source, Post):
        if len(post.fallback_urls) != len(post.image_urls):
            raise StageError(f"{source}: the post {post.id} has not as many fall-backs as pictures: run `posts` again")
        if not post.image_urls:
            yield Item(post.id, post.id, drop=Drop(Reason.NO_PICTURES, post))
        for number, (url, others) in enumerate(zip(post.image_urls, post.fallback_urls, strict=True)):
            yield Item(f"{post.id}-{number}", post.id, urls=tuple(dict.fromkeys((url, *others))))


def _file_items(source: Path, folder: Path) -> Iterator[Item]:
    files = list(_files(source, folder))
    stems = [path.stem for path, _ in files]
    alone = _once(stems)
    for path, name in files:
        yield Item(_spelled(path.stem if path.stem in alone else name), path=path)


def _spelled(name: str) -> str:
    """A file's name as text; bytes that are no UTF-8 show as such."""
    return os.fsencode(name).decode("utf-8", "replace")


def _once(names: Sequence[str]) -> set[str]:
    seen: set[str] = set()
    again: set[str] = set()
    for name in names:
        (again if name in seen else seen).add(name)
    return seen - again


def _files(source: Path, folder: Path) -> Iterator[tuple[Path, str]]:
    """Files and their names below `source`, hidden ones and those of the stage's own folder left out."""
    if source.is_file():
        yield source, source.name
        return
    if not source.is_dir():
        raise StageError(f"{source} is not there; is the path right?")
    own = folder.resolve()
    for parent, folders, names in os.walk(source):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and Path(parent, name).resolve() != own
        )
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and path.is_file():
                yield path, path.relative_to(source).as_posix()
