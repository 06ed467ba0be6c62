"""Makes `greentext/data/tinystories_words.txt`: `python -m data_pipeline.build_vocabulary STORIES`.

The file is plain text or zstd, in UTF-8; stories are separated by `<|endoftext|>` or by nothing at all. A word is kept
that occurs often enough; one that occurs once is a slip of the pen more often than not. The list depends on nothing but
the stories and the count: the same file gives the same list.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from greentext.vocabulary import FOLDER, STORY_WORDS_FILE, words_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MIN_COUNT = 2
MAX_LETTERS = 24
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAX_WINDOW_BYTES = 2**31

_SPELLED = re.compile(r"[a-z]+(?:'[a-z]+)?")
_POSSESSIVE = re.compile(r"'s?$")
_LINE_WIDTH = 118


class StoriesError(Exception):
    """The stories cannot be read; the message says what to do."""


def count_words(lines: Iterable[str]) -> Counter[str]:
    """How often each word occurs. Possessives count for their owner; what is not spelled in a to z is left out."""
    counts: Counter[str] = Counter()
    for line in lines:
        for word in words_of(line.replace("<|endoftext|>", " ")):
            owner = _POSSESSIVE.sub("", word)
            if _SPELLED.fullmatch(owner) and len(owner) <= MAX_LETTERS:
                counts[owner] += 1
    return counts


def vocabulary_file(counts: Counter[str], min_count: int) -> str:
    """The list as a file: a comment, then the words in alphabetic order, as many a line as fit."""
    words = sorted(word for word, count in counts.items() if count >= min_count)
    lines = [
        "# The words that occur at least so many times in TinyStories: facts about the stories, not their text.",
        f"# Made by `python -m data_pipeline.build_vocabulary` of {sum(counts.values())} words; do not edit.",
        f"# Occurring {min_count} times or more: {len(words)} words.",
    ]
    line = ""
    for word in words:
        if len(line) + 1 + len(word) > _LINE_WIDTH:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
    return "\n".join([*lines, line, ""])


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a text file, compressed by zstd or not. What is not UTF-8 is replaced.

    Raises:
        StoriesError: The file cannot be read, or is damaged.
    """
    import zstandard  # noqa: PLC0415  `--help` needs none of it

    try:
        with path.open("rb") as file:
            compressed = file.read(len(ZSTD_MAGIC)) == ZSTD_MAGIC
            file.seek(0)
            reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).stream_reader(
                file, read_across_frames=True
            )
            with io.TextIOWrapper(reader if compressed else file, encoding="utf-8", errors="replace") as text:
                yield from text
    except OSError as error:
        raise StoriesError(f"{path} cannot be read: {error.strerror}") from error
    except zstandard.ZstdError as error:
        raise StoriesError(f"{path} is damaged: {error}; fetch it again") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m data_pipeline.build_vocabulary", description=__doc__.partition("\n\n")[0]
    )
    parser.add_argument("stories", type=Path, help="a file of stories, plain or .zst")
    parser.add_argument("--min-count", type=int, default=MIN_COUNT, help="occurrences (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=FOLDER / STORY_WORDS_FILE, help="the list to write (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        counts = count_words(read_lines(options.stories))
    except StoriesError as error:
        print(error, file=sys.stderr)
        return 1
    text = vocabulary_file(counts, options.min_count)
    part = options.out.with_name(f"{options.out.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(options.out)
    print(f"{options.out}: {text.count(chr(10)) - 3} lines, {len(text):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
