"""The control tokens of our models, and the rule that keeps them apart from text.

A control token is an id, never text. A prompt is `[start id] + encode(user text)`, encoded without looking for special
tokens, in training and in serving alike: a user who spells `<|endoftext|>` has written thirteen characters, and those
are what the model sees. The spellings below name the tokens in `tokenizer.json` and in a bundle's manifest.

There is one exception, by contract: the original front end sends the start token itself, at the head of its prompt.
It is dropped there (`strip_leading_start`), because the service prepends it, exactly once, whoever asks.
"""

from typing import Final

START_TOKEN: Final = "<|4chanGtxStart|>"
"""Stands before each greentext, in training and in a prompt."""

END_TOKEN: Final = "<|endoftext|>"
"""Ends each text. It also fills up rows of unequal length: there is no padding token of its own."""


def strip_leading_start(text: str) -> str:
    """The text without the start token at its very beginning, if it has one there.

    Only one is dropped, and only there: a second one, or one behind a space, is text like any other.
    """
    return text.removeprefix(START_TOKEN)
