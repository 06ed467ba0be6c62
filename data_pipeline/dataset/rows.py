"""What a published row is, and which rows belong to which configuration."""

from enum import StrEnum
from typing import Final

from data_pipeline.rows import Row, Source
from greentext.genres import Genre

REAL_SOURCES: Final = frozenset((Source.REDDIT_TEXT, Source.REDDIT_OCR))


class Split(StrEnum):
    """What a text may be used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Configuration(StrEnum):
    """A choice of rows that is loaded by its name."""

    FULL = "full"
    SIMPLE = "simple"
    THANKS = "thanks"
    REAL = "real"


MEANINGS: Final = {
    Configuration.FULL: "all texts",
    Configuration.SIMPLE: "those with simple words only: the vocabulary of TinyStories, and a list of internet words",
    Configuration.THANKS: "those in whose last two lines somebody is thanked",
    Configuration.REAL: "those that people posted, as text or as a screenshot",
}


class DatasetRow(Row):
    """A text as it is published. A text has one split, in whichever configurations it is."""

    id: str
    text: str
    genre: str
    source: Source
    kind: str
    """What a synthetic text was asked to be; empty for others."""
    theme: str
    simple: bool
    """Whether all its words are simple (`greentext.vocabulary`)."""
    lines: int
    origin: str
    """The post's id, or the prompt's version and model: what to look up when a text is doubted."""
    cluster: str
    """The same for near duplicates, which are all in one split."""
    split: Split

    def belongs_to(self, configuration: Configuration) -> bool:
        """Whether a configuration holds this row."""
        match configuration:
            case Configuration.SIMPLE:
                return self.simple
            case Configuration.THANKS:
                return self.genre == Genre.THANKS
            case Configuration.REAL:
                return self.source in REAL_SOURCES
        return True


COLUMNS: Final = {
    "id": "string",
    "text": "string",
    "genre": "string",
    "source": "string",
    "kind": "string",
    "theme": "string",
    "simple": "bool",
    "lines": "int32",
    "origin": "string",
    "cluster": "string",
}
"""A published table's columns and their types, as `datasets` names them; the split is the file's."""
