"""The genres of greentexts that models are tuned to.

A genre is read off the text itself, by its ending. Subjects, moods and whether it is any good are not asked here.
"""

import re
from enum import StrEnum
from typing import Final

from greentext.text import normalise

ENDING_LINES: Final = 2
"""A thank-you stands in one of that many last lines."""

_THANKS: Final = re.compile(r"\b(?:thanks?|thx|ty)\b", re.IGNORECASE)


class Genre(StrEnum):
    """How a greentext ends."""

    THANKS = "thanks"
    GENERAL = "general"


def ends_with_thanks(text: str) -> bool:
    """Whether somebody is thanked in the last two lines: `thank`, `thanks`, `thx` or `ty` as a word of its own."""
    return any(_THANKS.search(line) for line in normalise(text).split("\n")[-ENDING_LINES:])


def classify(text: str) -> Genre:
    """The genre of a greentext in any spelling."""
    return Genre.THANKS if ends_with_thanks(text) else Genre.GENERAL
