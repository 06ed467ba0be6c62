from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from data_pipeline.curation.progress import pace_per_hour
from data_pipeline.curation.reasons import REASONS
from greentext.genres import Genre
from tests.data_pipeline.curation.desk import bring_in, desk, row_of, text_of, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.data_pipeline.curation.desk import Desk


def code(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert error["message"].endswith((".", ")"))
    return str(error["code"])


def test_a_session_says_who_is_there_and_ends(here: Desk) -> None:
    ann = here.person(None)
    before = ann.get("/api/session")
    assert before == {
        "person": None, "csrf": ann.csrf, "password_needed": False, "signed_in": False, "tab_lease_s": 90.0,
        "store": before["store"],
    }  # fmt: skip
    signed = ann.ask("POST", "/api/session", {"person": "  Ann   B "}).json()
    assert (signed["person"], signed["signed_in"]) == ("Ann B", True)
    assert signed["csrf"] != ann.csrf
    ann.csrf = signed["csrf"]
    cookie = dict(ann.http.cookies)
    assert ann.get("/api/progress")["total"] == 20
    assert ann.ask("DELETE", "/api/session").status_code == 204
    assert code(ann.http.get("/api/progress"), 401) == "not_signed_in"
    # A copy of the cookie is worth nothing any more.
    other = here.person(None)
    other.http.cookies.update(cookie)
    assert code(other.http.get("/api/progress"), 401) == "not_signed_in"


@pytest.mark.parametrize("name", ["", " ", "x" * 41, "a\0b", "a\u202eb", "import", "IMPORT"])
def test_what_is_no_name_is_refused(here: Desk, name: str) -> None:
    assert code(here.person(None).ask("POST", "/api/session", {"person": name}), 422) == "bad_request"


def test_facets_name_what_there_is_and_what_can_be_given(here: Desk) -> None:
    assert here.person().get("/api/facets") == {
        "sources": ["written"],
        "genres": ["general"],
        "themes": [],
        "reasons": [{"code": name, "label": label} for name, label in REASONS.items()],
        "genres_to_give": list(Genre),
    }
    assert list(REASONS)[-1] == "other"


def test_a_list_filters_sorts_and_pages(tmp_path: Path) -> None:
    rows = [
        row_of(1, source="reddit-ocr", id="reddit-ocr:1", line_confidences=[0.9, 0.4, 0.8, 1.0], raw_text="x"),
        row_of(2, theme="cats"),
        row_of(3, text=">be me\n>say thanks, ÄRGER\n>100% of_it", source="synthetic", kind="simple"),
        row_of(4, text=">be me\nno marker\n>>1234", line_confidences=[0.7, 0.7, 0.7]),
        row_of(5, text=">be me\n>mail me at somebody.real@gmail.com\n>thanks"),
        row_of(6, line_confidences=[0.5]),
    ]
    bring_in(tmp_path / "c", write_rows(tmp_path / "in" / "kept.jsonl", rows))
    with desk(tmp_path / "c") as here:
        ann = here.person()
        assert ann.ids() == list("123456")
        assert ann.ids(source="reddit-ocr") == ["1"]
        assert ann.ids(genre="thanks") == ["3", "5"]
        assert ann.ids(below_confidence=0.7) == ["1"]
        assert ann.ids(below_confidence="1") == ["1", "4"]
        assert ann.ids(problem="any") == ["4"]
        assert ann.ids(warning="any") == ann.ids(warning="personal_data") == ["5"]
        assert ann.ids(warning="slur") == []
        assert ann.ids(search="Ärger") == ann.ids(search="ärgeR") == ["3"]
        assert ann.ids(search="100% of_") == ["3"]
        assert ann.ids(search="%") == ["3"]
        assert ann.ids(search="number", source="written") == ["2", "6"]
        assert ann.ids(order="confidence") == ["1", "4", "2", "3", "5", "6"]
        assert ann.ids(queue="accepted") == []
        ann.decided(ann.row("2"), "accept")
        assert ann.ids(queue="all", order="changed") == ["2", "6", "5", "4", "3", "1"]
        summary = ann.get("/api/rows", source="reddit-ocr")["rows"][0]
        assert summary == {
            "id": "1", "queue": "todo", "excerpt": "\n".join(text_of(1).split("\n")[:3]), "lines": 4,
            "source": "reddit-ocr", "genre": "general", "theme": "", "confidence": 0.4, "warnings": [], "problems": 0,
            "version": 0, "changed_at_s": summary["changed_at_s"], "held_by": None, "has_image": False,
            "has_draft": False,
        }  # fmt: skip
        broken = ann.row("4")
        assert [detail["line"] for detail in broken["problem_details"]] == [2, 3]
        assert broken["problems"] == 2
        assert ann.row("5")["warning_details"][0]["line"] == 2
        assert ann.row("6")["line_confidences"] == []  # as many as lines, or none


def test_pages_neither_repeat_nor_leave_out_while_others_decide(here: Desk) -> None:
    ann = here.person()
    for order in ("imported", "confidence", "changed"):
        seen: list[str] = []
        after = None
        while True:
            page = ann.get("/api/rows", queue="all", order=order, limit=7, **({"after": after} if after else {}))
            assert page["total"] == 20
            seen += [row["id"] for row in page["rows"]]
            after = page["next"]
            if order == "imported" and len(seen) == 7:
                for row_id in ("1", "20"):
                    ann.decided(ann.row(row_id), "skip")
            if after is None:
                break
        assert sorted(seen, key=int) == [str(number) for number in range(1, 21)]


@pytest.mark.parametrize(
    "query",
    [
        {"queue": "x"}, {"order": "x"}, {"limit": 0}, {"limit": 201}, {"limit": "x"}, {"limit": "²"},
        {"below_confidence": 2}, {"below_confidence": "nan"}, {"warning": "x"}, {"problem": "x"},
        {"search": "x" * 201}, {"after": "x"}, {"after": "WyJjb25maWRlbmNlIiwwLjYsMTFd"}, {"after": "W10"},
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_is_refused(here: Desk, query: dict[str, Any]) -> None:
    answer = here.person().http.get("/api/rows", params=query)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["code"] == "bad_request"


def test_each_person_is_handed_rows_of_their_own(here: Desk) -> None:
    ann, bob = here.person("Ann"), here.person("Bob")
    first = ann.next()
    assert first is not None
    assert (first["id"], first["held_by"]) == ("1", "Ann")
    second = bob.next()
    assert second is not None
    assert second["id"] == "2"
    assert bob.row("1")["held_by"] == "Ann"
    refused = bob.ask("POST", "/api/rows/1/lease", {"tab": "t"})
    assert code(refused, 409) == "held_by_another"
    assert refused.json()["error"]["person"] == "Ann"
    assert refused.json()["error"]["until_s"] == pytest.approx(time.time() + 90, abs=5)
    assert ann.ask("POST", "/api/rows/1/lease", {"tab": "t"}).json()["until_s"] > time.time() + 85
    third = ann.next(after="1")
    assert third is not None
    assert third["id"] == "3"
    # Another tab of the same person is handed something else as long as there is something else.
    tab = here.person("Ann", tab="tab-2")
    assert [row["id"] for row in (tab.next(), tab.next(after="4")) if row] == ["4", "5"]
    assert bob.ask("DELETE", "/api/rows/1/lease").status_code == 204  # not his: nothing happens
    assert ann.row("1")["held_by"] == "Ann"
    assert ann.ask("DELETE", "/api/rows/1/lease?tab=other").status_code == 204
    assert ann.row("1")["held_by"] == "Ann"
    assert ann.ask("DELETE", "/api/rows/1/lease").status_code == 204
    assert bob.next() == ann.row("1") | {"held_by": "Bob"}


def test_a_lease_ends_by_itself(texts: Path) -> None:
    with desk(texts, lease_s=0.2) as here:
        ann, bob = here.person("Ann"), here.person("Bob")
        first = ann.next()
        time.sleep(0.3)
        later = bob.next()
        assert first is not None
        assert later is not None
        assert first["id"] == later["id"] == "1"
        # Whoever decides first is right; the other is told, and keeps the text.
        bob.decided(later, "accept", ">bob")
        late = ann.decide(first, "accept", ">ann")
        assert code(late, 409) == "conflict"
        error = late.json()["error"]
        assert error["row"]["text"] == ">bob"
        assert error["yours"]["text"] == ">ann"
        assert ann.row("1")["draft"]["text"] == ">ann"
        assert bob.row("1")["draft"] is None
        mine = ann.decided(error["row"], "accept", ">ann")
        assert (mine["text"], mine["draft"]) == (">ann", None)


def test_next_goes_round_what_is_to_do_and_previous_goes_back(here: Desk) -> None:
    ann = here.person()
    twenty = ann.next(after="19")
    assert twenty is not None
    assert twenty["id"] == "20"
    for number in range(2, 20):
        ann.decided(ann.row(str(number)), "skip")
    first = ann.next(after="20")
    assert first is not None
    assert first["id"] == "1"
    previous = ann.previous(before="20")
    assert previous is not None
    assert previous["id"] == "1"
    assert ann.previous(before="1") is None
    ann.decided(first, "accept")
    assert ann.next(after="20") is None  # itself is not what comes next
    skipped = ann.next(after="18", queue="skipped", order="imported")
    assert skipped is not None
    assert skipped["id"] == "19"
    assert ann.next(after="19", queue="skipped") is None
    newest = ann.next(queue="all", order="changed")
    assert newest is not None
    assert newest["id"] == "1"
    older = ann.next(after="1", queue="all", order="changed")
    assert older is not None
    assert older["id"] == "19"
    back = ann.previous(before="19", queue="all", order="changed")
    assert back is not None
    assert back["id"] == "1"


def test_decisions_move_rows_and_undo_brings_them_back(here: Desk) -> None:
    ann = here.person()
    row = ann.row("1")
    accepted = ann.decided(row, "accept", "> be   me\n\n>“mended”", genre="thanks")
    assert (accepted["queue"], accepted["text"], accepted["genre"]) == ("accepted", '>be me\n>"mended"', "thanks")
    assert accepted["undo_depth"] == 1
    rejected = ann.decided(accepted, "reject", "anything", reason="misread", note="page cut")
    assert (rejected["queue"], rejected["reason"], rejected["note"]) == ("rejected", "misread", "page cut")
    assert rejected["problems"] == 1
    reopened = ann.decided(rejected, "reopen")
    assert (reopened["queue"], reopened["reason"], reopened["note"]) == ("todo", "", "")
    saved = ann.decided(reopened, "save", ">saved")
    assert (saved["queue"], saved["text"], saved["version"]) == ("todo", ">saved", 4)
    skipped = ann.decided(saved, "skip")
    for expected in (saved, reopened, rejected, accepted, row):
        answer = ann.undo().json()
        now = answer["row"]
        for name in ("text", "queue", "reason", "note", "genre", "problems", "excerpt"):
            assert now[name] == expected[name]
    assert answer["undone"]["action"] == "accept"
    assert answer["undone"]["row_id"] == "1"
    assert answer["undo_depth"] == 0
    assert code(ann.undo(), 409) == "nothing_to_undo"
    history = ann.get("/api/rows/1/history")["versions"]
    assert [version["action"] for version in history] == ["undo"] * 5 + [
        "skip", "save", "reopen", "reject", "accept", "import",
    ]  # fmt: skip
    assert [version["version"] for version in history] == list(range(10, -1, -1))
    assert history[5]["text"] == skipped["text"]
    assert {version["person"] for version in history} == {"Ann", "import"}
    assert history[-1]["person"] == "import"


def test_only_a_greentext_can_be_accepted(here: Desk) -> None:
    ann = here.person()
    row = ann.row("1")
    answer = ann.decide(row, "accept", ">be me\nno marker\n>>12345\n")
    assert code(answer, 422) == "bad_request"
    assert answer.json()["error"]["problems"] == [
        {"line": 2, "message": "does not begin with '>'"},
        {"line": 3, "message": "quotes another post"},
    ]
    assert code(ann.decide(row, "accept", " \n"), 422) == "bad_request"
    accepted = ann.decided(row, "accept")
    assert code(ann.decide(accepted, "save", "no marker"), 422) == "bad_request"
    assert ann.row("1")["text"] == text_of(1)
    assert code(ann.decide(row, "reject", reason="mood"), 422) == "bad_request"
    assert code(ann.decide(row, "accept", genre="opera"), 422) == "bad_request"


def test_a_genre_follows_the_text_until_somebody_gives_one(here: Desk) -> None:
    ann = here.person()
    row = ann.decided(ann.row("1"), "save", ">be me\n>thanks dog")
    assert row["genre"] == "thanks"
    row = ann.decided(row, "save", genre="general")
    assert row["genre"] == "general"
    row = ann.decided(row, "save", ">be me\n>thanks again")
    assert row["genre"] == "general"
    assert ann.decided(row, "accept", genre="")["genre"] == "thanks"


def test_a_request_that_comes_twice_is_done_once(here: Desk) -> None:
    ann, bob = here.person("Ann"), here.person("Bob")
    row = ann.row("1")
    first = ann.decide(row, "accept", request_id="r-1").json()
    assert ann.decide(row, "accept", request_id="r-1").json() == first
    assert len(ann.get("/api/rows/1/history")["versions"]) == 2
    assert code(bob.decide(row, "accept", request_id="r-1"), 409) == "conflict"  # his own r-1
    undone = ann.undo(request_id="u-1").json()
    assert ann.undo(request_id="u-1").json() == undone
    assert len(ann.get("/api/rows/1/history")["versions"]) == 3


def test_undo_stops_where_somebody_else_went_on(here: Desk) -> None:
    ann, bob = here.person("Ann"), here.person("Bob")
    ann.decided(ann.row("1"), "accept")
    ann.decided(ann.row("2"), "accept")
    bob.decided(bob.row("2"), "reject")
    answer = ann.undo()
    assert code(answer, 409) == "conflict"
    assert answer.json()["error"]["row"]["queue"] == "rejected"
    assert code(ann.undo(), 409) == "conflict"  # it stays so until somebody decides
    left_out = ann.undo(skip=True).json()
    assert (left_out["row"]["id"], left_out["row"]["queue"], left_out["undo_depth"]) == ("1", "todo", 0)
    assert bob.undo().json()["row"]["queue"] == "accepted"
    # What was taken back by whoever did it stands in nobody's way.
    ann.decided(ann.row("3"), "accept")
    bob.decided(bob.row("3"), "skip")
    bob.undo()
    assert ann.undo().json()["row"]["queue"] == "todo"


def test_drafts_are_kept_for_each_person_and_lost_by_nobody(here: Desk) -> None:
    ann, bob = here.person("Ann"), here.person("Bob")
    row = ann.row("1")
    saved = ann.draft(row, ">typing")
    assert saved.status_code == 200
    kept = ann.row("1")
    assert kept["draft"] == {"text": ">typing", "saved_at_s": saved.json()["saved_at_s"], "version": 0}
    assert kept["has_draft"]
    assert not bob.row("1")["has_draft"]
    bob.draft(row, ">bob's")
    bob.decided(row, "accept", ">bob's")
    assert ann.draft(row, ">typing on").status_code == 200  # never refused for a version
    assert ann.row("1")["draft"]["text"] == ">typing on"
    # Another tab writes over it: what it said is set aside.
    other = here.person("Ann", tab="tab-2")
    other.draft(row, ">from elsewhere")
    assert ann.row("1")["draft"]["text"] == ">from elsewhere"
    assert ann.ask("DELETE", "/api/rows/1/draft").status_code == 204
    aside = ann.get("/api/rows/1/history")["set_aside"]
    assert [draft["text"] for draft in aside] == [">from elsewhere", ">typing on"]
    assert bob.get("/api/rows/1/history")["set_aside"] == []
    # The last draft of a page may come in behind its decision.
    decided = ann.decided(ann.row("2"), "accept", "> be me")
    ann.draft(decided, "> be me", version=0)
    assert ann.row("2")["draft"] is None


def test_confidences_follow_the_lines(tmp_path: Path) -> None:
    rows = [row_of(1, line_confidences=[0.9, 0.4, 0.8, 1.0])]
    bring_in(tmp_path / "c", write_rows(tmp_path / "in" / "kept.jsonl", rows))
    with desk(tmp_path / "c") as here:
        ann = here.person()
        lines = text_of(1).split("\n")
        row = ann.decided(ann.row("1"), "save", "\n".join([lines[0], ">new", ">mended", *lines[2:]]))
        assert row["line_confidences"] == [0.9, 1.0, 1.0, 0.8, 1.0]
        assert row["confidence"] == 0.8
        assert ann.undo().json()["row"]["line_confidences"] == [0.9, 0.4, 0.8, 1.0]


def test_progress_counts_decisions_that_stand(here: Desk) -> None:
    ann, bob = here.person("Ann"), here.person("Bob")
    for number in range(1, 6):
        ann.decided(ann.row(str(number)), "accept")
    ann.undo()
    ann.decided(ann.row("6"), "save", ">saved")
    bob.decided(bob.row("7"), "reject")
    bob.decided(bob.row("8"), "skip")
    found = ann.get("/api/progress")
    assert {name: found[name] for name in ("total", "todo", "accepted", "rejected", "skipped", "mine_today")} == {
        "total": 20, "todo": 14, "accepted": 4, "rejected": 1, "skipped": 1, "mine_today": 4,
    }  # fmt: skip
    assert [(person["person"], person["decided"]) for person in found["people"]] == [("Ann", 4), ("Bob", 2)]
    assert found["pace_per_hour"] > 0
    assert found["left_hours"] >= 0


def test_pace_leaves_breaks_out() -> None:
    assert pace_per_hour([]) == pace_per_hour([5.0]) == pace_per_hour([10.0, 5.0]) == 0.0
    assert pace_per_hour([20.0, 10.0, 0.0]) == pytest.approx(360.0)
    night = [float(at) for at in (100_030, 100_020, 100_010, 20, 10, 0)]
    assert pace_per_hour(night) == pytest.approx(360.0)
    fast_today = [200_000.0 + 3600 - 6 * n for n in range(601)] + [100_000.0 - 60 * n for n in range(600)]
    assert pace_per_hour(fast_today) == pytest.approx(600.0)


@pytest.mark.parametrize(
    "row_id", ["0", "21", "x", "-1", "1e1", "9" * 30, "9223372036854775808", "1.0", "²", "%00", "01x"]
)
def test_rows_that_are_not_there_are_named_so(here: Desk, row_id: str) -> None:
    ann = here.person()
    decision = {"action": "skip", "text": "", "version": 0, "request_id": "r"}
    for method, rest, body in (
        ("GET", "", None), ("GET", "/history", None), ("GET", "/image", None), ("POST", "/lease", {"tab": "t"}),
        ("PUT", "/draft", {"text": "", "version": 0, "tab": "t"}), ("DELETE", "/draft", None),
        ("POST", "/decision", decision),
    ):  # fmt: skip
        assert code(ann.ask(method, f"/api/rows/{row_id}{rest}", body), 404) == "no_such_row"
    assert code(ann.ask("POST", "/api/rows/next", {"filter": {}, "after": row_id}), 404) == "no_such_row"
    assert code(ann.ask("POST", "/api/rows/previous", {"filter": {}, "before": row_id}), 404) == "no_such_row"


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "application/json", 400), (b"{", "application/json", 400), (b"[]", "application/json", 422),
        (b"null", "application/json", 422), (b"\xff\xfe", "application/json", 400), (b"{}", "text/plain", 400),
        (b"{}", "application/x-www-form-urlencoded", 400), (b'{"request_id": 1}', "application/json", 422),
        (b'{"request_id": ""}', "application/json", 422), (b'{"request_id": "\\ud800"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400), (b"{}", "", 400),
    ],
)  # fmt: skip
def test_bodies_that_say_nothing_are_refused(here: Desk, content: bytes, kind: str, status: int) -> None:
    ann = here.person()
    headers = {"X-Greentext-CSRF": ann.csrf, "Content-Type": kind}
    answer = ann.http.post("/api/undo", content=content, headers=headers)
    assert code(answer, status) == "bad_request"


def test_texts_beyond_limits_are_refused(here: Desk) -> None:
    ann = here.person()
    row = ann.row("1")
    assert code(ann.draft(row, "x" * 20_001), 422) == "bad_request"
    assert ann.draft(row, "\U0001f436" * 20_000).status_code == 200
    assert code(ann.draft(row, "x" * 300_000), 413) == "too_large"
    headers = {"X-Greentext-CSRF": ann.csrf, "Content-Type": "application/json"}
    pieces = (b"x" * 10_000 for _ in range(40))  # of a length that nobody announced
    assert code(ann.http.put("/api/rows/1/draft", content=pieces, headers=headers), 413) == "too_large"
    assert code(ann.decide(row, "skip", note="x" * 2001), 422) == "bad_request"
    assert code(ann.decide(row, "skip", request_id="x" * 101), 422) == "bad_request"
    assert code(ann.decide(row, "fly"), 422) == "bad_request"


def test_another_method_is_refused(here: Desk) -> None:
    answer = here.person().ask("PUT", "/api/undo", {})
    assert code(answer, 405) == "bad_request"
    assert answer.headers["allow"]
