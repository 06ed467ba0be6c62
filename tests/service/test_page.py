"""The board's page as it is served: from memory, compressed, by name, and to nobody's harm."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING

import httpx
import pytest

from service.api.app import PathLabels, create_app
from service.api.page import Page, accepts_gzip
from service.registry import Registry
from service.settings import Settings
from service.store.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

INDEX = "<!doctype html>\n<title>board</title>\n" + "<p>hello frog</p>\n" * 40
SCRIPT = "console.log('frog')\n" * 50
POLICY = {
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob: data:", "connect-src 'self'",
    "manifest-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
}  # fmt: skip


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """What a build leaves behind, and what lies near it."""
    static = tmp_path / "static"
    (static / "assets" / "deeper").mkdir(parents=True)
    (static / "index.html").write_text(INDEX, encoding="utf-8")
    (static / "favicon.svg").write_text("<svg/>", encoding="utf-8")
    (static / "assets" / "index-4f2a.js").write_text(SCRIPT, encoding="utf-8")
    (static / "assets" / "frog-11aa.png").write_bytes(os.urandom(300))
    (static / "assets" / "deeper" / "inside.js").touch()
    (static / "assets" / ".hidden").write_text("no", encoding="utf-8")
    (static / "assets" / "a b{c}").write_text("no", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("no", encoding="utf-8")
    return static


def client_of(static: Path, **settings: str) -> httpx.AsyncClient:
    given = Settings.model_validate({"database_url": "none", **settings})
    app = create_app(Registry(), given, Store(given), static_directory=static)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://greentext.example")


@pytest.fixture
async def client(built: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(built) as client:
        yield client


async def test_the_page_is_served_with_a_policy_of_its_own(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    assert (answer.status_code, answer.text) == (200, INDEX)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert {part.strip() for part in answer.headers["content-security-policy"].split(";")} == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in answer.headers["permissions-policy"]
    assert "set-cookie" not in answer.headers
    head = await client.head("/")
    assert (head.status_code, head.headers["content-length"]) == (200, answer.headers["content-length"])


async def test_what_has_a_hash_in_its_name_is_kept_for_ever(client: httpx.AsyncClient) -> None:
    answer = await client.get("/assets/index-4f2a.js")
    assert (answer.status_code, answer.text) == (200, SCRIPT)
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    icon = await client.get("/favicon.svg")
    assert (icon.status_code, icon.headers["content-type"]) == (200, "image/svg+xml")
    assert icon.headers["cache-control"] == "no-cache"


async def test_it_is_compressed_for_who_takes_it(client: httpx.AsyncClient) -> None:
    for path, text in (("/", INDEX), ("/assets/index-4f2a.js", SCRIPT)):
        for accepted, coding in (("gzip, br", "gzip"), ("br", None), ("gzip;q=0", None), ("", None)):
            async with client.stream("GET", path, headers={"accept-encoding": accepted}) as answer:
                content = b"".join([part async for part in answer.aiter_raw()])
            assert answer.headers.get("content-encoding") == coding
            assert int(answer.headers["content-length"]) == len(content)
            assert "accept-encoding" in answer.headers["vary"].lower()
            assert (gzip.decompress(content) if coding else content).decode() == text
            assert coding is None or len(content) < len(text) / 4
    picture = await client.get("/assets/frog-11aa.png", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in picture.headers  # it would only be longer
    assert picture.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("gzip", True), ("GZip", True), ("br, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False), ("", False),
        ("gzip; q = 0.00", False), ("*;q=0", False), ("gzip;q=0, *", False), ("gzip;q=1, *;q=0", True), ("br", False),
        ("deflate, gzipped", False), (";;,=,q=0", False),
    ],
)  # fmt: skip
def test_who_takes_gzip(header: str, taken: bool) -> None:
    assert accepts_gzip(header) is taken


async def test_a_page_that_is_known_is_not_sent_again(client: httpx.AsyncClient, built: Path) -> None:
    first = await client.get("/")
    tag = first.headers["etag"]
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        answer = await client.get("/", headers={"if-none-match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert (answer.headers["etag"], answer.headers["cache-control"]) == (tag, "no-cache")
    assert (await client.get("/", headers={"if-none-match": '"other"'})).status_code == 200
    (built / "index.html").write_text(INDEX + "<p>newer</p>", encoding="utf-8")
    assert (await client.get("/")).headers["etag"] == tag  # read at the start
    async with client_of(built) as newer:
        assert (await newer.get("/")).headers["etag"] != tag


@pytest.mark.parametrize(
    "path",
    [
        "/index.html", "/secret.txt", "/assets/", "/assets/nothing.js", "/assets/.hidden", "/assets/../../secret.txt",
        "/assets/%2e%2e%2f%2e%2e%2fsecret.txt", "/assets/..%5c..%5csecret.txt", "/assets/deeper/inside.js",
        "/assets/deeper", "/assets/a%20b%7Bc%7D", "/assets/index-4f2a.js%00", "/static/index.html",
    ],
)  # fmt: skip
async def test_nothing_else_is_found(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")


async def test_the_page_takes_no_path_from_the_api(built: Path) -> None:
    for name in ("models", "board", "docs"):
        (built / name).write_text("mine", encoding="utf-8")
    async with client_of(built) as client:
        assert "models" in (await client.get("/models")).text
        assert (await client.get("/board")).status_code == 404  # nothing is kept here
        assert "swagger" in (await client.get("/docs")).text
        assert (await client.post("/", json={"inputs": ""})).status_code == 503  # asks for a text: no model yet
        for path in ("/assets/index-4f2a.js", "/favicon.svg"):
            assert (await client.post(path)).status_code == 405


@pytest.mark.parametrize("left", ["nothing", "no folder", "no index"])
async def test_without_a_page_the_documentation_is_shown(built: Path, left: str) -> None:
    if left == "no index":
        (built / "index.html").unlink()
    empty = built.parent / "none"
    if left == "nothing":
        empty.mkdir()
    async with client_of(built if left == "no index" else empty) as client:
        answer = await client.get("/")
        assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
        assert (await client.get("/assets/index-4f2a.js")).status_code == 404
        assert (await client.get("/favicon.svg")).status_code == 404


def test_a_page_that_cannot_be_read_stops_nobody(
    built: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", fail)
    assert Page(built).routes == []
    assert "the page cannot be read" in caplog.text


async def test_an_origin_that_may_call_is_told_besides(built: Path) -> None:
    async with client_of(built, cors_origins="https://a.example,https://b.example") as client:
        answer = await client.get("/", headers={"origin": "https://a.example"})
        assert {word.strip().lower() for word in answer.headers["vary"].split(",")} == {"accept-encoding", "origin"}


async def test_what_a_client_calls_the_host_changes_nothing(client: httpx.AsyncClient) -> None:
    for host in ("a/b", "a?b", "a#b", "[", ""):
        assert (await client.get("/favicon.svg", headers={"host": host})).status_code == 200


def test_its_files_are_counted_under_one_name(built: Path) -> None:
    settings = Settings.model_validate({"database_url": "none"})
    labels = PathLabels(create_app(Registry(), settings, Store(settings), static_directory=built))
    assert labels.label("/assets/index-4f2a.js") == labels.label("/assets/made-up.js") == "/assets/{name}"
    assert (labels.label("/favicon.svg"), labels.label("/made-up.svg")) == ("/favicon.svg", None)
