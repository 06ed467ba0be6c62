"""What single tokens stand for, for dialects that tell of each token."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.engine.tokenizer import Tokenizer


def pieces(tokenizer: "Tokenizer", token_ids: "Sequence[int]", stop: tuple[str, ...] = ()) -> list[str]:
    """What each token adds to the text: together they are the text, as a stream sends it.

    A token within a character adds nothing, and neither does one within a string to stop at.
    """
    from service.engine.tokenizer import IncrementalDetokenizer  # noqa: PLC0415 - not for who only supervises

    detokenizer = IncrementalDetokenizer(tokenizer, stop)
    texts = [detokenizer.push(token_id) for token_id in token_ids]
    if texts:
        texts[-1] += detokenizer.finish()
    return texts


def spelling(tokenizer: "Tokenizer", token_id: int) -> str:
    r"""A token alone. One that is no whole character is spelt `bytes:\xf0\x9f`, so that no two are spelt alike."""
    content = tokenizer.token_bytes(token_id)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content)
