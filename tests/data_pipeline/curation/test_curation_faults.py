from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import json
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from data_pipeline.curation.database import FILE_NAME
from tests.data_pipeline.curation.desk import Person, bring_in, desk, program, row_of, text_of, write_rows

if TYPE_CHECKING:
    from pathlib import Path

WRITERS_CHANGES = 1_000
KILLS = 20


def checked(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / FILE_NAME)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    return connection


@pytest.mark.slow
def test_two_programs_and_two_people_lose_no_change(tmp_path: Path) -> None:
    """Each program serves one person; both work on the same rows, and on some of their own."""
    folder = tmp_path / "c"
    bring_in(folder, write_rows(tmp_path / "in.jsonl", [row_of(n) for n in range(1, 31)]))
    with (
        program(folder) as (_, first),
        program(folder) as (_, second),
        concurrent.futures.ThreadPoolExecutor(2) as pool,
    ):
        work = [pool.submit(_work, url, name, own) for url, name, own in ((first, "Ann", 1), (second, "Bob", 2))]
        done = {name: result.result() for name, result in zip(("Ann", "Bob"), work, strict=True)}
    with contextlib.closing(checked(folder)) as connection:
        texts = set(connection.execute("SELECT person, text FROM versions WHERE action = 'save'"))
        assert texts == {(name, text) for name, saved in done.items() for text in saved}
        assert all(len(saved) == WRITERS_CHANGES for saved in done.values())
        # Each row's versions are a chain without a gap, whose end is the row.
        for row_id, version, text in connection.execute(
            "SELECT r.id, r.version, t.text FROM rows r JOIN row_texts t ON t.row_id = r.id"
        ):
            chain = list(
                connection.execute("SELECT version, text FROM versions WHERE row_id = ? ORDER BY version", (row_id,))
            )
            assert [number for number, _ in chain] == list(range(version + 1))
            assert chain[-1][1] == text
        (open_steps,) = connection.execute("SELECT count(*) FROM undo_steps").fetchone()
        assert open_steps == 2 * WRITERS_CHANGES
    # And the chain leads back: what can be taken back is, what another changed since is left out.
    with desk(folder) as here:
        for name in ("Ann", "Bob"):
            person = here.person(name)
            for _ in range(20):
                answer = person.undo(skip=True)
                assert answer.status_code in (200, 409)
        with here.database.reading() as connection:
            assert connection.execute("SELECT count(*) FROM versions WHERE action = 'undo'").fetchone()[0] > 0


def _work(url: str, name: str, own: int) -> list[str]:
    person = Person(url, name)
    person.http.close()
    cookies = "; ".join(f"{key}={value}" for key, value in dict(person.http.cookies).items())
    headers = {"Origin": url, "X-Greentext-CSRF": person.csrf, "Cookie": cookies, "Content-Type": "application/json"}
    saved: list[str] = []
    versions: dict[int, int] = {}
    # Bare HTTP: this measures the server's patience, not the client's.
    with contextlib.closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:
        for number in range(WRITERS_CHANGES):
            # Every tenth change is to a row that both want.
            row_id = 3 if number % 10 == 0 else 2 * (number % 13) + 3 + own
            text = f">{name} was here\n>for change {number}"
            for attempt in range(100):
                decision = {
                    "action": "save", "text": text, "version": versions.setdefault(row_id, 0), "tab": name,
                    "request_id": f"{number}-{attempt}",
                }  # fmt: skip
                connection.request("POST", f"/api/rows/{row_id}/decision", json.dumps(decision), headers)
                answer = connection.getresponse()
                content = json.loads(answer.read())
                if answer.status == 200:
                    versions[row_id] = content["row"]["version"]
                    saved.append(text)
                    break
                assert answer.status in (409, 503), content
                if answer.status == 409:
                    versions[row_id] = content["error"]["row"]["version"]
            else:
                raise AssertionError("never got through")
    return saved


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_kills_lose_nothing_that_was_acknowledged(texts: Path) -> None:
    acknowledged: dict[str, str] = {}
    drafts: dict[str, str] = {}
    cookies: Any = None
    for kill in range(KILLS):
        with program(texts) as (process, url), concurrent.futures.ThreadPoolExecutor(1) as pool:
            # The session outlives the server.
            person = Person(url, "Ann") if cookies is None else Person(url, cookies=cookies)
            cookies = dict(person.http.cookies)
            writing = pool.submit(_write_until_it_dies, person, kill, acknowledged, drafts)
            time.sleep(0.02 + 0.013 * kill)
            process.kill()
            writing.result(timeout=30)
        with contextlib.closing(checked(texts)) as connection:
            found = set(connection.execute("SELECT text FROM versions WHERE action = 'save'"))
            assert {(text,) for text in acknowledged.values()} <= found
            kept = dict(connection.execute("SELECT row_id, text FROM drafts WHERE person = 'Ann'"))
            # The newest that was acknowledged, or one that was written and not acknowledged any more.
            assert all(_serial(kept[int(row_id)]) >= _serial(text) for row_id, text in drafts.items())
    assert len(acknowledged) >= KILLS


def _serial(text: str) -> int:
    return int(text.rpartition(" ")[2])


def _write_until_it_dies(person: Person, kill: int, acknowledged: dict[str, str], drafts: dict[str, str]) -> None:
    with contextlib.closing(person.http), contextlib.suppress(httpx.TransportError):
        for number in range(100_000):
            row_id = str(1 + number % 10)
            serial = kill * 100_000 + number
            text = f">change {serial}"
            row = person.row(row_id)
            if person.decide(row, "save", text).status_code == 200:
                acknowledged[f"{kill}-{number}"] = text
            draft_row = person.row(str(11 + number % 5))
            if person.draft(draft_row, f">draft {serial}").status_code == 200:
                drafts[draft_row["id"]] = f">draft {serial}"


def test_an_answer_that_got_lost_is_given_again_after_a_restart(texts: Path) -> None:
    with program(texts) as (process, url):
        ann = Person(url, "Ann")
        row = ann.next()
        assert row is not None
        ann.draft(row, ">typed")
        first = ann.decide(row, "accept", ">typed\n>all", request_id="lost").json()
        process.kill()
        cookies = dict(ann.http.cookies)
        ann.http.close()
    with program(texts) as (process, url):
        ann = Person(url, cookies=cookies)
        assert ann.get("/api/session")["person"] == "Ann"
        assert ann.decide(row, "accept", ">typed\n>all", request_id="lost").json() == first
        assert len(ann.get(f"/api/rows/{row['id']}/history")["versions"]) == 2
        assert ann.undo().json()["row"]["text"] == text_of(1)
        ann.http.close()
        process.terminate()
        began_s = time.monotonic()
        assert process.wait(5) == 0
        assert time.monotonic() - began_s < 3
