"""Text to token ids and back, piece by piece.

User text is only ever text: control tokens are never read out of it. A stream never shows half a character, and
never the beginning of a stop string that may yet turn out to be one.
"""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING

from tokenizers import Tokenizer as FastTokenizer

from service.engine.errors import ModelLoadError

if TYPE_CHECKING:
    from pathlib import Path


class Tokenizer:
    """A byte-level BPE tokenizer (``tokenizer.json``)."""

    def __init__(self, path: Path) -> None:
        """Raises ModelLoadError when the file is no byte-level tokenizer."""
        try:
            self._fast = FastTokenizer.from_file(str(path))
            decoder = json.loads(path.read_text(encoding="utf-8")).get("decoder") or {}
        except Exception as error:  # tokenizers raises bare Exception
            msg = f"{path} is no tokenizer: {error}"
            raise ModelLoadError(msg) from error
        if decoder.get("type") != "ByteLevel":
            msg = f"{path} has a {decoder.get('type')} decoder; only byte-level BPE is supported"
            raise ModelLoadError(msg)
        self._fast.encode_special_tokens = True
        self._fast.no_truncation()
        self._fast.no_padding()
        self.vocab_size = self._fast.get_vocab_size(with_added_tokens=True)
        special = {i for i, token in self._fast.get_added_tokens_decoder().items() if token.special}
        to_byte = _byte_of_character()
        self._bytes = [b""] * self.vocab_size
        for text, token_id in self._fast.get_vocab(with_added_tokens=True).items():
            if token_id < self.vocab_size and token_id not in special:
                known = all(character in to_byte for character in text)
                self._bytes[token_id] = bytes(to_byte[c] for c in text) if known else text.encode()

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; what spells a control token is plain text. A lone surrogate becomes U+FFFD."""
        clean = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return list(self._fast.encode(clean, add_special_tokens=False).ids)

    def decode(self, token_ids: list[int]) -> str:
        """The text of token ids; control tokens and an unfinished last character are left out."""
        detokenizer = IncrementalDetokenizer(self)
        return "".join(detokenizer.push(token_id) for token_id in token_ids) + detokenizer.finish()

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; none for control tokens and for ids that are no token."""
        return self._bytes[token_id] if 0 <= token_id < len(self._bytes) else b""


class IncrementalDetokenizer:
    """Turns tokens into text as they come.

    ``push`` gives the text that is certain by now. When a stop string comes up, ``stopped`` is set and nothing
    from its first character on is ever given.
    """

    __slots__ = ("_decoder", "_held", "_stop", "_tokenizer", "stopped")

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...] = ()) -> None:
        """``stop``: strings before which the text ends."""
        self._tokenizer = tokenizer
        self._stop = stop
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped = False

    def push(self, token_id: int) -> str:
        """Takes a token, gives the text that has become certain."""
        if self.stopped:
            return ""
        text = self._decoder.decode(self._tokenizer.token_bytes(token_id))
        if not self._stop:
            return text
        text = self._held + text
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max(_overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """The text that was held back and turned out to be no stop string. An unfinished character is dropped."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of ``text`` that begins ``stop``."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


def _byte_of_character() -> dict[str, int]:
    """GPT-2's map of printable characters to bytes, inverted: bytes that print stand for themselves, the others for
    the characters from U+0100 on (Radford et al. 2019).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}
