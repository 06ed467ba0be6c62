"""The curation app as people use it: by keyboard, in two tabs, with servers and tabs that die."""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Error, expect

from tests.browser.conftest import STORIES, scanned_row, text_of, text_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page, Route

    from tests.browser.conftest import Server, Visitor

pytestmark = pytest.mark.timeout(90)


def rows(count: int) -> list[dict[str, Any]]:
    return [text_row(number) for number in range(count)]


def editor(page: Page) -> Any:
    return page.get_by_label("Text of the greentext")


def at_row(page: Page, row: int) -> None:
    expect(page.locator(".row-number")).to_contain_text(re.compile(rf"#{row}\b"))


def said(page: Page, words: str) -> None:
    expect(page.locator(".said")).to_contain_text(words)


def saved(page: Page) -> None:
    expect(page.locator(".save")).to_have_attribute("data-save", "saved")


def asked(visitor: Visitor, path: str) -> Any:
    answer = visitor.context.request.get(f"{visitor.server.url}api/{path}")
    assert answer.ok, answer.text()
    return answer.json()


def versions(visitor: Visitor, row: int) -> list[dict[str, Any]]:
    return list(reversed(asked(visitor, f"rows/{row}/history")["versions"]))


# ---------------------------------------------------------------------------------------------- a day's work


def test_a_session_by_keyboard_alone(servers: Callable[..., Server], visitors: Callable[..., Visitor]) -> None:
    ann = visitors(servers(rows(8)))
    page = ann.open()
    keys = page.keyboard

    at_row(page, 1)
    keys.press("a")
    at_row(page, 2)
    said(page, "Accepted. 7 left.")

    keys.press("e")  # an edit, accepted from within the text
    expect(editor(page)).to_be_focused()
    keys.press("Control+End")
    keys.type(", the end")
    keys.press("Control+Enter")
    at_row(page, 3)
    expect(editor(page)).not_to_be_focused()
    assert versions(ann, 2)[-1]["text"] == text_of(1) + ", the end"

    keys.press("u")  # undone: the row is back with what was typed
    at_row(page, 2)
    said(page, "Undone: accepted.")
    expect(editor(page)).to_have_value(text_of(1) + ", the end")
    expect(page.locator(".notice")).to_contain_text("What you had typed is in the editor")
    assert asked(ann, "rows/2")["queue"] == "todo"
    keys.press("u")  # and one step further
    at_row(page, 1)
    said(page, "Undone: accepted.")
    keys.press("u")
    said(page, "Nothing to undo.")
    keys.press("a")
    at_row(page, 2)
    expect(editor(page)).to_have_value(text_of(1) + ", the end")
    keys.press("a")
    at_row(page, 3)

    keys.press("r")  # rejected by one key
    keys.press("3")
    at_row(page, 4)
    said(page, "Rejected. 5 left.")
    assert asked(ann, "rows/3")["reason"] == "misread"
    keys.press("r")  # rejected with a note
    keys.press("ArrowDown")
    keys.press("n")
    keys.type("2 of 3 lines are talk")
    keys.press("Enter")
    at_row(page, 5)
    rejected = asked(ann, "rows/4")
    assert (rejected["queue"], rejected["reason"]) == ("rejected", "not_a_greentext")
    assert rejected["note"] == "2 of 3 lines are talk"

    keys.press("s")
    at_row(page, 6)
    keys.press("n")
    at_row(page, 7)
    keys.press("p")
    at_row(page, 6)
    keys.press("k")  # what was decided can be looked at again
    at_row(page, 5)
    expect(page.locator(".row-head")).to_contain_text("Skipped")
    keys.press("o")
    said(page, "Reopened")
    expect(page.locator(".row-head")).to_contain_text("To do")

    keys.press("g")
    expect(page.get_by_role("dialog")).to_be_visible()
    keys.press("1")
    expect(page.locator(".chip.picked")).to_contain_text("thanks")
    keys.press("a")
    said(page, "Accepted")
    assert asked(ann, "rows/5")["genre"] == "thanks"

    keys.press("/")  # search, list, open
    expect(page.get_by_label("Search in texts")).to_be_focused()
    keys.type("STORY NUM")
    expect(page.locator(".list-row")).to_have_count(3)
    keys.type("BER 6")
    expect(page.locator(".list-row")).to_have_count(1)
    keys.press("Enter")
    keys.press("Enter")
    at_row(page, 7)
    keys.press("l")
    page.get_by_role("button", name=re.compile("^Accepted")).press("Enter")
    page.get_by_label("Search in texts").fill("")
    expect(page.locator(".list-row")).to_have_count(3)
    page.locator("main").press("j")
    keys.press("Enter")
    at_row(page, 2)

    keys.press("h")  # history: the import comes back into the editor
    expect(page.locator(".version")).to_have_count(4)
    expect(page.locator(".version").first).to_contain_text("accept")
    expect(page.locator(".version").first).to_contain_text("Ann")
    expect(page.locator(".diff-line.added")).to_contain_text("the end")
    for _ in range(3):
        keys.press("j")
    keys.press("Enter")
    expect(editor(page)).to_have_value(text_of(1))
    keys.press("w")
    said(page, "Saved")
    assert versions(ann, 2)[-1]["text"] == text_of(1)
    assert asked(ann, "rows/2")["queue"] == "accepted"

    keys.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)

    progress = asked(ann, "progress")
    assert (progress["accepted"], progress["rejected"], progress["todo"]) == (3, 2, 3)
    expect(page.locator(".counts")).to_contain_text("3 left of 8")


def test_keys_faster_than_answers(servers: Callable[..., Server], visitors: Callable[..., Visitor]) -> None:
    ann = visitors(servers(rows(20)))
    page = ann.open()
    at_row(page, 1)
    page.keyboard.type("aaaaassuaan")
    at_row(page, 10)
    queues = [row["queue"] for row in asked(ann, "rows?queue=all")["rows"]]
    assert queues[:10] == ["accepted"] * 5 + ["skipped"] + ["accepted"] * 2 + ["todo"] * 2


def test_repairs_and_undo_of_text(servers: Callable[..., Server], visitors: Callable[..., Visitor]) -> None:
    text = "} be me\n>make a cup of\nyellow tea\n>go back in blankets still warm\n>15 KB JPG"
    ann = visitors(servers([text_row(1, text=text), text_row(2)]))
    page = ann.open()
    keys = page.keyboard
    at_row(page, 1)
    keys.press("a")
    said(page, "Not accepted. 2 problems; line 1: does not begin with >")
    expect(page.locator(".paper-line.problem")).to_have_count(2)

    keys.press(">")  # by single keys, on the marked line
    keys.press("d")
    keys.press("J")
    keys.press("ArrowDown")
    for _ in range(3):
        keys.press("ArrowRight")
    keys.press("b")
    keys.press("ArrowDown")
    keys.press("x")
    mended = ">be me\n>make a cup of yellow tea\n>go back in\n>blankets still warm"
    expect(editor(page)).to_have_value(mended)
    expect(page.locator(".paper-line.problem")).to_have_count(0)

    for _ in range(5):
        keys.press("Control+z")
    expect(editor(page)).to_have_value(text)
    for _ in range(5):
        keys.press("Control+Shift+z")
    expect(editor(page)).to_have_value(mended)

    keys.press("e")  # by chords, with the caret, and typing in between
    keys.press("Control+Home")
    keys.press("End")
    keys.type(" again")
    keys.press("Alt+Enter")
    keys.type("wake")
    expect(editor(page)).to_have_value(mended.replace(">be me", ">be me again\n>wake"))
    keys.press("Alt+j")
    expect(editor(page)).to_have_value(mended.replace(">be me", ">be me again wake"))
    keys.press("Alt+Backspace")
    expect(editor(page)).to_have_value(mended.removeprefix(">be me\n"))
    keys.press("Home")
    keys.press("Delete")
    keys.press("Alt+.")
    expect(editor(page)).to_have_value(mended.removeprefix(">be me\n"))
    caret = "e => e.selectionStart"
    assert editor(page).evaluate(caret) == 1
    for _ in range(6):
        keys.press("Control+z")
    expect(editor(page)).to_have_value(mended.replace(">be me", ">be me again"))
    for _ in range(6):
        keys.press("Control+y")
    expect(editor(page)).to_have_value(mended.removeprefix(">be me\n"))
    keys.type("x")
    keys.press("Control+z")
    keys.press("Escape")
    expect(editor(page)).not_to_be_focused()
    keys.press("a")
    at_row(page, 2)
    assert versions(ann, 1)[-1]["text"] == mended.removeprefix(">be me\n")


def test_doubtful_lines(servers: Callable[..., Server], visitors: Callable[..., Visitor], tmp_path: Path) -> None:
    source = tmp_path / "curation0-rows"
    source.mkdir()
    ann = visitors(servers([scanned_row(source, 3), text_row(2, text=">be me\n>he is a bastard\n>end")]))
    page = ann.open()
    at_row(page, 1)
    expect(page.get_by_role("img", name="Screenshot of row 1")).to_be_visible()
    expect(page.locator(".paper-line mark.unsure")).to_have_text("moming")
    current = page.locator(".paper-line.current .number")
    page.keyboard.press("d")
    expect(current).to_have_text("2")
    said(page, "Line 2: OCR was 71 % sure")
    page.keyboard.press("e")
    page.keyboard.press("Alt+n")
    expect(current).to_have_text("6")
    page.keyboard.press("Alt+n")
    expect(current).to_have_text("2")
    expect(editor(page)).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.press("Control+Shift+ArrowLeft")
    page.keyboard.type("morning")
    expect(page.locator(".paper-line mark.unsure")).to_have_count(0)
    expect(page.locator(".diff-line.added ins")).to_have_text("morning")
    expect(page.locator(".diff-line.removed del").filter(has_text="moming")).to_have_count(1)
    page.keyboard.press("Control+Enter")
    at_row(page, 2)
    expect(page.locator(".paper-line.warned .margin")).to_contain_text("profanity")
    expect(page.locator(".paper mark.warning")).to_have_text("bastard")
    page.keyboard.press("d")
    expect(current).to_have_text("2")


def test_the_screenshot_zooms_and_moves(
    servers: Callable[..., Server], visitors: Callable[..., Visitor], tmp_path: Path
) -> None:
    source = tmp_path / "curation0-rows"
    source.mkdir()
    ann = visitors(servers([scanned_row(source, 0), scanned_row(source, 1)]))
    page = ann.open()
    picture = page.locator(".picture img")
    zoom = page.get_by_label("Zoom")
    expect(picture).to_be_visible()
    wide = picture.bounding_box()
    frame = page.locator(".picture").bounding_box()
    assert wide
    assert frame
    assert abs(wide["width"] - frame["width"]) < 2
    page.keyboard.press("z")
    expect(zoom).to_have_text("100 %")
    page.keyboard.press("+")
    expect(zoom).to_have_text("125 %")
    page.mouse.move(frame["x"] + 200, frame["y"] + 60)
    page.mouse.wheel(0, -1000)
    expect(zoom).to_have_text("800 %")
    before = picture.bounding_box()
    page.mouse.down()
    page.mouse.move(frame["x"] + 150, frame["y"] + 30, steps=3)
    page.mouse.up()
    after = picture.bounding_box()
    assert before
    assert after
    assert (round(after["x"] - before["x"]), round(after["y"] - before["y"])) == (-50, -30)
    page.keyboard.press("Shift+ArrowDown")
    moved = picture.bounding_box()
    assert moved
    assert moved["y"] < after["y"]
    page.keyboard.press("0")
    whole = picture.bounding_box()
    assert whole
    assert whole["height"] <= frame["height"]
    page.keyboard.press("a")
    expect(page.get_by_role("img", name="Screenshot of row 2")).to_be_visible()


# ------------------------------------------------------------------------------------------------ conflicts


def two_tabs_that_disagree(ann: Visitor) -> Page:
    """The second tab has accepted another text; the first one has just tried to accept its own."""
    first = ann.open()
    at_row(first, 1)
    second = ann.open("#/row/1?queue=todo")
    at_row(second, 1)
    first.keyboard.press("e")
    first.keyboard.press("Control+End")
    first.keyboard.type(" mine")
    second.keyboard.press("e")
    second.keyboard.press("Control+End")
    second.keyboard.type(" theirs")
    second.keyboard.press("Control+Enter")
    at_row(second, 3)  # the first tab has 2 next
    first.keyboard.press("Control+Enter")
    expect(first.get_by_role("heading", name="This row was changed")).to_be_visible()
    expect(first.get_by_role("region", name="Mine", exact=True)).to_contain_text("story number 0 mine")
    expect(first.get_by_role("region", name="Theirs", exact=True)).to_contain_text("story number 0 theirs")
    return first


@pytest.mark.parametrize("choice", ["mine", "theirs", "merge", "reload"])
def test_conflict_between_two_tabs(
    servers: Callable[..., Server], visitors: Callable[..., Visitor], choice: str
) -> None:
    ann = visitors(servers(rows(4)))
    page = two_tabs_that_disagree(ann)
    mine, theirs = text_of(0) + " mine", text_of(0) + " theirs"
    if choice == "mine":
        page.keyboard.press("m")
        at_row(page, 2)
        assert [version["text"] for version in versions(ann, 1)] == [text_of(0), theirs, mine]
    elif choice == "theirs":
        page.keyboard.press("t")
        expect(editor(page)).to_have_value(theirs)
        page.keyboard.press("h")  # mine can still be had
        page.get_by_role("button", name="Take it").click()
        expect(editor(page)).to_have_value(mine)
    elif choice == "merge":
        page.keyboard.press("e")
        expect(editor(page)).to_be_focused()
        expect(page.locator(".diff-line.removed")).to_contain_text("theirs")
        page.keyboard.press("Control+End")
        page.keyboard.type(" and theirs")
        page.keyboard.press("Control+Enter")
        at_row(page, 2)
        assert versions(ann, 1)[-1]["text"] == mine + " and theirs"
    else:
        page.reload()  # before anything is chosen
        expect(page.get_by_role("region", name="Mine", exact=True)).to_contain_text("story number 0 mine")
        page.keyboard.press("m")
        said(page, "Accepted")
        assert versions(ann, 1)[-1]["text"] == mine
    expect(page.get_by_text("was not taken")).to_have_count(0)


def test_two_people(servers: Callable[..., Server], visitors: Callable[..., Visitor]) -> None:
    server = servers(rows(8))
    ann, bob = visitors(server, "Ann"), visitors(server, "Bob")
    hers = ann.open()
    at_row(hers, 1)
    hers.wait_for_load_state("networkidle")
    his = bob.open()
    at_row(his, 3)  # 1 is Ann's, and 2 is the one that she sees next
    his.wait_for_load_state("networkidle")
    for row in (2, 5):  # 3 is Bob's, and 4 the one that he sees next
        hers.keyboard.press("a")
        at_row(hers, row)
        hers.wait_for_load_state("networkidle")
    hers.goto(server.url + "#/row/3?queue=todo")
    expect(hers.get_by_role("alert").filter(has_text="Bob is working on this row")).to_be_visible()
    expect(hers.get_by_role("button", name="Accept")).to_be_disabled()
    expect(editor(hers)).to_have_attribute("readonly", "")
    hers.keyboard.press("a")
    said(hers, "Bob is working on this row. Press n for the next one.")
    hers.keyboard.press("n")
    expect(hers.locator(".row-number")).not_to_contain_text("#3")
    expect(hers.get_by_role("button", name="Accept")).to_be_enabled()
    assert asked(ann, "rows/3")["queue"] == "todo"


def test_two_people_who_change_one_row(servers: Callable[..., Server], visitors: Callable[..., Visitor]) -> None:
    server = servers(rows(4), "--lease-s", "1")
    ann, bob = visitors(server, "Ann"), visitors(server, "Bob")
    hers = ann.open()
    at_row(hers, 1)
    hers.keyboard.press("e")
    hers.keyboard.press("Control+End")
    hers.keyboard.type(" by Ann")
    saved(hers)
    ann.offline_is_fine = True
    ann.context.set_offline(True)  # her lease ends
    time.sleep(1.3)
    his = bob.open("#/row/1?queue=todo")
    at_row(his, 1)
    expect(his.get_by_role("button", name="Accept")).to_be_enabled()
    his.keyboard.press("e")
    his.keyboard.press("Control+End")
    his.keyboard.type(" by Bob")
    his.keyboard.press("Control+Enter")
    expect(his.locator(".row-number")).not_to_contain_text("#1")
    hers.keyboard.press("Control+Enter")
    said(hers, "it goes to the server when that is back")
    ann.context.set_offline(False)
    banner = hers.locator(".banner").filter(has_text="1 decision was not taken")
    expect(banner).to_be_visible()
    hers.locator("main").press("c")
    expect(hers.get_by_role("region", name="Theirs", exact=True)).to_contain_text("by Bob")
    hers.keyboard.press("m")
    said(hers, "Accepted")
    assert [(version["person"], version["text"].rpartition(" ")[2]) for version in versions(ann, 1)[1:]] == [
        ("Bob", "Bob"),
        ("Ann", "Ann"),
    ]
    his.locator("main").press("u")
    said(his, "Somebody else changed row 1 after you")
    his.keyboard.press("u")
    said(his, "Nothing to undo")


# --------------------------------------------------------------------------------------- nothing typed is lost


def test_reload_mid_edit(servers: Callable[..., Server], visitors: Callable[..., Visitor]) -> None:
    page = visitors(servers(rows(4))).open()
    at_row(page, 1)
    page.keyboard.press("n")
    at_row(page, 2)
    page.keyboard.press("e")
    page.keyboard.press("Control+End")
    page.keyboard.type(" typed")
    page.reload()
    at_row(page, 2)
    expect(editor(page)).to_have_value(text_of(1) + " typed")
    expect(page.locator(".notice")).to_contain_text("Restored what you typed just now")
    saved(page)
    page.keyboard.press("Control+z")  # and the row's own text is one step back
    expect(editor(page)).to_have_value(text_of(1))


def test_a_tab_that_dies_mid_edit(servers: Callable[..., Server], visitors: Callable[..., Visitor]) -> None:
    ann = visitors(servers(rows(4)))
    page = ann.open()
    at_row(page, 1)
    page.keyboard.press("n")
    at_row(page, 2)
    # The server never hears of it.
    page.route(re.compile("/draft$"), lambda route: route.abort())
    ann.offline_is_fine = True
    page.keyboard.press("e")
    page.keyboard.press("Control+End")
    page.keyboard.type(" typed")
    with page.expect_event("crash"), contextlib.suppress(Error):
        page.goto("chrome://crash")
    other = ann.open()
    at_row(other, 2)
    expect(editor(other)).to_have_value(text_of(1) + " typed")


def test_the_server_dies_mid_edit(servers: Callable[..., Server], visitors: Callable[..., Visitor]) -> None:
    server = servers(rows(4))
    ann = visitors(server)
    page = ann.open()
    at_row(page, 1)
    page.keyboard.press("e")
    page.keyboard.press("Control+End")
    page.keyboard.type(" before")
    saved(page)
    ann.offline_is_fine = True
    server.kill()
    page.keyboard.type(", while it was dead")
    expect(page.locator(".banner")).to_contain_text("The server does not answer")
    expect(page.locator(".save")).to_have_attribute("data-save", "kept")
    server.start()
    expect(page.locator(".banner")).to_have_count(0)
    saved(page)
    assert asked(ann, "rows/1")["draft"]["text"] == text_of(0) + " before, while it was dead"
    page.keyboard.press("Control+Enter")
    at_row(page, 2)


def test_the_server_dies_and_decisions_wait(servers: Callable[..., Server], visitors: Callable[..., Visitor]) -> None:
    server = servers(rows(6))
    ann = visitors(server)
    page = ann.open()
    at_row(page, 1)
    page.keyboard.press("a")
    at_row(page, 2)
    page.wait_for_load_state("networkidle")
    ann.offline_is_fine = True
    server.kill()
    page.keyboard.press("e")
    page.keyboard.press("Control+End")
    page.keyboard.type(" late")
    page.keyboard.press("Control+Enter")
    at_row(page, 3)  # fetched ahead
    page.keyboard.press("r")
    page.keyboard.press("2")
    expect(page.locator(".no-row")).to_contain_text("The next row comes when the server is back")
    expect(page.locator(".banner")).to_contain_text("2 decisions wait")
    page.keyboard.press("u")  # what was not sent is taken back here
    at_row(page, 3)
    page.keyboard.press("s")
    expect(page.locator(".no-row")).to_be_visible()
    server.start()
    at_row(page, 4)
    expect(page.locator(".waiting")).to_have_count(0)
    queues = [(row["id"], row["queue"]) for row in asked(ann, "rows?queue=all")["rows"]]
    assert queues[:4] == [("1", "accepted"), ("2", "accepted"), ("3", "skipped"), ("4", "todo")]
    assert versions(ann, 2)[-1]["text"] == text_of(1) + " late"
    page.keyboard.press("u")
    at_row(page, 3)
    page.keyboard.press("u")
    at_row(page, 2)
    expect(editor(page)).to_have_value(text_of(1) + " late")


def test_decisions_wait_in_a_browser_that_was_closed(
    servers: Callable[..., Server], visitors: Callable[..., Visitor]
) -> None:
    server = servers(rows(4))
    ann = visitors(server)
    page = ann.open()
    at_row(page, 1)
    ann.offline_is_fine = True
    server.kill()
    page.keyboard.press("e")
    page.keyboard.press("Control+End")
    page.keyboard.type(" late")
    page.keyboard.press("Control+Enter")
    said(page, "it goes to the server when that is back")
    page.close()
    server.start()
    page = ann.open()
    expect(page.locator(".waiting")).to_have_count(0)
    expect(page.locator(".counts")).to_contain_text("3 left of 4")
    assert [version["text"] for version in versions(ann, 1)] == [text_of(0), text_of(0) + " late"]


def test_an_answer_that_is_lost_changes_nothing_twice(
    servers: Callable[..., Server], visitors: Callable[..., Visitor]
) -> None:
    ann = visitors(servers(rows(4)))
    page = ann.open()
    at_row(page, 1)
    ann.offline_is_fine = True
    lost: list[str] = []

    def lose(route: Route) -> None:
        if len(lost) < 2:
            lost.append(str(route.request.post_data_json["request_id"]))
            route.fetch()
            route.abort()
        else:
            route.continue_()

    page.route(re.compile("/decision$"), lose)
    with page.expect_response(re.compile("/decision$")):  # the third: those before it are lost
        page.keyboard.press("a")
    at_row(page, 2)
    expect(page.locator(".waiting")).to_have_count(0)
    assert len(lost) == 2
    assert len(set(lost)) == 1
    assert [version["action"] for version in versions(ann, 1)] == ["import", "accept"]
    page.keyboard.press("u")
    at_row(page, 1)
    assert [version["action"] for version in versions(ann, 1)] == ["import", "accept", "undo"]


def test_undo_after_server_and_page_have_started_anew(
    servers: Callable[..., Server], visitors: Callable[..., Visitor]
) -> None:
    server = servers(rows(4))
    ann = visitors(server)
    page = ann.open()
    at_row(page, 1)
    page.keyboard.press("e")
    page.keyboard.press("Control+End")
    page.keyboard.type(" typed")
    page.keyboard.press("Control+Enter")
    at_row(page, 2)
    page.keyboard.press("s")
    at_row(page, 3)
    ann.offline_is_fine = True
    server.kill()
    page.close()
    server.start()
    page = ann.open()
    expect(page.locator(".row-number")).to_be_visible()  # 3, or 4 while the tab that died still holds 3
    page.keyboard.press("u")
    at_row(page, 2)
    page.keyboard.press("u")
    at_row(page, 1)
    expect(editor(page)).to_have_value(text_of(0) + " typed")


# ------------------------------------------------------------------------------------------------- coming in


def test_password(servers: Callable[..., Server], visitors: Callable[..., Visitor]) -> None:
    server = servers(rows(2), "--password-from", "CURATION_PASSWORD", environment={"CURATION_PASSWORD": "tea & cake"})
    ann = visitors(server)
    page = ann.open(sign_in=False)
    page.get_by_label("Name").fill("Ann")
    page.get_by_label("Password").fill("coffee")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Password").fill("tea & cake")
    page.keyboard.press("Enter")
    at_row(page, 1)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Password")).to_be_visible()


def test_a_session_that_ends_loses_nothing(servers: Callable[..., Server], visitors: Callable[..., Visitor]) -> None:
    ann = visitors(servers(rows(4)))
    page = ann.open()
    at_row(page, 1)
    ann.offline_is_fine = True  # the refusals are logged by the browser
    ann.context.clear_cookies()
    page.keyboard.press("e")
    page.keyboard.press("Control+End")
    page.keyboard.type(" typed")
    dialog = page.get_by_role("dialog", name="Sign in again")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog).to_have_count(0)
    saved(page)
    assert asked(ann, "rows/1")["draft"]["text"] == text_of(0) + " typed"


def test_nobody_works_in_anothers_name(servers: Callable[..., Server], visitors: Callable[..., Visitor]) -> None:
    ann = visitors(servers(rows(4)))
    page = ann.open()
    at_row(page, 1)
    other = ann.open()  # the same browser, and somebody else signs in
    other.get_by_role("button", name="Sign out").click()
    other.get_by_label("Name").fill("Bob")
    other.keyboard.press("Enter")
    expect(other.locator(".person")).to_have_text("Bob")
    ann.offline_is_fine = True  # the refusals are logged by the browser
    page.keyboard.press("a")
    expect(page.get_by_role("dialog", name="Sign in again")).to_be_visible()
    assert asked(ann, "rows/1")["queue"] == "todo"
    page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
    expect(page.locator(".waiting")).to_have_count(0)
    assert versions(ann, 1)[-1]["person"] == "Ann"


# ------------------------------------------------------------------------------------------------- texts as texts

TAGS = ("script", "img", "svg", "iframe", "object", "embed", "video", "math", "style", "base")
PAYLOADS = [
    *(f"<{tag} src=x onerror=alert({n}) onload=alert({n})>" for n, tag in enumerate(TAGS)),
    *(f"<{tag}>alert({n})</{tag}>" for n, tag in enumerate(TAGS)),
    *(f"\"'--></textarea></title><{tag}/src=x onerror='alert({n})'>" for n, tag in enumerate(TAGS)),
    *(f"</div></pre><a href='javascript:alert({n})' autofocus onfocus=alert({n}) tabindex=1>x</a>" for n in range(10)),
    *(f"${{alert({n})}} {{{{constructor.constructor('alert({n})')()}}}} #{{alert({n})}}" for n in range(10)),
    *(f"&lt;script&gt;alert({n})&lt;/script&gt; &#60;img src=x onerror=alert({n})&#62;" for n in range(10)),
    *(f"javascript:alert({n})//\\u003cscript\\u003ealert({n})\\u003c/script\\u003e" for n in range(10)),
    *(f"<x style=animation:x onanimationstart=alert({n})><input autofocus onfocus=alert({n})>" for n in range(10)),
    *(f"<form action=javascript:alert({n})><button>x</button></form><meta http-equiv=refresh>" for n in range(10)),
    *(f"<!--[if]><script>alert({n})</script -->]]><![CDATA[<script>alert({n})]]>" for n in range(10)),
]


def test_a_hundred_script_payloads_are_text(servers: Callable[..., Server], visitors: Callable[..., Visitor]) -> None:
    assert len(PAYLOADS) == 100
    marked = [
        text_row(n, text=f">be me\n>{payload}\n>end", origin=payload, theme=payload[:60])
        for n, payload in enumerate(PAYLOADS)
    ]
    ann = visitors(servers(marked))
    page = ann.open("#/list?queue=todo")
    expect(page.locator(".list-row")).to_have_count(60)
    foreign = (
        "() => document.querySelectorAll('iframe, object, embed, video, math, base, a, meta[http-equiv], x, "
        "form:not([role=search]), #page script, #page style, #page img').length"
    )
    assert page.evaluate(foreign) == 0
    page.keyboard.press("n")
    expect(page.locator(".list-row")).to_have_count(40)
    assert page.evaluate(foreign) == 0
    page.goto(f"{ann.server.url}#/row/1?queue=todo")
    for number, payload in enumerate(PAYLOADS, start=1):
        page.wait_for_function(
            "n => document.querySelector('.row-number')?.textContent.startsWith(`#${n} `)", arg=number
        )
        shown = page.evaluate("() => document.querySelectorAll('.words')[1].textContent")
        assert shown == f">{payload}"
        assert page.evaluate(foreign) == 0
        page.keyboard.press("n")
    page.goto(f"{ann.server.url}#/row/1?queue=todo")
    at_row(page, 1)
    page.keyboard.press("e")
    page.keyboard.press("Control+End")
    page.keyboard.type(" <img src=x onerror=alert(1)>")
    expect(page.locator(".diff-line.added")).to_contain_text("<img src=x onerror=alert(1)>")
    page.keyboard.press("Control+s")
    said(page, "Saved")
    page.keyboard.press("Escape")
    page.keyboard.press("h")
    expect(page.locator(".version-text pre")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.evaluate(foreign) == 0


def test_no_key_trap_and_letters_can_be_switched_off(
    servers: Callable[..., Server], visitors: Callable[..., Visitor]
) -> None:
    page = visitors(servers(rows(4))).open()
    at_row(page, 1)
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("() => document.activeElement?.className + document.activeElement?.textContent"))
        if page.evaluate("() => document.activeElement === document.body"):
            break
    assert any("editor-text" in place for place in seen)
    assert any("Next" in place for place in seen)
    page.locator("main").press("?")
    page.get_by_label(re.compile("Single letters are commands")).uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    page.keyboard.press("n")
    at_row(page, 1)
    page.get_by_role("button", name="Accept").click()
    at_row(page, 2)


def test_stories_differ() -> None:
    assert len({text_of(number) for number in range(20)}) == 20
    assert len(STORIES) == 4
