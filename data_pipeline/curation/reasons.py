"""Why a text is rejected. Codes are kept in datasets' `dropped.jsonl`: they never change their meaning."""

from __future__ import annotations

from typing import Final

REASONS: Final = {
    "not_wholesome": "Not wholesome",
    "not_a_greentext": "Not a greentext",
    "misread": "Misread beyond repair",
    "incomplete": "Part of it is missing",
    "dull": "Nothing happens, or it is no good",
    "duplicate": "Told before",
    "personal_data": "Names or data of a real person",
    "not_english": "Not in English",
    "other": "Something else",
}
"""Labels by code, in the order of the keys 1 to 9."""

RATED_BAD: Final = "rated_bad"
"""Of generations that users of the service rated as bad; people do not choose it."""
