"""The curation app as tests use it: texts, a server in this process or in one of its own, and people with browsers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from data_pipeline.curation.app import Access, create_app
from data_pipeline.curation.database import FILE_NAME, Database
from data_pipeline.curation.importing import Import
from data_pipeline.curation.incoming import recognised
from data_pipeline.curation.page import Page
from data_pipeline.curation.pictures import PictureFolder
from data_pipeline.curation.server import Server, listen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from data_pipeline.results import Summary

ROOT = Path(__file__).parents[3]
PROGRAM = """
import pathlib, sys
import data_pipeline.curation.page as page
page.STATIC = pathlib.Path(sys.argv[1])
from data_pipeline.cli import main
sys.exit(main(["curate", *sys.argv[2:]]))
"""


def text_of(number: int) -> str:
    return f">be me, number {number}\n>find a lost dog\n>give him half my sandwich\n>best day of my life"


def row_of(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"written:{number}", "text": text_of(number), "source": "written", **fields}


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def built_page(folder: Path) -> Path:
    (folder / "assets").mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text("<!doctype html><title>desk</title>", encoding="utf-8")
    (folder / "assets" / "index-abc123.js").write_text("'use strict';", encoding="utf-8")
    (folder / "assets" / "icon-abc123.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", encoding="utf-8")
    (folder / "notes.py").write_text("secret = 1", encoding="utf-8")
    return folder


def bring_in(folder: Path, *inputs: Path, images_from: Sequence[Path] = ()) -> Summary:
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Database(folder / FILE_NAME)) as database:
        given = [recognised(path) for path in inputs]
        return Import(database, folder, images_from=images_from).run(given)


class Person:
    """Somebody at a browser: cookies, the token, and the header that browsers send by themselves."""

    def __init__(
        self,
        url: str,
        name: str | None = None,
        password: str | None = None,
        tab: str = "tab-1",
        cookies: dict[str, str] | None = None,
    ) -> None:
        self.http = httpx.Client(base_url=url, headers={"Origin": url}, cookies=cookies, timeout=30)
        self.tab = tab
        self.csrf = self.http.get("/api/session").json()["csrf"]
        if name is not None:
            answer = self.ask("POST", "/api/session", {"person": name, "password": password})
            assert answer.status_code == 200, answer.text
            self.csrf = answer.json()["csrf"]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        own = {"X-Greentext-CSRF": self.csrf, **headers}
        if body is None:
            return self.http.request(method, path, headers=own)
        return self.http.request(method, path, json=body, headers=own)

    def get(self, path: str, **params: Any) -> Any:
        answer = self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def row(self, row_id: str) -> dict[str, Any]:
        row: dict[str, Any] = self.get(f"/api/rows/{row_id}")
        return row

    def ids(self, **wanted: Any) -> list[str]:
        return [row["id"] for row in self.get("/api/rows", **wanted)["rows"]]

    def next(self, after: str | None = None, **wanted: Any) -> dict[str, Any] | None:
        answer = self.ask("POST", "/api/rows/next", {"filter": wanted, "after": after, "tab": self.tab})
        assert answer.status_code in (200, 204), answer.text
        return answer.json() if answer.status_code == 200 else None

    def previous(self, before: str, **wanted: Any) -> dict[str, Any] | None:
        answer = self.ask("POST", "/api/rows/previous", {"filter": wanted, "before": before, "tab": self.tab})
        assert answer.status_code in (200, 204), answer.text
        return answer.json() if answer.status_code == 200 else None

    def decide(self, row: dict[str, Any], action: str, text: str | None = None, **fields: Any) -> httpx.Response:
        body = {
            "action": action,
            "text": row["text"] if text is None else text,
            "version": row["version"],
            "tab": self.tab,
            "request_id": uuid.uuid4().hex,
            **({"reason": "dull"} if action == "reject" else {}),
            **fields,
        }
        return self.ask("POST", f"/api/rows/{row['id']}/decision", body)

    def decided(self, row: dict[str, Any], action: str, text: str | None = None, **fields: Any) -> dict[str, Any]:
        answer = self.decide(row, action, text, **fields)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()["row"]
        return result

    def undo(self, **fields: Any) -> httpx.Response:
        return self.ask("POST", "/api/undo", {"request_id": uuid.uuid4().hex, **fields})

    def draft(self, row: dict[str, Any], text: str, version: int | None = None) -> httpx.Response:
        body = {"text": text, "version": row["version"] if version is None else version, "tab": self.tab}
        return self.ask("PUT", f"/api/rows/{row['id']}/draft", body)


@dataclass
class Desk:
    """A server in this process, and everybody at it."""

    folder: Path
    url: str
    database: Database
    people: list[Person]

    def person(self, name: str | None = "Ann", password: str | None = None, tab: str = "tab-1") -> Person:
        self.people.append(Person(self.url, name, password, tab))
        return self.people[-1]


@contextlib.contextmanager
def desk(folder: Path, *, access: Access | None = None, lease_s: float = 90.0) -> Iterator[Desk]:
    """Serves a folder that has texts."""
    page = Page(built_page(folder.parent / f"{folder.name}-page"))
    database = Database(folder / FILE_NAME)
    app = create_app(folder, database, PictureFolder(folder), access=access or Access(), page=page, lease_s=lease_s)
    server = Server(app, listen("127.0.0.1", 0))
    thread = threading.Thread(target=server.run)
    thread.start()
    here = Desk(folder, server.url.rstrip("/"), database, [])
    try:
        yield here
    finally:
        for person in here.people:
            person.http.close()
        _stop(server)
        thread.join(10)
        assert not thread.is_alive()
        database.close()


def _stop(server: Server) -> None:
    waitress = server._server

    def close_all() -> None:
        for dispatcher in list(waitress._map.values()):
            dispatcher.close()

    waitress.trigger.pull_trigger(close_all)
    waitress.task_dispatcher.shutdown()


@contextlib.contextmanager
def program(
    folder: Path, *arguments: str, env: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program itself, and where it listens; it is told to end when the `with` does."""
    page = built_page(folder.parent / f"{folder.name}-page")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(page), str(folder), "--port", "0", "--no-open", *arguments],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        url = ""
        while not url and (line := process.stdout.readline()):
            url = line.split()[0].rstrip("/") if line.startswith("http://") else ""
        if not url:
            process.wait(10)
            assert process.stderr is not None
            raise AssertionError(process.stderr.read())
        yield process, url
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=10)
        if process.poll() is None:
            process.kill()
            process.communicate()
