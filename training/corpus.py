"""Reading and splitting text: stories from a text file, greentexts from JSON Lines.

Knows nothing of tokens. A split depends only on a document's own text, so adding documents never moves another
one across the split, and the same text twice always lands on the same side.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

STORY_SEPARATOR = "<|endoftext|>"
SYNTHETIC = "synthetic"
"""The source of texts that a model wrote."""
Split = Literal["train", "validation", "test"]


class CorpusError(ValueError):
    """A corpus file cannot be used; the message says which one, where, and what to do."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text with where it came from. ``genre`` and ``theme`` are empty for stories."""

    text: str
    genre: str = ""
    theme: str = ""
    source: str = ""


def read_stories(path: Path, separator: str = STORY_SEPARATOR) -> list[Document]:
    """Reads a UTF-8 text file (plain or ``.zst``) of stories separated by ``separator``.

    Raises CorpusError when the file is missing, is not UTF-8, or holds no story.
    """
    stories = [story.strip() for story in read_text(path).split(separator)]
    documents = [Document(text=story, source=path.name) for story in stories if story]
    if not documents:
        msg = f"{path} holds no story; expected texts separated by {separator}"
        raise CorpusError(msg)
    return documents


def read_greentexts(path: Path) -> list[Document]:
    """Reads JSON Lines with at least ``text``, and ``genre``, ``theme`` and ``source`` where known.

    ``path`` is a file, or a folder whose ``.jsonl`` files are read in the order of their names. Raises CorpusError
    naming the line that is not such an object.
    """
    if path.is_dir():
        files = sorted(path.glob("*.jsonl"))
        if not files:
            raise CorpusError(f"{path} holds no .jsonl file; put your texts there, one JSON object a line")
        return [document for file in files for document in read_greentexts(file)]
    documents = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            fields = {key: row.get(key, "") for key in ("text", "genre", "theme", "source")}
        except (json.JSONDecodeError, AttributeError) as error:
            msg = f"{path}, line {number}: expected a JSON object ({error})"
            raise CorpusError(msg) from error
        if not all(isinstance(value, str) for value in fields.values()) or not fields["text"].strip():
            msg = f'{path}, line {number}: "text" must be a non-empty string, and genre, theme and source strings'
            raise CorpusError(msg)
        documents.append(Document(**fields))
    if not documents:
        msg = f"{path} holds no greentext; expected one JSON object a line"
        raise CorpusError(msg)
    return documents


def letters_of(text: str) -> str:
    """What a text is known by however it is spelled: its letters and digits, in lower case."""
    return "".join(character for character in text.lower() if character.isalnum())


def split_of(text: str, *, validation: float, test: float) -> Split:
    """The split a text belongs to, by a hash of its letters alone (case, spaces and marks do not count)."""
    digest = hashlib.sha256(letters_of(text).encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < test:
        return "test"
    return "validation" if place < test + validation else "train"


def take_split(
    documents: Iterable[Document], split: Split, *, validation: float = 0.05, test: float = 0.1
) -> list[Document]:
    """The documents of one split (see ``splits_of``), in their order; synthetic texts that repeat a held-out text are
    in none. Shares are of 1.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        msg = f"validation and test must be shares that leave something to train on, got {validation} and {test}"
        raise CorpusError(msg)
    documents = list(documents)
    splits = splits_of(documents, validation=validation, test=test)
    held_out = {letters_of(document.text) for document, its in zip(documents, splits, strict=True) if its != "train"}
    return [
        document
        for document, its in zip(documents, splits, strict=True)
        if its == split and not (its == "train" and held_out and letters_of(document.text) in held_out)
    ]


def splits_of(documents: Sequence[Document], *, validation: float, test: float) -> list[Split]:
    """The split of each document. Synthetic texts are all for training where there are others: what a model wrote
    tells nothing of how well models write.
    """
    mixed = any(document.source != SYNTHETIC for document in documents)
    return [
        "train" if mixed and document.source == SYNTHETIC else split_of(document.text, validation=validation, test=test)
        for document in documents
    ]


def sha256_of(documents: Sequence[Document]) -> str:
    """A hash of the texts in their order: what a model card records as its data."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(document.text.encode())
        digest.update(b"\0")
    return digest.hexdigest()


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, plain or ``.zst``. Raises CorpusError saying what is wrong with it."""
    try:
        with path.open("rb") as file:
            return "".join(_decoded(file, compressed=path.suffix == ".zst"))
    except FileNotFoundError as error:
        msg = f"{path} does not exist; name a text file with one story after another, or a .jsonl of greentexts"
        raise CorpusError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path} is not UTF-8 at byte {error.start}; convert it first (iconv -t utf-8)"
        raise CorpusError(msg) from error
    except zstandard.ZstdError as error:
        msg = f"{path} is not a sound zstd file ({error}); fetch it again"
        raise CorpusError(msg) from error


def _decoded(file: io.BufferedReader, *, compressed: bool) -> Iterator[str]:
    source = zstandard.ZstdDecompressor().stream_reader(file) if compressed else file
    with io.TextIOWrapper(source, encoding="utf-8", newline="\n") as text:
        while chunk := text.read(1 << 20):
            yield chunk
