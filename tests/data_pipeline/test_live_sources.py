"""The stage `fetch`, against search APIs that behave as the real ones do, and worse."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import live_sources, search_api
from data_pipeline.live_sources import PAGE, SOURCES, FetchSettings, run
from data_pipeline.rows import Submission
from data_pipeline.search_api import FetchError
from data_pipeline.stage import KEPT, OtherSettingsError, StageError, Summary, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
BEGAN = 1_500_000_000
QUICK: dict[str, Any] = {"requests_per_minute": 1e6, "backoff_s": 0.005, "timeout_s": 5.0}


class Api:
    """A search API over HTTP that pages by time."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.inclusive = False
        self.asked: list[dict[str, str]] = []
        self.asked_at_s: list[float] = []
        self.agents: set[str] = set()
        self.faults: list[Callable[[BaseHTTPRequestHandler, bytes], None] | None] = []
        """What the next answers are in place of what they should be; None is as it should be."""
        self.headers: dict[str, str] = {}
        self.url = ""
        self.wrapped = True

    def answer(self, asked: dict[str, str]) -> list[dict[str, Any]]:
        after, before = int(asked["after"]), int(asked.get("before", 1 << 40))
        slack = 1 if self.inclusive else 0
        size = min(100, int(asked.get("limit") or asked["size"]))
        found = [
            record
            for record in sorted(self.records, key=lambda record: float(record["created_utc"]))
            if record["subreddit"].lower() == asked["subreddit"].lower()
            and after - slack < float(record["created_utc"]) < before + slack
        ]
        return found[:size] if asked["sort"] == "asc" else found[::-1][:size]

    def add(self, count: int, *, step: int = 60, subreddit: str = "wholesomegreentext", **fields: Any) -> None:
        first = len(self.records)
        self.records += [
            {"id": f"{first + n:x}", "subreddit": subreddit, "created_utc": BEGAN + (first + n) * step, "title": "t",
             "author": "SECRET", **fields}
            for n in range(count)
        ]  # fmt: skip


@contextlib.contextmanager
def serving() -> Iterator[Api]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            api.asked.append(asked)
            api.asked_at_s.append(time.monotonic())
            api.agents.add(self.headers["User-Agent"])
            records = api.answer(asked)
            body = json.dumps({"data": records} if api.wrapped else records).encode()
            fault = api.faults.pop(0) if api.faults else None
            if fault is None:
                send(self, body, headers=api.headers)
            else:
                fault(self, body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_port}/api/posts/search"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield api
    server.shutdown()
    server.server_close()


def send(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    status: int = 200,
    headers: dict[str, str] | None = None,
    length: int = -1,
) -> None:
    with contextlib.suppress(OSError):
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body) if length < 0 else length))
        handler.end_headers()
        handler.wfile.write(body)
        handler.wfile.flush()


def status(code: int, text: bytes = b"", **headers: str) -> Callable[[BaseHTTPRequestHandler, bytes], None]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, _: send(handler, text, code, named)


def cut_off(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    send(handler, body[: len(body) // 2], length=len(body))
    handler.close_connection = True


def half_json(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    send(handler, body[: len(body) // 2])


def hang_up(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def bad_gzip(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    send(handler, b"\x1f\x8b" + body, headers={"Content-Encoding": "gzip"})


def slow(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    with contextlib.suppress(OSError):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        for byte in body:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(0.05)


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as api:
        yield api


def fetch(api: Api, folder: Path, *, restart: bool = False, **choices: Any) -> Summary:
    return run([], folder, FetchSettings(base_url=api.url, **{**QUICK, **choices}), restart=restart)


def ids(folder: Path) -> list[int]:
    return [int(row.id, 16) for row in read_rows(folder, Submission)]


@pytest.mark.parametrize("source", list(SOURCES))
@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 350])
def test_all_pages_come_the_oldest_first(api: Api, tmp_path: Path, source: str, inclusive: bool, count: int) -> None:
    api.add(count)
    api.inclusive = inclusive
    summary = fetch(api, tmp_path / "out", source=source)
    assert ids(tmp_path / "out") == list(range(count))
    assert (summary.kept, summary.dropped, summary.counted) == (count, {}, {})
    assert {asked[SOURCES[source].size] for asked in api.asked} == {"100"}
    assert "SECRET" not in (tmp_path / "out" / KEPT).read_text()
    assert api.agents == {FetchSettings().user_agent}


class Direct:
    """Asks an API without HTTP, which is what most of the time goes by in."""

    api: Api

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, parameters: dict[str, str | int]) -> list[dict[str, Any]]:
        self.api.asked.append({name: str(value) for name, value in parameters.items()})
        assert len(self.api.asked) < 100
        return self.api.answer(self.api.asked[-1])


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40) | st.integers(90, 220)), max_size=4), st.booleans())
def test_submissions_that_share_a_second_come_once_and_all(
    tmp_path_factory: pytest.TempPathFactory, seconds: list[tuple[int, int]], inclusive: bool
) -> None:
    api = Direct.api = Api()
    api.inclusive = inclusive
    second = BEGAN
    for gap, count in seconds:
        second += gap
        api.add(count)
        for record in api.records[-count:]:
            record["created_utc"] = second
    out = tmp_path_factory.mktemp("fetch") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_sources, "SearchApi", Direct)
        summary = fetch(api, out)
    found = ids(out)
    assert len(found) == len(set(found))
    if not summary.counted.get("crowded_second"):
        assert sorted(found) == list(range(len(api.records)))
    else:  # two pages hold 200; `after` may let one more second in, and the page begins a second early
        per_second = Counter(record["created_utc"] for record in api.records)
        assert any(sum(per_second[second - back] for back in range(3)) >= 2 * PAGE for second in list(per_second))


def test_a_second_with_more_than_two_pages_is_told(api: Api, tmp_path: Path) -> None:
    api.add(500)
    for record in api.records[100:400]:
        record["created_utc"] = BEGAN + 6000
    for n, record in enumerate(api.records[400:]):
        record["created_utc"] = BEGAN + 7000 + n
    summary = fetch(api, tmp_path / "out")
    assert summary.counted["crowded_second"] == 1
    assert summary.kept == 400
    assert len(set(ids(tmp_path / "out"))) == 400


def test_days_bound_what_is_asked_for(api: Api, tmp_path: Path) -> None:
    midnight = int(datetime(2020, 3, 1, tzinfo=UTC).timestamp())
    for inclusive in (False, True):
        api.records.clear()
        api.inclusive = inclusive
        api.add(400)
        for n, record in enumerate(api.records):
            record["created_utc"] = midnight + (n - 100) * 864
        fetch(api, tmp_path / "out", since=date(2020, 3, 1), until="2020-03-03", restart=True)
        assert ids(tmp_path / "out") == list(range(100, 300))


def test_several_subreddits_are_fetched_each_by_itself(api: Api, tmp_path: Path) -> None:
    api.add(150, subreddit="greentext")
    api.add(120, subreddit="WholesomeGreentext")
    summary = fetch(api, tmp_path / "out", subreddits=("wholesomegreentext", "greentext", "GREENTEXT"))
    assert ids(tmp_path / "out") == [*range(150, 270), *range(150)]
    assert summary.counted == {}


def test_records_that_are_none_are_set_aside_without_their_words(api: Api, tmp_path: Path) -> None:
    api.add(120)
    api.records[50]["id"] = "SECRET IN A PLACE WHERE NOBODY EXPECTS IT, LONG ENOUGH TO BE CUT"
    api.records[60]["id"] = None
    api.records[70] |= {"created_utc": str(api.records[70]["created_utc"])}
    summary = fetch(api, tmp_path / "out")
    assert summary.kept == 118
    assert summary.dropped == {"no_id": 2}


TROUBLES: dict[str, Callable[[BaseHTTPRequestHandler, bytes], None]] = {
    "429": status(429),
    "429 for a moment": status(429, b'{"error": "slow down"}', Retry_After="0"),
    "500": status(500, b"<html>"),
    "502": status(502),
    "503 until a date long past": status(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "520": status(520),
    "408": status(408),
    "a query that took too long": status(422, b'{"error": "Timeout. Maybe slow down a bit"}'),
    "an error in place of data": status(200, b'{"data": null, "error": "query failed"}'),
    "html": status(200, b"<html>checking your browser</html>"),
    "nothing": status(200, b""),
    "a number": status(200, b"3"),
    "cut off": cut_off,
    "half of the JSON": half_json,
    "hung up": hang_up,
    "no gzip": bad_gzip,
}


@pytest.mark.parametrize("trouble", list(TROUBLES))
def test_troubles_pass(api: Api, tmp_path: Path, trouble: str) -> None:
    api.add(250)
    api.faults = [None, TROUBLES[trouble], TROUBLES[trouble], None, TROUBLES[trouble]]
    fetch(api, tmp_path / "out")
    assert ids(tmp_path / "out") == list(range(250))
    # The same is asked again, not the next.
    assert api.asked[1] == api.asked[2] == api.asked[3]


def test_silence_and_trickles_end_after_the_time_they_have(api: Api, tmp_path: Path) -> None:
    api.add(50)
    api.faults = [slow, lambda handler, body: time.sleep(1.0), None]
    begun_s = time.monotonic()
    fetch(api, tmp_path / "out", timeout_s=0.3)
    assert ids(tmp_path / "out") == list(range(50))
    assert time.monotonic() - begun_s < 5


def test_retry_after_is_waited_for(api: Api, tmp_path: Path) -> None:
    api.add(3)
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    api.faults = [status(429, Retry_After="1"), status(503, Retry_After=date)]
    fetch(api, tmp_path / "out")
    first, second, third = api.asked_at_s[:3]
    assert second - first >= 0.99
    assert third - first >= 0.99  # dates have whole seconds
    assert ids(tmp_path / "out") == [0, 1, 2]


def test_the_last_request_that_is_allowed_is_followed_by_a_pause(api: Api, tmp_path: Path) -> None:
    api.add(150)
    for reset in ("0.5", str(time.time() + 2)):
        api.headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
        api.asked_at_s.clear()
        fetch(api, tmp_path / "out", restart=True)
        assert api.asked_at_s[1] - api.asked_at_s[0] >= 0.45
    api.headers = {"X-RateLimit-Remaining": "17", "X-RateLimit-Reset": "100"}
    fetch(api, tmp_path / "out", restart=True)
    api.headers = {"X-RateLimit-Remaining": "nan", "X-RateLimit-Reset": "soon"}
    fetch(api, tmp_path / "out", restart=True)


def test_requests_keep_their_distance(api: Api, tmp_path: Path) -> None:
    api.add(250)
    fetch(api, tmp_path / "out", requests_per_minute=600)
    assert len(api.asked_at_s) == 4
    assert api.asked_at_s[-1] - api.asked_at_s[0] >= 0.28  # three gaps of 0.1 s, but for the first one's way here


def test_too_long_a_wait_ends_the_run_which_goes_on_later(api: Api, tmp_path: Path) -> None:
    api.add(250)
    api.faults = [None, status(429, Retry_After="3600")]
    with pytest.raises(FetchError, match=r"left alone for 3,600 s .*--max-wait-s"):
        fetch(api, tmp_path / "out")
    asked = len(api.asked)
    fetch(api, tmp_path / "out")
    assert ids(tmp_path / "out") == list(range(250))
    assert api.asked[asked] == api.asked[asked - 1]  # from where it stopped


def test_a_page_that_never_comes_ends_the_run_with_what_was_the_matter(api: Api, tmp_path: Path) -> None:
    api.add(250)
    api.faults = [None, *[status(503, b'{"error": "tired"}')] * 3]
    with pytest.raises(FetchError, match=r"failed 3 times, the last time because of status 503: tired: start again"):
        fetch(api, tmp_path / "out", attempts=3)
    assert fetch(api, tmp_path / "out").kept == 250


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (status(403, b'{"detail": "banned"}'), "refuses with status 403: banned"),
        (status(404), "refuses with status 404: are --base-url"),
        (status(400, b'{"error": "unknown subreddit"}'), "400: unknown subreddit"),
        (status(422, b'{"error": "limit must be at most 100"}'), "422: limit"),
        (status(301, Location="https://example.com/"), "refuses with status 301"),
    ],
)
def test_refusals_are_final(
    api: Api, tmp_path: Path, fault: Callable[[BaseHTTPRequestHandler, bytes], None], message: str
) -> None:
    api.faults = [fault] * 9
    with pytest.raises(FetchError, match=message):
        fetch(api, tmp_path / "out")
    assert len(api.asked) == 1


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"failed 2 times, the last time because of ConnectError"):
        run([], tmp_path / "out", FetchSettings(base_url="http://127.0.0.1:1/", attempts=2, **QUICK))
    with pytest.raises(FetchError, match="--base-url"):
        run([], tmp_path / "out2", FetchSettings(base_url="gopher://x", attempts=1, **QUICK))


def test_an_answer_without_end_is_refused(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_api, "MAX_ANSWER_BYTES", 1 << 20)
    api.faults = [lambda handler, _: send(handler, gzip.compress(bytes(1 << 24)), headers={"Content-Encoding": "gzip"})]
    with pytest.raises(FetchError, match="answers more than 1,048,576 bytes"):
        fetch(api, tmp_path / "out")


def test_an_api_that_pages_otherwise_is_noticed(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.add(250)
    monkeypatch.setattr(api, "answer", lambda asked: api.records[:-101:-1])
    with pytest.raises(FetchError, match="was given the newest"):
        fetch(api, tmp_path / "out")
    monkeypatch.setattr(api, "answer", lambda asked: api.records[:100])
    with pytest.raises(FetchError, match=r"was given one of 1500000000"):
        fetch(api, tmp_path / "out", restart=True)
    monkeypatch.setattr(api, "answer", lambda asked: [{**record, "subreddit": "x"} for record in api.records[:100]])
    with pytest.raises(FetchError, match="holds no submission to r/wholesomegreentext"):
        fetch(api, tmp_path / "out", restart=True)


def test_a_finished_run_asks_for_nothing(api: Api, tmp_path: Path) -> None:
    api.add(5)
    first = fetch(api, tmp_path / "out")
    asked = len(api.asked)
    assert fetch(api, tmp_path / "out", requests_per_minute=5) == first
    assert len(api.asked) == asked
    with pytest.raises(OtherSettingsError, match="since"):
        fetch(api, tmp_path / "out", since=date(2020, 1, 1))
    with pytest.raises(StageError, match="reads no files"):
        run([tmp_path], tmp_path / "out2", FetchSettings())


@pytest.mark.parametrize("pages", [1, 2, 3, 4, 5])
def test_a_stopped_run_goes_on_without_loss_or_repetition(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    api.add(430)
    for record in api.records[80:260]:  # crowded, so that it may stop there too
        record["created_utc"] = BEGAN + 4800
    for n, record in enumerate(api.records[260:]):
        record["created_utc"] = BEGAN + 5000 + n // 3

    class Killed(BaseException):
        pass

    real = search_api.SearchApi.ask
    asked = 0

    def stopping(self: search_api.SearchApi, parameters: dict[str, Any]) -> list[Any]:
        nonlocal asked
        asked += 1
        if asked > pages:
            raise Killed
        return real(self, parameters)

    with monkeypatch.context() as patch:
        patch.setattr(search_api.SearchApi, "ask", stopping)
        with pytest.raises(Killed):
            fetch(api, tmp_path / "out")
    fetch(api, tmp_path / "out")
    found = ids(tmp_path / "out")
    assert sorted(found) == list(range(430))


PROGRAM = """
import sys
from pathlib import Path
from data_pipeline.live_sources import FetchSettings, run
run([], Path(sys.argv[1]), FetchSettings(base_url=sys.argv[2], requests_per_minute=1200, backoff_s=0.01))
"""


@pytest.mark.slow
def test_killed_again_and_again_it_gets_everything_once(api: Api, tmp_path: Path) -> None:
    api.add(1500, step=1)
    for record in api.records:
        record["created_utc"] = BEGAN + (record["created_utc"] - BEGAN) // 4
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "out"), api.url]
    kills = 0
    for _ in range(4):
        asked = len(api.asked)
        process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(api.asked) < asked + 4:
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 3
    subprocess.run(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL, check=True)
    assert ids(tmp_path / "out") == list(range(1500))
    assert len(api.asked) < 40  # about 17 pages, and one more for each kill


@pytest.mark.skipif("GTX_LIVE" not in os.environ, reason="asks the real APIs; set GTX_LIVE=1")
@pytest.mark.parametrize("source", list(SOURCES))
def test_the_real_apis(tmp_path: Path, source: str) -> None:
    choices: dict[str, Any] = {"source": source, "since": date(2018, 1, 1), "until": date(2018, 1, 3)}
    summary = run([], tmp_path / "out", FetchSettings(**choices))
    assert summary.kept > 5
