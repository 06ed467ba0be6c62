"""What the stages hand to each other: one JSON object a line, each of these kinds.

User names are in none of them: `Submission` is the last to see one, and keeps only whether the account was deleted.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class Row(BaseModel):
    """A row that a stage writes and another reads. Unknown fields are errors, so that a mix-up of files is noticed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Submission(Row):
    """A Reddit submission as a dump or an API has it, cut down to what `posts` judges by (`dumps` → `posts`)."""

    id: str
    """Base 36, without `t3_`."""
    subreddit: str
    created_s: int
    """Unix time."""
    title: str
    selftext: str
    """Markdown, HTML entities as they came."""
    url: str
    score: int
    over_18: bool
    flair: str | None
    removed_by_category: str | None
    author_deleted: bool
    media: dict[str, JsonValue]
    """Of `preview`, `media_metadata`, `gallery_data` and `crosspost_parent_list` what `posts` reads."""


class Post(Row):
    """A submission worth having (`posts` → `images`)."""

    id: str
    created_s: int
    title: str
    score: int
    flair: str | None
    image_urls: tuple[str, ...]
    """The best there is of each picture, entities undone, in the gallery's order; each with its fall-backs behind it
    in `fallback_urls`."""
    fallback_urls: tuple[tuple[str, ...], ...]
    """As many as `image_urls`."""


class Screenshot(Row):
    """A picture on disk (`images` → `ocr`)."""

    id: str
    """Post's id, `-`, number in its gallery from 0; for pictures from a folder the file's name without its ending."""
    origin: str
    """Where it is from: the post's id, or empty."""
    path: str
    """Relative to the folder of the stage that wrote it."""
    width: int
    height: int
    sha256: str
    perceptual_hash: str


class Source(StrEnum):
    """Where a text is from."""

    REDDIT_TEXT = "reddit-text"
    REDDIT_OCR = "reddit-ocr"
    SYNTHETIC = "synthetic"
    WRITTEN = "written"


class UnsureWord(Row):
    """A word of which OCR was unsure."""

    line: Annotated[int, Field(ge=1)]
    """Of the text, the first is 1."""
    word: str
    """As it stands there."""
    confidence: Annotated[float, Field(ge=0.0, le=1.0)]


class TextRow(Row):
    r"""A greentext on its way into a dataset (`posts`, `ocr`, `synthesis`, curation → `filters` → `dataset`)."""

    id: str
    """Unique over all sources: `<source>:<what it is there>`."""
    text: str
    r"""Canonical (`greentext.text`): lines joined by `\n`, each beginning with `>`."""
    source: Source
    kind: Literal["", "full", "simple", "thanks"] = ""
    """What a synthetic text was asked to be; empty for others."""
    theme: str = ""
    genre: str = ""
    """`greentext.genres.Genre` of the text, once somebody has looked."""
    origin: str = ""
    """The post's id, or the prompt's version and model: what to look up when a text is doubted."""
    image: str = ""
    """The screenshot it was read from, relative to the folder of the stage that wrote the row."""
    raw_text: str = ""
    """What OCR read before anything was repaired."""
    line_confidences: tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...] = ()
    """One for each line of `text`; empty where nobody had to read."""
    unsure_words: tuple[UnsureWord, ...] = ()
    """In the text's order."""
