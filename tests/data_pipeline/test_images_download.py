"""Downloads from hosts that misbehave, each in its way, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import shutil
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.errors import StageError
from data_pipeline.images import ImagesSettings, addresses, download
from data_pipeline.images.download import Downloader
from data_pipeline.images.hosts import retry_after_s
from data_pipeline.images.refusals import Reason, RefusedError, UnreachableError
from tests.data_pipeline.picture_server import PictureServer, Request, encoded, picture_server, screenshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = encoded(screenshot(">be me\n>be a picture\n>somebody looks at me"))
QUICK: dict[str, Any] = {
    "private_addresses": True, "host_interval_s": 0.0, "backoff_s": 0.01, "tries": 3, "stall_timeout_s": 0.5,
    "download_timeout_s": 1.5, "max_bytes": 200_000,
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with picture_server() as server:
        yield server


def fetch(url: str, path: Path, **settings: Any) -> str:
    async def once() -> str:
        async with Downloader(ImagesSettings(**{**QUICK, **settings})) as downloader:
            return await downloader.fetch(url, path)

    return asyncio.run(once())


def refused(url: str, path: Path, **settings: Any) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        fetch(url, path, **settings)
    return caught.value


def broken(request: Request) -> None:
    request.answer(status=500)


def fine(request: Request) -> None:
    request.answer(PAGE, content_type="image/png")


def test_a_picture_arrives_and_the_host_sees_who_asks_for_what(server: PictureServer, tmp_path: Path) -> None:
    url = server.do("/a.png", fine)
    assert fetch(url, tmp_path / "a", user_agent="tester (tester@example.com)") == url
    assert (tmp_path / "a").read_bytes() == PAGE
    headers = server.requests[0].headers
    assert headers["user-agent"] == "tester (tester@example.com)"
    assert "text/html" not in headers["accept"]
    assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, Reason.GONE), (410, Reason.GONE), (451, Reason.GONE), (401, Reason.FORBIDDEN), (403, Reason.FORBIDDEN),
     (418, Reason.REFUSED), (204, Reason.REFUSED), (206, Reason.REFUSED), (304, Reason.REFUSED)],
)  # fmt: skip
def test_a_plain_no_is_taken_at_once(server: PictureServer, tmp_path: Path, status: int, reason: Reason) -> None:
    # The body may well be a picture: Reddit's placeholder comes with a 404.
    url = server.serve("/a", PAGE if status not in {204, 304} else b"", status)
    assert refused(url, tmp_path / "a").reason is reason
    assert server.count("/a") == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520])
def test_a_busy_host_is_asked_again(server: PictureServer, tmp_path: Path, status: int) -> None:
    url = server.in_turn("/a", lambda request: request.answer(status=status), fine)
    fetch(url, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == PAGE
    assert server.count("/a") == 2


def test_a_broken_host_is_asked_as_often_as_told_and_no_more(server: PictureServer, tmp_path: Path) -> None:
    url = server.do("/a", broken)
    with pytest.raises(UnreachableError, match="500"):
        fetch(url, tmp_path / "a", tries=4)
    assert server.count("/a") == 4


def truncated(request: Request) -> None:
    request.answer(PAGE[:500], content_length=len(PAGE))


def reset(request: Request) -> None:
    request.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n" + PAGE[:100])
    request.reset()


def no_http(request: Request) -> None:
    request.send(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n")


def hang_up(request: Request) -> None:
    request.connection.close()


def stall(request: Request) -> None:
    request.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n" + PAGE[:100])
    time.sleep(0.8)


def empty(request: Request) -> None:
    request.answer(b"")


def endless_headers(request: Request) -> None:
    request.send(b"HTTP/1.1 200 OK\r\n")
    for _ in range(200):
        request.send(b"x-more: " + b"x" * 2000 + b"\r\n")


@pytest.mark.parametrize("fault", [truncated, reset, no_http, hang_up, stall, empty, endless_headers])
def test_an_answer_that_breaks_off_is_asked_for_again(server: PictureServer, tmp_path: Path, fault: Any) -> None:
    fetch(server.in_turn("/a", fault, fine), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == PAGE
    with pytest.raises(UnreachableError):
        fetch(server.do("/b", fault), tmp_path / "b", tries=2)
    assert server.count("/b") == 2


def test_a_body_that_drips_for_ever_is_given_up(server: PictureServer, tmp_path: Path) -> None:
    def drip(request: Request) -> None:
        request.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        for byte in PAGE:
            request.send(bytes([byte]))
            time.sleep(0.02)

    began_s = time.monotonic()
    with pytest.raises(UnreachableError, match=r"more than 0.5 s"):
        fetch(server.do("/a", drip), tmp_path / "a", tries=1, download_timeout_s=0.5)
    assert time.monotonic() - began_s < 3


def test_nobody_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UnreachableError):
        fetch(f"http://127.0.0.1:{port}/a", tmp_path / "a")


def test_an_endless_body_is_left_at_the_limit(server: PictureServer, tmp_path: Path) -> None:
    def endless(request: Request) -> None:
        request.send(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n" + PAGE)
        for _ in range(2000):
            request.send(bytes(65536))

    assert refused(server.do("/a", endless), tmp_path / "a").reason is Reason.TOO_MANY_BYTES
    assert (tmp_path / "a").stat().st_size <= QUICK["max_bytes"]


def test_an_announced_size_is_believed_when_it_is_too_large(server: PictureServer, tmp_path: Path) -> None:
    url = server.do("/a", lambda request: request.answer(PAGE, content_length=10**17))
    assert refused(url, tmp_path / "a").reason is Reason.TOO_MANY_BYTES
    assert server.count("/a") == 1


def test_a_file_at_the_limit_is_taken_and_one_above_is_not(server: PictureServer, tmp_path: Path) -> None:
    url = server.do("/a", fine)
    fetch(url, tmp_path / "a", max_bytes=len(PAGE))
    assert refused(url, tmp_path / "a", max_bytes=len(PAGE) - 1).reason is Reason.TOO_MANY_BYTES


@pytest.mark.parametrize("packed", [gzip.compress(PAGE), zlib.compress(PAGE)], ids=["gzip", "deflate"])
def test_a_packed_answer_is_unpacked(server: PictureServer, tmp_path: Path, packed: bytes) -> None:
    encoding = "gzip" if packed[:2] == b"\x1f\x8b" else "deflate"
    fetch(server.serve("/a", packed, content_encoding=encoding), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == PAGE
    with pytest.raises(UnreachableError, match="cut off"):
        fetch(server.serve("/b", packed[:-9], content_encoding=encoding), tmp_path / "b")
    with pytest.raises(UnreachableError, match="damaged"):
        fetch(server.serve("/c", b"\x1f\x8b\xff" + packed, content_encoding=encoding), tmp_path / "c")


def test_a_gzip_bomb_is_never_unpacked(server: PictureServer, tmp_path: Path) -> None:
    bomb = gzip.compress(PAGE + bytes(50_000_000))
    assert len(bomb) < 100_000
    url = server.serve("/a", bomb, content_encoding="gzip")
    tracemalloc.start()
    try:
        assert refused(url, tmp_path / "a").reason is Reason.TOO_MANY_BYTES
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert (tmp_path / "a").stat().st_size <= QUICK["max_bytes"]


def test_an_unknown_packing_is_refused(server: PictureServer, tmp_path: Path) -> None:
    assert refused(server.serve("/a", PAGE, content_encoding="zstd"), tmp_path / "a").reason is Reason.REFUSED


def test_a_page_with_the_name_and_type_of_a_picture_is_not_read_on(server: PictureServer, tmp_path: Path) -> None:
    page = b"<!DOCTYPE html><html><title>see our picture!</title>" + b"x" * 100_000
    error = refused(server.serve("/a.png", page, content_type="image/png"), tmp_path / "a")
    assert error.reason is Reason.NOT_A_PICTURE
    assert "HTML" in error.detail
    assert (tmp_path / "a").stat().st_size == 0


def redirect(to: str, status: int = 302) -> Any:
    return lambda request: request.answer(status=status, location=to)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_to_other_hosts_too(server: PictureServer, tmp_path: Path, status: int) -> None:
    server.do("/c.png", fine)
    server.do("/b", redirect("c.png", status))
    url = server.do("/a", redirect(server.url("/b", "localhost"), status))
    assert fetch(url, tmp_path / "a") == server.url("/c.png", "localhost")


def test_a_circle_of_redirects_is_left(server: PictureServer, tmp_path: Path) -> None:
    server.do("/a", redirect(server.url("/b", "localhost")))
    server.do("/b", redirect(server.url("/a")))
    # With one place at each host: who kept his place while he follows would wait for himself.
    error = refused(server.url("/a"), tmp_path / "a", host_connections=1, max_redirects=4)
    assert error.reason is Reason.REDIRECTS
    assert len(server.requests) == 5


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://example.com/a", "http://me:secret@example.com/"])
def test_only_plain_web_addresses_are_followed(server: PictureServer, tmp_path: Path, target: str) -> None:
    assert refused(server.do("/a", redirect(target)), tmp_path / "a").reason is Reason.BAD_ADDRESS


@pytest.mark.parametrize(
    "url",
    ["", "no address", "file:///etc/passwd", "//example.com/a", "http:///a", "http://a\x00b", "javascript:alert(1)",
     "https://user@example.com/a", "http://xn--a.com:99999999/"],
)  # fmt: skip
def test_only_plain_web_addresses_are_fetched(tmp_path: Path, url: str) -> None:
    assert refused(url, tmp_path / "a").reason is Reason.BAD_ADDRESS


def test_imgur_s_placeholder_is_known_by_where_it_is_and_not_fetched(server: PictureServer, tmp_path: Path) -> None:
    url = server.do("/a.png", redirect("https://i.imgur.com/removed.png"))
    assert refused(url, tmp_path / "a").reason is Reason.DELETED
    marked = server.serve("/b.png", PAGE, etag='"d835884373f4d6c8f24742ceabe74946"')
    assert refused(marked, tmp_path / "b").reason is Reason.DELETED


# ------------------------------------------------------------------------------------- politeness


def fetch_all(urls: list[str], tmp_path: Path, **settings: Any) -> list[BaseException | str]:
    async def everything() -> list[BaseException | str]:
        async with Downloader(ImagesSettings(**{**QUICK, **settings})) as downloader:
            tasks = [downloader.fetch(url, tmp_path / str(number)) for number, url in enumerate(urls)]
            return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(everything())


def slow(request: Request) -> None:
    time.sleep(0.05)
    fine(request)


def test_a_host_has_no_more_than_its_share_at_a_time(server: PictureServer, tmp_path: Path) -> None:
    urls = [server.do(f"/{number}", slow) for number in range(12)]
    assert fetch_all(urls, tmp_path, host_connections=3) == urls
    assert server.most_active == 3
    server.most_active = 0
    elsewhere = [url.replace("127.0.0.1", f"127.0.0.{number + 1}") for number, url in enumerate(urls)]
    assert fetch_all(elsewhere, tmp_path, connections=5) == elsewhere
    assert server.most_active == 5


def test_the_time_of_a_download_begins_when_there_is_a_place_for_it(server: PictureServer, tmp_path: Path) -> None:
    def slower(request: Request) -> None:
        time.sleep(0.15)
        fine(request)

    urls = [server.do(f"/{number}", slower).replace("127.0.0.1", f"127.0.0.{number + 1}") for number in range(6)]
    assert fetch_all(urls, tmp_path, connections=1, download_timeout_s=0.6, tries=1) == urls


def test_each_try_waits_longer_than_the_one_before(server: PictureServer, tmp_path: Path) -> None:
    url = server.do("/a", broken)
    with pytest.raises(UnreachableError):
        fetch(url, tmp_path / "a", backoff_s=0.2, tries=3)
    first, second, third = (request.began_s for request in server.requests)
    assert 0.1 <= second - first < 0.3 + 0.5
    assert 0.2 <= third - second < 0.6 + 0.5


def test_downloads_of_a_host_begin_apart(server: PictureServer, tmp_path: Path) -> None:
    urls = [server.do(f"/{number}", fine) for number in range(6)]
    fetch_all(urls, tmp_path, host_interval_s=0.1)
    began_s = sorted(request.began_s for request in server.requests)
    assert began_s[-1] - began_s[0] >= 0.45


def test_a_host_that_asks_for_time_is_left_alone_by_all(server: PictureServer, tmp_path: Path) -> None:
    def busy(request: Request) -> None:
        request.answer(status=429, retry_after=1)

    urls = [server.in_turn("/0", busy, fine), *(server.do(f"/{number}", fine) for number in range(1, 5))]
    other = server.do("/other", slow).replace("127.0.0.1", "127.0.0.2")
    results = fetch_all([*urls, other], tmp_path, host_connections=1)
    assert results == [*urls, other]
    first, *later = [request.began_s for request in server.requests if request.host == "127.0.0.1"]
    assert min(later) - first >= 0.98
    assert next(request.began_s for request in server.requests if request.path == "/other") - first < 0.5


def test_a_date_to_come_back_is_kept_by_the_host_s_own_clock(server: PictureServer, tmp_path: Path) -> None:
    # This host's clock is a year behind.
    now = datetime.now(UTC).replace(microsecond=0) - timedelta(days=365)
    then = now + timedelta(seconds=1)
    headers = {"date": format_datetime(now, usegmt=True), "retry_after": format_datetime(then, usegmt=True)}
    url = server.in_turn("/a", lambda request: request.answer(status=503, **headers), fine)
    fetch(url, tmp_path / "a")
    first, second = (request.began_s for request in server.requests)
    assert 0.98 <= second - first < 3


def test_a_host_that_asks_for_too_much_time_is_given_up_at_once(server: PictureServer, tmp_path: Path) -> None:
    urls = [server.do(f"/{n}", lambda request: request.answer(status=429, retry_after=3600)) for n in range(5)]
    began_s = time.monotonic()
    results = fetch_all(urls, tmp_path, host_connections=1, max_wait_s=60)
    assert time.monotonic() - began_s < 5
    assert all(isinstance(result, UnreachableError) for result in results)
    assert "3600 s" in str(results[0]) + str(results[1])
    assert len(server.requests) == 1


def test_a_host_where_nothing_works_is_given_up(server: PictureServer, tmp_path: Path) -> None:
    urls = [server.do(f"/{number}", broken) for number in range(8)]
    results = fetch_all(urls, tmp_path, host_connections=1, tries=2, host_failures=3)
    assert all(isinstance(result, UnreachableError) for result in results)
    # Those that wait for their second try when it is given up do not ask any more.
    assert len(server.requests) <= 2 * 8 - 2
    assert any("given up: 3 pictures in a row" in str(result) for result in results)


@pytest.mark.parametrize("works", [fine, lambda request: request.answer(status=404)], ids=["picture", "404"])
def test_a_host_that_answers_now_and_then_is_not_given_up(server: PictureServer, tmp_path: Path, works: Any) -> None:
    async def in_turn() -> None:
        async with Downloader(ImagesSettings(**{**QUICK, "tries": 1, "host_failures": 2})) as downloader:
            for number in range(6):
                with contextlib.suppress(UnreachableError, RefusedError):
                    await downloader.fetch(server.do(f"/{number}", broken if number % 2 else works), tmp_path / "a")

    asyncio.run(in_turn())
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("", None), ("soon", None), ("-1", None), ("1.5", None), ("0", 0.0), (" 7 ", 7.0),
     ("9" * 400, 9999999999.0), ("٣", None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 30.0), ("Wednesday, 21-Oct-15 07:28:00 GMT", 30.0),
     ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0), ("Wed, 99 Oct 2015 07:28:00 GMT", None)],
)  # fmt: skip
def test_retry_after_is_read_in_all_its_spellings(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, "Wed, 21 Oct 2015 07:27:30 GMT") == seconds


@given(value=st.text(), date=st.none() | st.text())
def test_retry_after_may_say_anything(value: str, date: str | None) -> None:
    seconds = retry_after_s(value, date)
    assert seconds is None or seconds >= 0


# ------------------------------------------------------------------------------------ private addresses


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",  # noqa: S104
     "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
     "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1:2:3:4:5:6"],
)  # fmt: skip
def test_what_is_not_public(address: str) -> None:
    assert not addresses.is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "151.101.1.140", "2a04:4e42::396", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_what_is_public(address: str) -> None:
    assert addresses.is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "0.0.0.0", "[::1]"])  # noqa: S104
def test_an_address_at_home_is_refused_however_it_is_spelled(server: PictureServer, tmp_path: Path, host: str) -> None:
    server.do("/a", fine)
    assert refused(server.url("/a", host), tmp_path / "a", private_addresses=False).reason is Reason.PRIVATE_ADDRESS
    assert server.requests == []


def as_if_public(monkeypatch: pytest.MonkeyPatch, *public: str) -> None:
    real = addresses.is_public

    def is_public(address: str) -> bool:
        real(address)  # raises where it is none
        return address in public

    for module in (addresses, download):
        monkeypatch.setattr(module, "is_public", is_public)


@pytest.mark.parametrize("target", ["127.0.0.2", "localhost"])
def test_a_redirect_home_is_refused(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    as_if_public(monkeypatch, "127.0.0.3")
    server.do("/b", fine)
    server.do("/a", redirect(server.url("/b", target)))
    error = refused(server.url("/a", "127.0.0.3"), tmp_path / "a", private_addresses=False)
    assert error.reason is Reason.PRIVATE_ADDRESS
    assert [request.path for request in server.requests] == ["/a"]


def test_the_address_that_was_checked_is_the_one_that_is_asked(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that says something else the second time gains nothing."""
    answers = iter(["127.0.0.3"])
    real = socket.getaddrinfo

    def lookup(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host in {"pictures.example", b"pictures.example"}:
            return real(next(answers, "127.0.0.1"), port, *rest, **more)
        return real(host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    as_if_public(monkeypatch, "127.0.0.3")
    server.do("/a", fine)
    url = f"http://pictures.example:{server.port}/a"
    assert fetch(url, tmp_path / "a", private_addresses=False) == url
    assert server.requests[0].host == "pictures.example"
    assert refused(url, tmp_path / "a", private_addresses=False).reason is Reason.PRIVATE_ADDRESS


def test_a_name_with_one_public_and_one_private_address_is_refused(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: real("127.0.0.3", *rest, **more) + real("127.0.0.1", *rest, **more),
    )
    as_if_public(monkeypatch, "127.0.0.3")
    error = refused(f"http://pictures.example:{server.port}/a", tmp_path / "a", private_addresses=False)
    assert error.reason is Reason.PRIVATE_ADDRESS


def test_a_name_that_nobody_knows_is_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(UnreachableError, match="looked up"):
        fetch("http://pictures.example/a", tmp_path / "a", private_addresses=False)


def test_the_second_address_of_a_name_is_tried(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.do("/a", fine)
    tried = []
    real = httpcore.AnyIOBackend.connect_tcp

    async def connect(backend: Any, host: str, *rest: Any, **more: Any) -> Any:
        tried.append(host)
        if len(tried) == 1:
            raise httpcore.ConnectError("refused")
        return await real(backend, host, *rest, **more)

    lookup = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: lookup("127.0.0.4", *rest, **more) + lookup("127.0.0.3", *rest, **more),
    )
    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
    as_if_public(monkeypatch, "127.0.0.3", "127.0.0.4")
    fetch(f"http://pictures.example:{server.port}/a", tmp_path / "a", private_addresses=False, tries=1)
    assert tried == ["127.0.0.4", "127.0.0.3"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
@pytest.mark.parametrize("name", ["pictures.example", "other.example"])
def test_tls_is_checked_against_the_name_though_the_address_is_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=pictures.example",
         "-addext", "subjectAltName=DNS:pictures.example", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.3", *rest, **more))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    as_if_public(monkeypatch, "127.0.0.3")

    def serve_one(listener: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as connection:
            connection.recv(65536)
            head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(PAGE)
            connection.sendall(head + PAGE)

    with socket.create_server(("127.0.0.3", 0)) as listener:
        thread = threading.Thread(target=serve_one, args=(listener,))
        thread.start()
        url = f"https://{name}:{listener.getsockname()[1]}/a"
        if name == "pictures.example":
            assert fetch(url, tmp_path / "a", private_addresses=False) == url
        else:
            with pytest.raises(UnreachableError, match="certificate"):
                fetch(url, tmp_path / "a", private_addresses=False, tries=1)
        thread.join()


def test_a_proxy_is_used_when_asked_for(server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", server.url(""))
    monkeypatch.setenv("https_proxy", server.url(""))
    server.do("http://pictures.example/a", fine)
    settings = {"use_proxy": True, "private_addresses": False}
    assert fetch("http://pictures.example/a", tmp_path / "a", **settings) == "http://pictures.example/a"
    assert refused("http://169.254.169.254/", tmp_path / "a", **settings).reason is Reason.PRIVATE_ADDRESS
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StageError, match="HTTPS_PROXY"):
        fetch("http://pictures.example/a", tmp_path / "a", **settings)
