"""How long the curation app takes with many rows: to import, to open, to page, to search, to decide.

Rows are made up, the server is the program itself, and one client asks over one connection. Figures are medians and
95th percentiles of wall-clock milliseconds.

    python -m loadtests.curation_benchmark --rows 10000
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.client
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS: Final = 30
LINES: Final = 12
PROGRAM: Final = """
import pathlib, sys
import data_pipeline.curation.page as page
page.STATIC = pathlib.Path(sys.argv[1])
from data_pipeline.cli import main
sys.exit(main(["curate", *sys.argv[2:]]))
"""
_WORDS: Final = (
    "dog", "friend", "school", "morning", "river", "sandwich", "teacher", "window", "rain", "tea", "blanket", "happy",
    "small", "lost", "walk", "home",
)  # fmt: skip


def main() -> int:
    """Measures and prints; returns the exit code, 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="how many (default: 10000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gtx-curation-") as name:
        for what, figure in _measured(Path(name), options.rows):
            print(f"{what:<44} {figure}", flush=True)
    return 0


def _measured(folder: Path, rows: int) -> Iterator[tuple[str, str]]:
    source, page = folder / "in.jsonl", folder / "page"
    page.mkdir()
    (page / "index.html").write_text("<!doctype html>", encoding="utf-8")
    with source.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(_row(number)) + "\n" for number in range(rows))
    base = [sys.executable, "-c", PROGRAM, str(page), str(folder / "curation")]
    for what in (f"import of {rows:,} rows", "import of the same again"):
        began_s = time.perf_counter()
        subprocess.run([*base, str(source), "--import-only"], check=True, capture_output=True)  # noqa: S603 - ours
        yield what, f"{time.perf_counter() - began_s:.2f} s"
    began_s = time.perf_counter()
    process = subprocess.Popen([*base, "--port", "0", "--no-open"], stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
    try:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        process.stdout.readline()
        url = process.stdout.readline().split()[0].rstrip("/")
        with contextlib.closing(_Client(url)) as client:
            client.ask("GET", f"/api/rows?{urlencode({'limit': 60})}")
            yield "program start to first page of 60 rows", f"{time.perf_counter() - began_s:.2f} s"
            yield from _requests(client)
    finally:
        process.terminate()
        process.wait(10)


def _requests(client: _Client) -> Iterator[tuple[str, str]]:
    for what, query in (
        ("page of 60, as imported", {}),
        ("page of 60, all, by confidence", {"queue": "all", "order": "confidence"}),
        ("page of 60, all, newest change", {"queue": "all", "order": "changed"}),
        ("page of 60, below confidence 0.6", {"below_confidence": "0.6"}),
        ("search of one letter", {"search": "q"}),
        ("search that finds one", {"search": "NUMBER 7777 "}),
        ("search that finds nothing", {"search": "no such words at all"}),
    ):
        path = f"/api/rows?{urlencode({'limit': 60, **query})}"
        yield what, _timed(functools.partial(client.ask, "GET", path))
    cursors = _cursors(client)
    yield "page of 60, deep in the list", _timed(lambda: client.ask("GET", f"/api/rows?limit=60&after={cursors[-1]}"))
    yield "progress", _timed(lambda: client.ask("GET", "/api/progress"))
    yield "one row", _timed(lambda: client.ask("GET", "/api/rows/77"))
    after: list[str | None] = [None]
    numbers = itertools.count()

    def decide() -> None:
        row = client.ask("POST", "/api/rows/next", {"filter": {}, "after": after[0], "tab": "t"})
        body = {"action": "accept", "text": f"{row['text']}\n>end", "version": 0, "tab": "t"}
        client.ask("POST", f"/api/rows/{row['id']}/decision", body | {"request_id": str(next(numbers))})
        after[0] = row["id"]

    yield "next and accept, both", _timed(decide)
    yield (
        "draft saved",
        _timed(
            lambda: client.ask("PUT", "/api/rows/9000/draft", {"text": f">{next(numbers)}", "version": 0, "tab": "t"})
        ),
    )
    yield "undo", _timed(lambda: client.ask("POST", "/api/undo", {"request_id": f"u{next(numbers)}"}))


def _cursors(client: _Client) -> list[str]:
    cursors = []
    cursor = ""
    for _ in range(50):
        cursor = client.ask("GET", f"/api/rows?limit=200&after={cursor}")["next"]
        if cursor is None:
            break
        cursors.append(cursor)
    return cursors


def _timed(work: Callable[[], object]) -> str:
    times_ms = []
    for _ in range(ROUNDS):
        began_s = time.perf_counter()
        work()
        times_ms.append((time.perf_counter() - began_s) * 1000)
    return f"{statistics.median(times_ms):6.1f} ms   95 %: {sorted(times_ms)[int(ROUNDS * 0.95)]:6.1f} ms"


def _row(number: int) -> dict[str, Any]:
    words = [_WORDS[(number * 7 + place * 3) % len(_WORDS)] for place in range(LINES * 6)]
    lines = [f">be me, number {number} ", *(f">{' '.join(words[at * 6 : at * 6 + 6])}" for at in range(1, LINES))]
    confidences = [0.5 + (number * 13 + at * 7) % 50 / 100 for at in range(LINES)]
    text = "\n".join(lines)
    return {
        "id": f"reddit-ocr:{number}", "text": text, "source": "reddit-ocr", "raw_text": text.replace("e", "c"),
        "line_confidences": confidences,
    }  # fmt: skip


class _Client:
    """One person at one connection."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
        self._headers = {"Origin": url, "Content-Type": "application/json"}
        self._take(self.ask("GET", "/api/session"))
        self._take(self.ask("POST", "/api/session", {"person": "Benchmark"}))

    def _take(self, session: dict[str, Any]) -> None:
        self._headers["X-Greentext-CSRF"] = session["csrf"]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        self._connection.request(method, path, None if body is None else json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
        if cookie := answer.getheader("Set-Cookie"):
            self._headers["Cookie"] = cookie.partition(";")[0]
        return json.loads(content)

    def close(self) -> None:
        self._connection.close()


if __name__ == "__main__":
    sys.exit(main())
