"""Stage `dumps`: from Pushshift's or Arctic Shift's files of submissions to `Submission` rows of a few subreddits.

Files are read as they are (`data_pipeline.dump_blocks`), a process a file. Before a line is parsed, its bytes are
searched for the subreddits' names, so the millions of lines that are not asked for cost little. An item of the run is a
block of a file: a run that was stopped reads a file again up to there, and parses nothing twice.

Lines that are not what they should be are counted under a reason, and set aside by their place in the text:

    too_long         beyond `max_line_bytes`
    not_utf8, not_json, nested_too_deeply, not_an_object
    comment, no_id, no_subreddit, no_time

Whether a submission is worth anything is not asked here, but in `posts` and `selftext`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import Field

from data_pipeline.dump_blocks import BrokenDumpError, NotADumpError, check_dump, read_blocks
from data_pipeline.dump_workers import in_processes
from data_pipeline.settings import Settings
from data_pipeline.stage import Drop, StageError, StageRun, Summary, progress_bar, sha256_of
from data_pipeline.submissions import RecordError, SubredditName, cut_down

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from data_pipeline.dump_blocks import Block

STAGE: Final = "dumps"
VERSION: Final = 1
"""Of what is taken from a dump, and how: other versions' folders are not gone on with."""
HASHED_BYTES: Final = 256 << 20
"""Larger files are told apart by name, size and time."""
SET_ASIDE: Final = 20
"""Bad lines of a block that are set aside; more are only counted."""
GARBAGE_LINES: Final = 1000
"""A file that begins with that many bad lines, and no other, is no dump."""

_LINE: Final = re.compile(rb"[^\n]+")
_FILE_PLACES: Final = 1 << 32


class DumpsSettings(Settings):
    """What `dumps` can be told."""

    subreddits: tuple[SubredditName, ...] = Field(
        default=("wholesomegreentext",),
        description="whose submissions are taken, in any case; of all where none is named",
    )
    accept_broken: bool = Field(
        default=False, description="take what comes before the damage of a file that breaks off or is damaged"
    )
    max_line_bytes: int = Field(
        default=8 << 20, ge=1 << 10, le=1 << 28, description="longer lines are skipped; Reddit's are below 1 MiB"
    )
    max_ratio: float = Field(
        default=1000.0, gt=1.0, description="how many times its size a file may unfold to; dumps do 5 to 25 times"
    )
    workers: int = Field(default=0, ge=0, le=256, description="files read at the same time; 0: as many as cores")


@dataclass(slots=True)
class Scanned:
    """What was found in a block."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    """The fields of `Submission` rows."""
    dropped: list[Drop] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    bad_lines: int = 0


def run(inputs: Sequence[Path], folder: Path, settings: DumpsSettings, *, restart: bool = False) -> Summary:
    """Takes the submissions of the subreddits from dumps.

    Raises:
        DumpError: A file cannot be read; the message says what to do. What came before it is not lost.
        StageError: There is no file, or the folder cannot be used.
    """
    if not inputs:
        raise StageError("name one or more dumps: RS_….zst, .ndjson or .json")
    for path in inputs:
        with contextlib.suppress(*([BrokenDumpError] if settings.accept_broken else [])):
            check_dump(path)
    made_from = {
        "version": VERSION,
        "inputs": [fingerprint(path) for path in inputs],
        "subreddits": sorted(settings.subreddits),
        "max_line_bytes": settings.max_line_bytes,
    }
    with StageRun(folder, STAGE, made_from, restart=restart) as stage:
        if stage.summary is None:
            _run(inputs, settings, stage)
        return stage.finish()


def _run(inputs: Sequence[Path], settings: DumpsSettings, stage: StageRun) -> None:
    firsts = [0] * len(inputs)
    ended = set()
    for key in stage.keys():  # noqa: SIM118  # no mapping
        file, _, block = key.partition("/")
        if block == "end":
            ended.add(int(file))
        else:
            firsts[int(file)] = max(firsts[int(file)], int(block) + 1)
    left = [(number, inputs[number], firsts[number], settings) for number in range(len(inputs)) if number not in ended]
    workers = min(settings.workers or os.cpu_count() or 1, len(left))
    read = [path.stat().st_size if number in ended else 0 for number, path in enumerate(inputs)]
    with progress_bar(STAGE, sum(path.stat().st_size for path in inputs), "B") as bar:
        bar.update(sum(read))
        parts = (
            in_processes(scan_file, left, workers)
            if workers > 1
            else (part for one in left for part in scan_file(*one))
        )
        for part in parts:
            position = part.file * _FILE_PLACES + part.block
            key = f"{part.file}/{'end' if part.is_end else part.block}"
            if part.scanned is not None:
                scanned = part.scanned
                stage.record(position, key, kept=scanned.kept, dropped=scanned.dropped, counted=scanned.counted)
            bar.update(part.bytes_read - read[part.file])
            read[part.file] = part.bytes_read


@dataclass(frozen=True, slots=True)
class FilePart:
    """A block of a file, or its end, scanned."""

    file: int
    block: int
    bytes_read: int
    scanned: Scanned | None
    """None of a block that an earlier run had."""
    is_end: bool = False


def scan_file(file: int, path: Path, first: int, settings: DumpsSettings) -> Iterator[FilePart]:
    """A file's blocks, scanned from the block `first` on, and its end. Raises DumpError."""
    names = frozenset(settings.subreddits)
    lines = bad_lines = 0
    number, bytes_read = -1, 0
    end = Counter(files=1)
    try:
        for block in read_blocks(path, max_line_bytes=settings.max_line_bytes, max_ratio=settings.max_ratio):
            number, bytes_read = block.number, block.bytes_read
            if number < first:
                yield FilePart(file, number, bytes_read, None)
                continue
            scanned = scan_block(block, names, settings.max_line_bytes, path.name)
            lines, bad_lines = lines + scanned.lines, bad_lines + scanned.bad_lines
            if first == 0 and bad_lines == lines >= GARBAGE_LINES:
                raise NotADumpError(f"{path} is no dump: its first {lines:,} lines are no submissions; leave it out")
            yield FilePart(file, number, bytes_read, scanned)
    except BrokenDumpError:
        if not settings.accept_broken:
            raise
        end["broken_file"] = 1
    yield FilePart(file, number + 1, path.stat().st_size, Scanned(counted=end), is_end=True)


def scan_block(block: Block, names: frozenset[str], max_line_bytes: int, file_name: str = "") -> Scanned:
    """The submissions of some subreddits (lower case; of all where there are none) in a block."""
    scanned = Scanned()
    scanned.counted["text_bytes"] = block.text_bytes
    for _ in range(block.too_long):
        _set_aside(scanned, "too_long", f"more than {max_line_bytes:,} bytes", {"file": file_name})
    spans, others = _candidates(block.lines, names)
    for begin, end in spans:
        line = block.lines[begin:end]
        place = {"file": file_name, "text_offset": block.offset + begin, "bytes": end - begin}
        try:
            if end - begin > max_line_bytes:
                raise RecordError("too_long", f"more than {max_line_bytes:,} bytes")  # noqa: TRY301
            submission = cut_down(_parsed(line))
        except RecordError as error:
            _set_aside(scanned, error.reason, str(error), place)
            continue
        if not names or submission["subreddit"].lower() in names:
            scanned.kept.append(submission)
        else:
            others += 1
    if others:
        scanned.counted["other_subreddit"] = others
    scanned.lines = block.too_long + len(spans) + others
    return scanned


def _candidates(text: bytes, names: frozenset[str]) -> tuple[list[tuple[int, int]], int]:
    """Where the lines are that must be parsed, in their order, and how many others there are.

    A line must be parsed if it spells one of the names as a JSON string, or does not look like an object.
    """
    if not names:
        return [match.span() for match in _LINE.finditer(text) if not match[0].isspace()], 0
    spans = {}
    lowered = text.lower()
    for name in names:
        spelled = b'"%s"' % name.encode()
        found = lowered.find(spelled)
        while found >= 0:
            begin = text.rfind(b"\n", 0, found) + 1
            end = text.find(b"\n", found)
            end = len(text) if end < 0 else end
            spans[begin] = end
            found = lowered.find(spelled, end)
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    # Where every line end stands between two objects, every line looks like one.
    objects = text.startswith(b"{") and text.endswith((b"}\n", b"}"))
    if len(spans) == lines or (objects and text.count(b"}\n{") == lines - 1):
        return sorted(spans.items()), lines - len(spans)
    others = 0
    for match in _LINE.finditer(text):
        begin, end = match.span()
        line = match[0].strip()
        if not line or begin in spans:
            continue
        if line.startswith(b"{") and line.endswith(b"}"):
            others += 1
        else:
            spans[begin] = end
    return sorted(spans.items()), others


def _parsed(line: bytes) -> Any:
    """The JSON of a line. Raises RecordError."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        problem = error
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise RecordError("not_utf8", f"no UTF-8 at byte {error.start:,} of the line") from error
    if "depth" in str(problem):
        raise RecordError("nested_too_deeply", str(problem)) from problem
    if "\\ud" in text.lower():  # half a pair of surrogates, escaped, as old dumps have them: JSON's grammar allows it
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RecordError("not_json", str(error)) from error
    raise RecordError("not_json", str(problem)) from problem


def _set_aside(scanned: Scanned, reason: str, detail: str, place: dict[str, Any]) -> None:
    scanned.bad_lines += 1
    if len(scanned.dropped) < SET_ASIDE:
        # Its place, not its words: who wrote it may stand in them.
        scanned.dropped.append(Drop(reason, place, detail))
    else:
        scanned.counted[f"{reason}, not set aside"] += 1


def fingerprint(path: Path) -> dict[str, Any]:
    """What tells one dump from another: the hash of what it holds, or where that would take long, its size and time."""
    status = path.stat()
    if status.st_size <= HASHED_BYTES:
        return {"name": path.name, "sha256": sha256_of(path)}
    return {"name": path.name, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
