"""Where a page of the board ends, in a form that a URL can carry. Opaque to clients, and trusted for nothing."""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import Final

from service.store.errors import CursorError
from service.store.records import BoardOrder

MAX_CHARACTERS: Final = 256
KEYS: Final = {BoardOrder.RECENT: 1, BoardOrder.BEST: 2}
"""How many numbers an order sorts by, before the id."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last entry of a page: what it is sorted by, and its id."""

    order: BoardOrder
    keys: tuple[float, ...]
    generation_id: str

    def encode(self) -> str:
        """As text."""
        content = json.dumps([self.order.value, *self.keys, self.generation_id], separators=(",", ":"))
        return base64.urlsafe_b64encode(content.encode()).decode("ascii").rstrip("=")

    @classmethod
    def decode(cls, text: str, order: BoardOrder) -> Cursor:
        """From text that is to go on in an order. Raises CursorError."""
        fault = CursorError(f"give the `next` of a page in the order {order.value}, or leave it out")
        if len(text) > MAX_CHARACTERS:
            raise fault
        try:
            content = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        except (ValueError, binascii.Error, RecursionError):
            raise fault from None
        if not isinstance(content, list) or len(content) != KEYS[order] + 2 or content[0] != order.value:
            raise fault
        keys, generation_id = content[1:-1], content[-1]
        if not isinstance(generation_id, str) or "\0" in generation_id or not generation_id.isascii():
            raise fault
        if not all(type(key) in (int, float) and abs(key) < 1e300 and math.isfinite(key) for key in keys):
            raise fault
        return cls(order, tuple(float(key) for key in keys), generation_id)
