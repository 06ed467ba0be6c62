from __future__ import annotations

import http.client
import json
import os
import stat
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from data_pipeline.curation.app import Access
from data_pipeline.curation.guard import name_in
from data_pipeline.curation.page import Page
from data_pipeline.curation.pictures import PictureFolder
from data_pipeline.curation.sign_in import TRIES, Tries
from data_pipeline.errors import StageError
from tests.data_pipeline.curation.desk import ROOT, Person, bring_in, built_page, desk, row_of, write_rows
from tests.data_pipeline.picture_server import encoded, screenshot

if TYPE_CHECKING:
    from pathlib import Path

    from tests.data_pipeline.curation.desk import Desk

DECISION = {"action": "skip", "text": "", "version": 0, "request_id": "r", "tab": "t"}
CHANGES: list[tuple[str, str, Any]] = [
    ("POST", "/api/session", {"person": "Eve"}),
    ("DELETE", "/api/session", None),
    ("POST", "/api/rows/next", {"filter": {}, "after": None}),
    ("POST", "/api/rows/previous", {"filter": {}, "before": "1"}),
    ("POST", "/api/rows/1/lease", {"tab": "t"}),
    ("DELETE", "/api/rows/1/lease", None),
    ("PUT", "/api/rows/1/draft", {"text": ">x", "version": 0, "tab": "t"}),
    ("DELETE", "/api/rows/1/draft", None),
    ("POST", "/api/rows/1/decision", DECISION),
    ("POST", "/api/undo", {"request_id": "r"}),
]
READS = [
    "/api/facets", "/api/progress", "/api/rows", "/api/rows/1", "/api/rows/1/history", "/api/rows/1/image",
]  # fmt: skip


def code(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"]["code"])


def raw(
    url: str, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """A request whose path nobody tidies up on the way."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    try:
        connection._validate_path = lambda _: None  # type: ignore[method-assign]
        connection.putrequest(method, path, skip_host="Host" in (headers or {}), skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def state(here: Desk) -> list[tuple[Any, ...]]:
    with here.database.reading() as connection:
        tables = ("versions", "drafts", "leases", "undo_steps", "drafts_set_aside")
        return [(table, *tuple(row)) for table in tables for row in connection.execute(f"SELECT * FROM {table}")]  # noqa: S608


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_a_change_needs_our_page_a_session_and_its_token(here: Desk, method: str, path: str, body: Any) -> None:
    ann, nobody = here.person(), here.person(None)
    before = state(here)
    port = here.url.rpartition(":")[2]
    for headers in (
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": ""},
        {"Origin": f"http://localhost:{port}"}, {"Origin": f"https://127.0.0.1:{port}"},
        {"Origin": "http://127.0.0.1:1"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"}, {"X-Greentext-CSRF": ""}, {"X-Greentext-CSRF": "x" * 32},
        {"X-Greentext-CSRF": nobody.csrf},
    ):  # fmt: skip
        assert code(ann.ask(method, path, body, **headers), 403) == "cross_site"
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1.evil.example",
        "[::1",
        "",
        "localhost@evil.example",
    ):
        assert code(ann.ask(method, path, body, Host=host, Origin=f"http://{host}"), 403) == "bad_host"
    if path != "/api/session" or method == "DELETE":
        assert code(nobody.ask(method, path, body), 401) == "not_signed_in"
    without_origin = nobody.http.build_request(method, path, json=body, headers={"X-Greentext-CSRF": nobody.csrf})
    del without_origin.headers["Origin"]
    assert code(nobody.http.send(without_origin), 403) == "cross_site"
    assert state(here) == before
    # And with all that it is done.
    assert ann.ask(method, path, body, **{"Sec-Fetch-Site": "same-origin"}).status_code in (200, 204, 409)


@pytest.mark.parametrize("path", READS)
def test_reading_needs_a_session_and_no_other_site(here: Desk, path: str) -> None:
    ann, nobody = here.person(), here.person(None)
    assert code(nobody.http.get(path), 401) == "not_signed_in"
    assert code(ann.http.get(path, headers={"Sec-Fetch-Site": "cross-site"}), 403) == "cross_site"
    assert code(ann.http.get(path, headers={"Host": "evil.example"}), 403) == "bad_host"
    assert ann.http.get(path, headers={"Sec-Fetch-Site": "same-origin"}).status_code in (200, 404)
    forged = Person(here.url)
    here.people.append(forged)
    name = next(iter(dict(ann.http.cookies)))
    for cookie in ("x", "eyJ0b2tlbiI6ICJ4In0.aaaaaa.bbbb", dict(ann.http.cookies)[name][:-2] + "xx"):
        forged.http.cookies.clear()
        forged.http.cookies.set(name, cookie)
        assert code(forged.http.get(path), 401) == "not_signed_in"


def test_hosts_that_are_ours(texts: Path) -> None:
    with desk(texts, access=Access(allow_hosts=("Desk.Example", "10.0.0.7"))) as here:
        port = here.url.rpartition(":")[2]
        for host in ("desk.example", "DESK.EXAMPLE:443", "10.0.0.7", f"localhost:{port}", "[::1]:80", "127.0.0.1."):
            assert raw(here.url, "/", headers={"Host": host})[0] == 200, host
        for host in ("desk.example.evil", "10.0.0.8", "0.0.0.1", "x"):
            assert raw(here.url, "/", headers={"Host": host})[0] == 403, host
    assert [name_in(host) for host in ("a:b", "[::1]", "[::1]:5001", "[::1]x", "A.:1", "")] == [
        "", "::1", "::1", "", "a", "",
    ]  # fmt: skip


def test_every_answer_tells_the_browser_what_not_to_do(here: Desk) -> None:
    ann = here.person()
    for path in ("/", "/assets/index-abc123.js", "/api/session", "/api/rows", "/nothing", "/api/nothing"):
        headers = ann.http.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"
        assert "camera=()" in headers["permissions-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "server" not in headers
        if path.startswith("/api"):
            assert headers["cache-control"] == "no-store"
    assert ann.http.get("/").headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert ann.http.get("/").headers["cache-control"] == "no-cache"
    assert "immutable" in ann.http.get("/assets/index-abc123.js").headers["cache-control"]
    cookie = Person(here.url)
    here.people.append(cookie)
    said = cookie.http.get("/api/session")
    assert "set-cookie" not in said.headers  # it has one by now
    cookie.http.cookies.clear()
    cookies = cookie.http.get("/api/session").headers["set-cookie"]
    assert "HttpOnly" in cookies
    assert "SameSite=Strict" in cookies
    assert "Secure" not in cookies


def tricks() -> list[str]:
    """Ways to say "up" and "elsewhere", before and behind what is served."""
    ups = [
        "..", "%2e%2e", "%2E.", ".%2e", "%252e%252e", "..%00", "%c0%ae%c0%ae", "..;", "...", "....//", "..\\", "..%5c",
        "%5c..", "..%2f", "%2e%2e%2f", "..%252f", "\u2025", "%u002e%u002e", ".%00.", "\uff5e",
    ]  # fmt: skip
    goals = [
        "secret", "curation.sqlite3", "etc/passwd", "app.py", "%2fetc%2fpasswd", "notes.py", "index.html%00.png",
        "proc/self/environ",
    ]  # fmt: skip
    starts = ["/", "/assets/", "/api/rows/1/image/", "//"]
    found = []
    for start in starts:
        for up in ups:
            for goal in goals:
                quoted = quote(f"{start}{up}/{up}/{goal}", safe="/%;\\.~")
                found.append(quoted)
    return found


def test_no_path_leads_out(here: Desk, tmp_path: Path) -> None:
    ann = here.person()
    cookie = "; ".join(f"{name}={value}" for name, value in dict(ann.http.cookies).items())
    secrets = [(here.folder / "secret").read_bytes(), b"root:", b"SQLite format", b"secret = 1", b"PATH="]
    paths = tricks()
    paths += [
        f"/{goal}"
        for goal in ("notes.py", "secret", "etc/passwd", "assets", "assets/", "assets/notes.py", ".", "%2fsecret")
    ]
    paths += [
        "/api/rows/..%2f..%2fsecret/image",
        "/api/rows/%2e%2e/image",
        "/assets/index-abc123.js/..%2f..%2fnotes.py",
    ]
    paths += [
        "http://127.0.0.1/etc/passwd",
        "/assets//etc/passwd",
        "/assets/%00",
        "/\\..\\..\\etc\\passwd",
        "/api/../secret",
    ]
    assert len(set(paths)) >= 500
    answers = {}
    for path in paths:
        status, headers, content = raw(here.url, path, headers={"Cookie": cookie})
        assert status in (400, 403, 404, 405), (path, status, content[:100])
        assert not any(secret in content for secret in secrets), path
        answers[status] = answers.get(status, 0) + 1
        assert "location" not in headers
    assert answers.get(404, 0) > 400


def test_links_beside_the_page_are_not_served(tmp_path: Path) -> None:
    folder = built_page(tmp_path / "page")
    (tmp_path / "secret.js").write_text("1", encoding="utf-8")
    (folder / "assets" / "link.js").symlink_to(tmp_path / "secret.js")
    page = Page(folder)
    assert page.file("assets/link.js") is None
    assert page.file("notes.py") is None
    assert page.file("assets/index-abc123.js") == (b"'use strict';", "text/javascript; charset=utf-8")
    (folder / "assets" / "later.css").write_text("a{}", encoding="utf-8")
    assert page.file("assets/later.css") == (b"a{}", "text/css; charset=utf-8")
    (folder / "assets" / "later.css").unlink()
    assert page.file("assets/later.css") is None
    with pytest.raises(StageError, match="make frontend"):
        Page(tmp_path / "none")


PAYLOADS = [
    template.replace("$", spelling)
    for spelling in ("alert(1)", "fetch('//evil.example')", "location='x'", "document.title=1", "a`1`")
    for template in (
        "<script>$</script>", "<img src=x onerror=$>", "<svg onload=$>", '"><script>$</script>', "'-$-'",
        "javascript:$", "</textarea><script>$</script>", "{{$}}", "${$}", "<iframe srcdoc='<script>$</script>'>",
        "<a href=javascript:$>x</a>", "<!--<script>$", "</script><script>$</script>", "\\u003cscript>$",
        "<style>@import '$'</style>", "<body onload=$>", "&lt;script&gt;$", "<math><mi//xlink:href='javascript:$'>",
        "<x contenteditable onblur=$>", "\u2028$\u2029\x00\x1b[31m",
    )
]  # fmt: skip


def test_scripts_in_texts_are_texts(tmp_path: Path) -> None:
    assert len(set(PAYLOADS)) == 100
    rows = [
        row_of(n, text=f">{payload}\n>x", raw_text=payload, theme=payload, origin=payload)
        for n, payload in enumerate(PAYLOADS, start=1)
    ]
    bring_in(tmp_path / "c", write_rows(tmp_path / "in" / "kept.jsonl", rows))
    with desk(tmp_path / "c") as here:
        ann = here.person("<script>alert(1)</script>")
        for number, payload in enumerate(PAYLOADS, start=1):
            answer = ann.http.get(f"/api/rows/{number}")
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-content-type-options"] == "nosniff"
            row = answer.json()
            assert row["text"] == f">{payload}\n>x"
            assert (row["raw_text"], row["theme"], row["origin"]) == (payload, payload, payload)
            saved = ann.decided(row, "save", f"{payload}!", note=payload)
            assert (saved["text"], saved["note"]) == (f"{payload}!", payload)
            found = ann.get("/api/rows", search=payload[:100])
            assert str(number) in [summary["id"] for summary in found["rows"]]
        for payload in PAYLOADS:
            answer = ann.http.get(f"/{quote(payload)}")
            assert answer.status_code in (400, 404)
            assert answer.headers["content-type"] == "application/json"


def test_pictures_are_shown_for_what_they_are_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "in"
    write_rows(source / "kept.jsonl", [row_of(n, image=f"{n}.png") for n in range(1, 4)])
    for number, kind in enumerate(("PNG", "JPEG", "WEBP"), start=1):
        (source / f"{number}.png").write_bytes(encoded(screenshot(f">be me {number}\n>find dog"), kind))
    bring_in(tmp_path / "c", source)
    images = tmp_path / "c" / "images"
    (tmp_path / "outside.png").write_bytes((source / "1.png").read_bytes())
    with desk(tmp_path / "c") as here:
        ann = here.person()
        for number, kind in enumerate(("image/png", "image/jpeg", "image/webp"), start=1):
            answer = ann.http.get(f"/api/rows/{number}/image")
            assert answer.headers["content-type"] == kind
            assert answer.content == (source / f"{number}.png").read_bytes()
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            assert ann.row(str(number))["has_image"]
        with here.database.reading() as connection:
            name = connection.execute("SELECT image FROM rows WHERE id = 1").fetchone()[0]
        # A file that turned into something else.
        for content in (
            b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
            b"<script>",
            b"%PDF",
            b"",
            b"RIFF1234WAVE",
        ):
            (images / name).write_bytes(content)
            assert code(ann.http.get("/api/rows/1/image"), 404) == "no_such_row"
        # A link, a pipe, a folder, nothing.
        (images / name).unlink()
        assert ann.http.get("/api/rows/1/image").status_code == 404
        (images / name).symlink_to(tmp_path / "outside.png")
        assert ann.http.get("/api/rows/1/image").status_code == 404
        (images / name).unlink()
        os.mkfifo(images / name)
        assert ann.http.get("/api/rows/1/image").status_code == 404
        (images / name).unlink()
        (images / name).mkdir()
        assert ann.http.get("/api/rows/1/image").status_code == 404
        # The folder itself.
        (images / name).rmdir()
        images.rename(tmp_path / "elsewhere")
        images.symlink_to(tmp_path / "elsewhere")
        assert ann.http.get("/api/rows/2/image").status_code == 404
        with pytest.raises(StageError, match="is a link"):
            PictureFolder(tmp_path / "c")
        images.unlink()
        (tmp_path / "elsewhere").rename(images)
        assert ann.http.get("/api/rows/2/image").status_code == 200
        # A name that is none of ours, whoever wrote it into the database.
        for wrong in (
            "../secret",
            "/etc/passwd",
            "../../outside.png",
            "x.svg",
            f"{name}\n",
            f"./{name}",
            "a" * 64 + ".svg",
        ):
            with here.database.writing() as connection:
                connection.execute("UPDATE rows SET image = ? WHERE id = 1", (wrong,))
            assert code(ann.http.get("/api/rows/1/image"), 404) == "no_such_row"


def test_a_password_is_asked_for_and_guessing_is_slow_work(texts: Path) -> None:
    access = Access(password="correct horse battery")
    with desk(texts, access=access) as here:
        nobody = here.person(None)
        assert nobody.get("/api/session")["password_needed"]
        for said in (None, "", "x", "correct horse batterY")[:TRIES]:
            refused = nobody.ask("POST", "/api/session", {"person": "Ann", "password": said})
            assert code(refused, 401) == "not_signed_in"
        ann = here.person("Ann", "correct horse battery")  # succeeding wipes the slate
        for _ in range(TRIES):
            assert nobody.ask("POST", "/api/session", {"person": "Ann", "password": "x"}).status_code == 401
        refused = nobody.ask("POST", "/api/session", {"person": "Ann", "password": "correct horse battery"})
        assert code(refused, 429) == "too_many_tries"
        assert 0 < int(refused.headers["retry-after"]) <= 300
        assert refused.json()["error"]["retry_after_s"] == int(refused.headers["retry-after"])
        assert ann.get("/api/progress")["total"] == 20
        cookies = dict(ann.http.cookies)
    # Another password ends all sessions, the same one none.
    for password, status in (("correct horse battery", 200), ("another password", 401)):
        with desk(texts, access=Access(password=password)) as here:
            again = here.person(None)
            again.http.cookies.clear()
            again.http.cookies.update(cookies)
            assert again.http.get("/api/progress").status_code == status


def test_tries_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    tries = Tries()
    for number in range(50):
        tries.failed(f"10.0.0.{number}")
    with pytest.raises(Exception, match="Too many"):
        tries.check("10.0.1.1")
    now[0] += 301
    tries.check("10.0.1.1")
    assert not tries._failed


def test_behind_a_proxy_cookies_are_secure_and_origins_are_its(texts: Path) -> None:
    access = Access(allow_hosts=("desk.example",), password="long enough", behind_proxy=True)
    with desk(texts, access=access) as here:
        ann = here.person(None)
        proxied = {"Host": "desk.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
        cookies = raw(here.url, "/api/session", headers=proxied)[1]["set-cookie"]
        assert "Secure" in cookies
        token = raw(here.url, "/api/session", headers=proxied)
        headers = proxied | {
            "Origin": "https://desk.example", "Cookie": token[1]["set-cookie"].partition(";")[0],
            "X-Greentext-CSRF": json.loads(token[2])["csrf"],
        }  # fmt: skip
        body = {"person": "Ann", "password": "long enough"}
        answer = ann.http.post("/api/session", json=body, headers=headers)
        assert answer.status_code == 200
        assert (
            ann.http.post("/api/session", json=body, headers=headers | {"X-Forwarded-Proto": "http"}).status_code == 403
        )
    # Without the option nobody's headers are believed.
    with desk(texts, access=Access(allow_hosts=("desk.example",))) as here:
        ann = here.person()
        wrong = {
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "evil.example",
            "Origin": here.url.replace("http", "https"),
        }
        assert ann.ask("POST", "/api/undo", {"request_id": "r"}, **wrong).status_code == 403


def test_errors_show_no_traceback(
    here: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ann = here.person()
    monkeypatch.setattr("data_pipeline.curation.routes.history_json", lambda *_: 1 / 0)
    answer = ann.http.get("/api/rows/1/history")
    assert code(answer, 500) == "internal_error"
    assert "Traceback" not in answer.text
    assert "Zero" not in answer.text
    number = answer.json()["error"]["message"].partition("number ")[2][:8]
    assert number in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_the_secret_is_its_owners(here: Desk) -> None:
    assert stat.S_IMODE((here.folder / "secret").stat().st_mode) == 0o600
    assert (here.folder / "secret").stat().st_size == 32


def test_nothing_in_the_code_leaves_the_machine() -> None:
    for path in (ROOT / "data_pipeline" / "curation").glob("*.py"):
        assert "urlopen" not in path.read_text(encoding="utf-8")
