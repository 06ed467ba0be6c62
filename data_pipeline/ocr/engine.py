"""Tesseract, line by line: one process reads all lines of a page, one thread each.

Knows pictures of lines and the text in them; what a greentext is, it does not.

    EngineError
    ├── EngineMissingError    Tesseract, or its English model, is not installed
    ├── EngineTimeoutError    a page took longer than its limit, and was killed
    └── EngineFailedError     Tesseract gave up on a page, or died
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytesseract
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data_pipeline.ocr.ink import Floats

LANGUAGE: Final = "eng"
MARGIN_PX: Final = 12
"""White around a line, without which Tesseract loses its first and last letters."""
_CONFIG: Final = "--oem 1 --psm 7"
_DIGITS: Final = f"{_CONFIG} -c tessedit_char_whitelist=0123456789"
_INSTALL: Final = "on Debian and Ubuntu, apt-get install tesseract-ocr; on macOS, brew install tesseract"


class EngineError(Exception):
    """A page could not be read."""


class EngineMissingError(EngineError):
    """Tesseract, or its English model, is not installed; the message says what to do."""


class EngineTimeoutError(EngineError):
    """A page took longer than its limit, and was killed."""


class EngineFailedError(EngineError):
    """Tesseract gave up on a page, or died."""


@dataclass(frozen=True, slots=True)
class Word:
    """What Tesseract read in one place."""

    text: str
    confidence: float
    """From 0 to 1."""
    left: float
    """In pixels of the line that was given."""


@dataclass(frozen=True, slots=True)
class ReadLine:
    """What Tesseract read in the picture of a line."""

    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        """Its words with spaces between."""
        return " ".join(word.text for word in self.words)

    @property
    def confidence(self) -> float:
        """Mean over its words, weighted by their letters, from 0 to 1; 0 where there are none."""
        letters = sum(len(word.text) for word in self.words)
        return sum(len(word.text) * word.confidence for word in self.words) / letters if letters else 0.0


def one_thread() -> None:
    """Makes the Tesseracts that this process starts use one thread each: pages are read side by side instead.

    Its own threads wait for each other more than they read: one is 3 to 6 times faster than four.
    """
    os.environ["OMP_THREAD_LIMIT"] = "1"


def engine_version() -> str:
    """The version of the installed Tesseract.

    Raises:
        EngineMissingError: It, or its English model, is not installed.
    """
    try:
        version = str(pytesseract.get_tesseract_version())
        languages = pytesseract.get_languages()
    except (pytesseract.TesseractNotFoundError, SystemExit) as error:
        raise EngineMissingError(f"Tesseract is not installed: {_INSTALL}") from error
    if LANGUAGE not in languages:
        raise EngineMissingError(f"Tesseract's model {LANGUAGE!r} is not installed: {_INSTALL}-{LANGUAGE}")
    return version


def read_lines(
    lines: Sequence[Floats], scales: Sequence[float], timeout_s: float, *, digits: bool = False
) -> list[ReadLine]:
    """Reads lines, each (height, width) from 0, paper, to 1, ink, after scaling it; as digits only if so asked.

    Raises:
        EngineTimeoutError: It took longer than `timeout_s`.
        EngineFailedError: Tesseract gave up.
        EngineMissingError: It is not installed.
    """
    if not lines:
        return []
    if timeout_s <= 0:
        raise EngineTimeoutError("no time was left")
    with tempfile.TemporaryDirectory(prefix="gtx-ocr-") as name:
        folder = Path(name)
        paths = []
        for number, (line, scale) in enumerate(zip(lines, scales, strict=True)):
            path = folder / f"{number:04}.png"
            _picture(line, scale).save(path, compress_level=1)
            paths.append(str(path))
        listing = folder / "lines.txt"
        listing.write_text("\n".join(paths) + "\n", encoding="utf-8")
        return _by_line(_recognised(listing, timeout_s, _DIGITS if digits else _CONFIG), scales)


def _picture(line: Floats, scale: float) -> Image.Image:
    image = Image.fromarray(np.rint(255.0 * (1.0 - line)).astype(np.uint8))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.BICUBIC)
    sheet = Image.new("L", (image.width + 2 * MARGIN_PX, image.height + 2 * MARGIN_PX), 255)
    sheet.paste(image, (MARGIN_PX, MARGIN_PX))
    sheet.info["dpi"] = (150, 150)
    return sheet


def _recognised(listing: Path, timeout_s: float, config: str) -> dict[str, list[Any]]:
    try:
        found: dict[str, list[Any]] = pytesseract.image_to_data(
            str(listing), lang=LANGUAGE, config=config, timeout=timeout_s, output_type=pytesseract.Output.DICT
        )
    except pytesseract.TesseractNotFoundError as error:
        raise EngineMissingError(f"Tesseract is not installed: {_INSTALL}") from error
    except pytesseract.TesseractError as error:
        raise EngineFailedError(f"Tesseract ended with {error.status}: {str(error.message)[:200]}") from error
    except RuntimeError as error:  # how pytesseract says that it killed it
        raise EngineTimeoutError(f"not done after {timeout_s:g} s") from error
    return found


def _by_line(found: dict[str, list[Any]], scales: Sequence[float]) -> list[ReadLine]:
    lines: list[list[Word]] = [[] for _ in scales]
    columns = (found["page_num"], found["text"], found["conf"], found["left"])
    for page, text, confidence, left in zip(*columns, strict=True):
        word, number = str(text).strip(), int(page) - 1
        if word and 0 <= number < len(lines):
            sure = min(1.0, max(0.0, float(confidence) / 100))
            lines[number].append(Word(word, sure, (float(left) - MARGIN_PX) / scales[number]))
    return [ReadLine(tuple(words)) for words in lines]
