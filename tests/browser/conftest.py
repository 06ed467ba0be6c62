"""The built page, the real server in a process of its own, and a real Chromium."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from data_pipeline.rendered import PageSpec, render
from tests.browser.go_between import GoBetween
from tests.service.conftest import start_server, stop_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page

    from tests.service.conftest import Server as Service

ROOT = Path(__file__).resolve().parents[2]
FRONTEND = ROOT / "frontend"
INDEX = ROOT / "data_pipeline" / "curation" / "static" / "index.html"
BOARD_INDEX = ROOT / "service" / "static" / "index.html"
WAIT_MS = 15_000

STORIES = (
    ("be me", "find a wet kitten under the porch", "it will not come out", "lie down in the rain next to it",
     "it sits on my head", "we both go home"),
    ("be 10", "break grandma's blue bowl with a ball", "glue it back in secret", "there is one hole left in it",
     "puts a flower in the hole", '"now it is a vase"'),
    ("first day at new school", "sit alone at lunch with a cheese sandwich", "girl with red boots sits down",
     '"my sandwich is cheese too"', "best lunch ever"),
    ("work night shift at the bakery", "old man comes in at four every morning", "buys one roll, eats half of it",
     "the other half is for the birds", "today the birds came in with him", "thank you, old man"),
)  # fmt: skip


def text_of(number: int) -> str:
    """The text of a row: one of the stories, told apart by a last line with its number."""
    return "\n".join(f">{line}" for line in (*STORIES[number % len(STORIES)], f"story number {number}"))


def text_row(number: int, **fields: Any) -> dict[str, Any]:
    """A TextRow as `written` writes it."""
    return {"id": f"written:{number}", "text": text_of(number), "source": "written", "theme": "family", **fields}


def scanned_row(folder: Path, number: int) -> dict[str, Any]:
    """A TextRow as `ocr` writes it, misread here and there, and its screenshot."""
    lines = STORIES[number % len(STORIES)]
    page = render(PageSpec(story=lines, theme="yotsuba", seed=number))
    image = f"shot-{number}{page.ending}"
    (folder / image).write_bytes(page.content)
    read = [line.replace("rn", "m").replace("corner", "comer") for line in lines]
    raw = "\n".join(["Anonymous 07/22/78(Sun)06:00:45 No.46970058", *(f"> {line}" for line in read), "15 KB PNG"])
    text = "\n".join(f">{line}" for line in read)
    sure = [0.97, 0.71, 0.93, 0.96, 0.9, 0.62]
    return {
        "id": f"reddit-ocr:{number}", "text": text, "source": "reddit-ocr", "origin": f"post{number}", "image": image,
        "raw_text": raw, "line_confidences": [sure[index % 6] for index in range(len(lines))],
        "unsure_words": [{"line": number, "word": "moming", "confidence": 0.41}
                         for number, line in enumerate(read, start=1) if "moming" in line],
    }  # fmt: skip


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """A folder as a stage leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kept.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@dataclass
class Server:
    """`gtx-data curate` on one port, as often as it is started."""

    folder: Path
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self, *inputs: Path) -> Server:
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        command = [
            sys.executable, "-m", "data_pipeline.cli", "curate", str(self.folder), *map(str, inputs),
            "--no-open", "--port", str(self.port), *self.options,
        ]  # fmt: skip
        log = (self.folder.parent / f"{self.folder.name}.log").open("a", encoding="utf-8")
        with log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **self.environment}
            )
        said: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said.append(line)
            if f":{self.port}" in line:
                return self
        pytest.fail(f"the server did not start: {''.join(said)}{Path(log.name).read_text(encoding='utf-8')}")

    def kill(self) -> None:
        """`kill -9`: nothing is put in order."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=20)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None


@pytest.fixture(scope="session")
def built_page() -> Path:
    """The page, built now if it was not."""
    build_if_missing(INDEX)
    return INDEX.parent


def build_if_missing(index: Path) -> None:
    """Builds the pages if this one is not there."""
    if index.is_file():
        return
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("the page is not built, and there is no npm to build it with")
    for command in (["ci"], ["run", "build"]):
        subprocess.run([npm, *command], cwd=FRONTEND, check=True, timeout=600, capture_output=True)


# Of the module, not of the session: playwright runs an event loop in this thread as long as it is there, and other
# modules' tests want one of their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on PATH: install chromium")
    with sync_api.sync_playwright() as playwright:
        # QUIC sockets and a GPU are not to be had in most containers.
        started = playwright.chromium.launch(
            executable_path=path, args=["--disable-gpu", "--disable-quic", "--no-sandbox"]
        )
        yield started
        started.close()


@pytest.fixture
def servers(built_page: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server over a new folder with the rows given."""
    started: list[Server] = []

    def serve(rows: list[dict[str, Any]], *options: str, environment: dict[str, str] | None = None) -> Server:
        name = f"curation{len(started)}"
        source = write_rows(tmp_path / f"{name}-rows", rows) if rows else tmp_path / f"{name}-rows"
        server = Server(tmp_path / name, options, environment or {})
        started.append(server)
        return server.start(source)

    yield serve
    for server in started:
        server.kill()


class Visitor:
    """A person with a browser of their own; everything that goes wrong in their pages is kept in `wrong`."""

    def __init__(self, browser: Browser, server: Server, person: str, **options: Any) -> None:
        self.server = server
        self.person = person
        self.wrong: list[str] = []
        self.offline_is_fine = False
        self.context: BrowserContext = browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options}
        )
        self.context.set_default_timeout(WAIT_MS)

    def _listen(self, page: Page) -> None:
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))

        def dialog(shown: Any) -> None:
            self.wrong.append(f"dialog: {shown.message}")
            shown.dismiss()

        page.on("dialog", dialog)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        # Chromium itself logs answers with an error status, and addresses that nobody answers at.
        if message.text.startswith("Failed to load resource"):
            expected = "409" in message.text or "401" in message.text or "422" in message.text
            if expected or self.offline_is_fine:
                return
        self.wrong.append(f"{message.type}: {message.text}")

    def open(self, at: str = "", *, sign_in: bool = True) -> Page:
        page = self.context.new_page()
        self._listen(page)
        page.goto(self.server.url + at)
        page.locator(".sign-in, .frame").first.wait_for()
        if sign_in and page.locator(".sign-in").count():
            page.get_by_label("Name").fill(self.person)
            page.keyboard.press("Enter")
            page.locator(".frame").wait_for()
        return page


@pytest.fixture
def visitors(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Lets a person come; at the end, nothing may have gone wrong in any page."""
    came: list[Visitor] = []

    def come(server: Server, person: str = "Ann", **options: Any) -> Visitor:
        came.append(Visitor(browser, server, person, **options))
        return came[-1]

    yield come
    for visitor in came:
        visitor.context.close()
    assert [wrong for visitor in came for wrong in visitor.wrong] == []


# ------------------------------------------------------------------------------------------------------- the board


@pytest.fixture(scope="module")
def board_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service as it is shipped, with its page, its model and a database of its own."""
    build_if_missing(BOARD_INDEX)
    folder = tmp_path_factory.mktemp("board")
    service = start_server(
        folder,
        "service.service:GreentextService",
        GREENTEXT_DATABASE_URL=f"sqlite:///{folder / 'greentext.sqlite3'}",
        GREENTEXT_RATINGS_PER_MINUTE="10000",
        GREENTEXT_BOARD_READS_PER_MINUTE="10000",
    )
    try:
        service.wait_until_ready()
        yield service
    finally:
        stop_server(service)


@pytest.fixture
def between(board_service: Service) -> Iterator[GoBetween]:
    """What stands between this test's browsers and the service."""
    go_between = GoBetween(f"127.0.0.1:{board_service.port}")
    yield go_between
    go_between.close()


class Guest:
    """Somebody at the board, with a browser of their own; everything that goes wrong in it is kept in `wrong`."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.wrong: list[str] = []
        self.expected: list[str] = []
        """What Chromium may say besides: parts of its messages."""
        self.context: BrowserContext = browser.new_context(
            **{
                "viewport": {"width": 1280, "height": 800},
                "reduced_motion": "reduce",
                "permissions": ["clipboard-read", "clipboard-write"],
                **options,
            }
        )
        self.context.set_default_timeout(WAIT_MS)

    def _heard(self, message: ConsoleMessage) -> None:
        expected = any(part in message.text for part in self.expected)
        if message.type in ("error", "warning") and not expected:
            self.wrong.append(f"{message.type}: {message.text}")

    def _asked(self, dialog: Dialog) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, at: str = "") -> Page:
        page = self.context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("dialog", self._asked)
        page.goto(self.url + at)
        page.locator("main").wait_for()
        return page


@pytest.fixture
def guests(browser: Browser, between: GoBetween) -> Iterator[Callable[..., Guest]]:
    """Lets somebody come; at the end, nothing may have gone wrong in any page."""
    came: list[Guest] = []

    def come(**options: Any) -> Guest:
        came.append(Guest(browser, between.url, **options))
        return came[-1]

    yield come
    for guest in came:
        guest.context.close()
    assert [wrong for guest in came for wrong in guest.wrong] == []
