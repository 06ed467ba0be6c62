r"""The stage `written`: greentexts that people wrote, in files of theirs → `TextRow`.

A `.jsonl` file has one object a line with `text`, and `theme` where it is known; other fields are left aside. Any other
file is plain text: greentexts, one line each line, with blank lines between them. The file's spelling is forgiven
(`greentext.text.parse`), but a line without a `>` is not: people can mend it, and a guess would join two lines.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import orjson

from data_pipeline.errors import StageError
from data_pipeline.results import Summary, sha256_of
from data_pipeline.rows import Source, TextRow
from data_pipeline.settings import Settings
from data_pipeline.stage import Drop, StageRun, progress_bar
from greentext.text import GreentextError, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

VERSION: Final = 1


class WrittenSettings(Settings):
    """There is nothing to set."""


def run(inputs: Sequence[Path], folder: Path, settings: WrittenSettings, *, restart: bool = False) -> Summary:  # noqa: ARG001
    """Reads files that people wrote. Drops `not_an_object`, `not_a_greentext` and `same_text`.

    Raises:
        StageError: A file cannot be read, or is not UTF-8.
        OSError: The disk is full, or fails.
    """
    made_from = {"version": VERSION, "inputs": [sha256_of(path) for path in inputs]}
    with StageRun(folder, "written", made_from, restart=restart) as stage:
        if stage.summary is None:
            texts = [text for path in inputs for text in read_texts(path)]
            place_of: dict[str, str] = {}
            with progress_bar("written", len(texts), "text", done=stage.done) as bar:
                for position, (place, fields) in enumerate(texts):
                    outcome = _judge(place, fields, place_of)
                    if not stage.is_done(str(position)):
                        kept = [outcome] if isinstance(outcome, TextRow) else []
                        dropped = [outcome] if isinstance(outcome, Drop) else []
                        stage.record(position, str(position), kept=kept, dropped=dropped)
                        bar.update()
        return stage.finish()


def read_texts(path: Path) -> Iterator[tuple[str, Any]]:
    """Where each text stands (`FILE:LINE`) and its fields, of which `text` should be one.

    Raises:
        StageError: The file cannot be read, or is not UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise StageError(f"{path} is not UTF-8 at byte {error.start}: convert it first (iconv -t utf-8)") from error
    except OSError as error:
        raise StageError(f"{path} cannot be read ({error.strerror}): name a file of greentexts") from error
    yield from _objects(path.name, lines) if path.suffix == ".jsonl" else _paragraphs(path.name, lines)


def _objects(name: str, lines: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield f"{name}:{number}", orjson.loads(line)
            except orjson.JSONDecodeError:
                yield f"{name}:{number}", line


def _paragraphs(name: str, lines: Sequence[str]) -> Iterator[tuple[str, Any]]:
    block: list[str] = []
    for number, line in enumerate([*lines, ""], start=1):
        if line.strip():
            block.append(line)
        elif block:
            yield f"{name}:{number - len(block)}", {"text": "\n".join(block)}
            block = []


def _judge(place: str, fields: Any, place_of: dict[str, str]) -> TextRow | Drop:
    if not isinstance(fields, dict) or not isinstance(fields.get("text"), str):
        return Drop("not_an_object", {"line": fields}, f"{place}: expected a JSON object with text")
    theme = fields.get("theme")
    try:
        text = str(parse(fields["text"]))
    except GreentextError as error:
        return Drop("not_a_greentext", fields, f"{place}: {error}")
    if text in place_of:
        return Drop("same_text", fields, f"{place}: as {place_of[text]}")
    place_of[text] = place
    return TextRow(
        id=f"{Source.WRITTEN}:{hashlib.sha256(text.encode()).hexdigest()[:16]}",
        text=text,
        source=Source.WRITTEN,
        theme=theme if isinstance(theme, str) else "",
        origin=place,
    )
