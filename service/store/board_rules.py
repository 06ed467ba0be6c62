"""What may be on the board, and what keeps a text away from it."""

from collections.abc import Sequence
from typing import Final

from greentext.content import judge

MAX_BOARD_CHARACTERS: Final = 4000
"""Longer texts are not for the board."""
EMPTY: Final = "empty"
TOO_LONG: Final = "too_long"


def judged(text: str) -> list[str]:
    """The categories of what the content policy finds in a text, each once."""
    return sorted({finding.category.value for finding in judge(text)})


def declined(text: str, findings: Sequence[str]) -> tuple[str, ...]:
    """Why a text is not for the board: the categories found in it, `empty`, `too_long`; nothing, if it is."""
    reasons = list(findings)
    if not text.strip():
        reasons.append(EMPTY)
    if len(text) > MAX_BOARD_CHARACTERS:
        reasons.append(TOO_LONG)
    return tuple(reasons)
