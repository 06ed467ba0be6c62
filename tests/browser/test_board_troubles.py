"""What goes wrong between the board's page and the service, and what people are told and left with."""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser.go_between import Changed, Cut, Held, Instead
from tests.browser.test_board import (
    SIZES,
    STREAM,
    at_both_widths,
    button,
    posts,
    said,
    text_of,
    with_seed,
    write,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.conftest import Guest
    from tests.browser.go_between import GoBetween

pytestmark = [pytest.mark.timeout(90), pytest.mark.slow]

DEAD = Instead()


def refusal(status: int, kind: str, message: str, retry_after_s: int | None = None) -> Instead:
    headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
    return Instead(status, {"error": {"type": kind, "message": message, "request_id": "x"}}, headers)


def full(retry_after_s: int = 1) -> Instead:
    return refusal(429, "queue_full", "too many requests are waiting", retry_after_s)


def events(*told: tuple[str, Any]) -> bytes:
    return "".join(f"event: {event}\ndata: {json.dumps(data)}\n\n" for event, data in told).encode()


# ------------------------------------------------------------------------------------------------- the queue


@at_both_widths
def test_a_full_queue_is_waited_for(between: GoBetween, guests: Callable[..., Guest], at: str) -> None:
    guest = guests(**SIZES[at])
    guest.expected += ["429"]
    page = guest.open()
    between.next(STREAM, full(30), full(1))
    button(page, "Write one").click()
    waiting = posts(page, "writing")
    expect(waiting).to_contain_text("Too many people are having texts written.")
    expect(waiting).to_contain_text(re.compile(r"in (30|29|28) seconds, 1 of 4"))
    expect(waiting).to_contain_text(re.compile(r"in 2\d seconds"))  # it counts down
    expect(page.locator(".aloud")).to_contain_text("It is tried again by itself.")
    button(waiting, "Now").click()
    expect(posts(page)).to_have_count(1)  # the second is waited for without a hand
    assert len({json.dumps(body, sort_keys=True) for body in between.bodies("/generate_stream")}) == 1
    assert len(between.bodies("/generate_stream")) == 3


def test_after_four_tries_it_is_left_to_the_person(between: GoBetween, guests: Callable[..., Guest]) -> None:
    guest = guests()
    guest.expected += ["429"]
    page = guest.open()
    between.next(STREAM, *[full(30)] * 5)
    button(page, "be dog").click()
    for number in range(1, 5):
        expect(posts(page, "writing")).to_contain_text(f"{number} of 4")
        button(posts(page, "writing"), "Now").click()
    failed = posts(page, "failed")
    expect(failed).to_contain_text("Too many people are having texts written.")
    button(failed, "Try again").click()
    expect(posts(page)).to_have_count(1)
    assert text_of(posts(page)).startswith(">be dog")


def test_a_request_that_cannot_be_is_told_at_once(between: GoBetween, guests: Callable[..., Guest]) -> None:
    guest = guests()
    guest.expected += ["400", "500"]
    page = guest.open()
    page.get_by_label("Begin with", exact=True).fill("be " + "very " * 390 + "small")
    button(page, "Write one").click()
    failed = posts(page, "failed")
    expect(failed).to_contain_text("That is more text than the model can read.")
    button(failed, "Leave it").click()
    expect(page.locator("article[data-post]")).to_have_count(0)
    between.next(STREAM, refusal(500, "internal_error", "the log says more"))
    page.get_by_label("Begin with", exact=True).fill("")
    button(page, "Write one").click()
    expect(posts(page, "writing")).to_contain_text("Something went wrong on the other side.")
    button(posts(page, "writing"), "Now").click()
    expect(posts(page)).to_have_count(1)


# ------------------------------------------------------------------------------------------------ the line


@at_both_widths
def test_a_lost_connection_goes_on_where_it_was(between: GoBetween, guests: Callable[..., Guest], at: str) -> None:
    guest = guests(**SIZES[at])
    guest.expected += ["ERR_INCOMPLETE_CHUNKED_ENCODING"]
    page = guest.open()
    whole = text_of(write(page, "be the moon", seed=5))
    start = written(guest, prompt="be the moon", seed=5, max_new_tokens=4)
    cut = threading.Event()
    between.next(STREAM, Cut(4, cut))
    button(page, "Write one").click()
    expect(posts(page, "writing").locator(".text > p")).to_have_text(start.split("\n"))
    cut.set()
    lost = posts(page, "lost")
    expect(lost).to_contain_text(re.compile(r"The connection was lost after \d+ words?\."))
    part = text_of(lost)
    assert whole.startswith(part)
    assert ">be the moon" in part
    page.reload()  # it stays as it is
    expect(lost).to_contain_text("The connection was lost")
    button(lost, "Go on from there").click()
    expect(posts(page)).to_have_count(2)
    assert text_of(posts(page).first) == whole


def test_an_error_in_the_middle_keeps_what_came(between: GoBetween, guests: Callable[..., Guest]) -> None:
    page = guests().open()
    with_seed(page, 5)
    told = [("token", {"index": 0, "text": text, "token_id": 7}) for text in ("\n", ">", "go", " home")]
    error = ("error", {"error": {"type": "internal_error", "message": "the log says more", "request_id": "x"}})
    between.next(STREAM, Instead(200, events(*told, error)))
    button(page, "be me, in the rain").click()
    expect(posts(page, "lost")).to_contain_text("The connection was lost after 2 words.")
    assert text_of(posts(page, "lost")) == ">be me, in the rain\n>go home"
    button(posts(page, "lost"), "Go on from there").click()
    expect(posts(page)).to_have_count(1)


def test_offline(between: GoBetween, guests: Callable[..., Guest]) -> None:
    guest = guests()
    guest.expected += ["ERR_INTERNET_DISCONNECTED"]
    page = guest.open()
    first = text_of(write(page))
    guest.context.set_offline(True)
    expect(page.locator(".banners")).to_contain_text("You are offline.")
    button(page, "Write one").click()
    waiting = posts(page, "writing")
    expect(waiting).to_contain_text("The service does not answer; perhaps you are offline.")
    expect(waiting).to_contain_text(re.compile("in [248] seconds"))  # the pauses grow
    button(posts(page), "Good").click()
    said(page, "Not rated.")
    guest.context.set_offline(False)
    expect(page.locator(".banners")).not_to_contain_text("You are offline.")
    expect(posts(page)).to_have_count(2)
    assert text_of(posts(page).nth(1)) == first


def test_a_service_that_is_not_there_yet(between: GoBetween, guests: Callable[..., Guest]) -> None:
    guest = guests()
    guest.expected += ["503", "ERR_EMPTY_RESPONSE"]
    between.next("GET /models", refusal(503, "unavailable", "starting", 20))
    page = guest.open()
    expect(page.locator(".banners")).to_contain_text("The service is starting, or about to stop.")
    button(page, "be grandma").click()
    expect(page.locator(".banners")).to_contain_text("Your text is written as soon as it answers.")
    between.next(STREAM, refusal(503, "unavailable", "starting", 1), DEAD)
    button(page, "Ask now").click()
    expect(posts(page)).to_have_count(1)
    assert text_of(posts(page)).startswith(">be grandma")
    expect(page.locator(".banners p")).to_have_count(0)


# ----------------------------------------------------------------------------------------------- the store


def test_where_nothing_is_kept(between: GoBetween, guests: Callable[..., Guest]) -> None:
    guest = guests()
    guest.expected += ["404"]
    nothing = refusal(404, "not_found", "greentexts are not kept here")
    for call in ("POST /session", "POST /ratings", "GET /board", "DELETE /session"):
        between.always(call, nothing)
    page = guest.open()
    post = write(page)
    for name in ("Good", "Bad", "Put on the board"):
        expect(button(post, name)).to_have_count(0)
    expect(button(post, "Link")).to_be_visible()
    page.get_by_role("link", name="Board").click()
    expect(page.locator("main")).to_contain_text("There is no board here: nothing is kept.")
    page.get_by_role("link", name="Your threads").click()
    button(page, "Forget everything").click()
    button(page, "Really forget everything?").click()
    said(page, "Everything is forgotten here; the service keeps nothing.")


def test_what_is_kept_is_away(between: GoBetween, guests: Callable[..., Guest]) -> None:
    guest = guests()
    guest.expected += ["503", "404", "429"]
    page = guest.open()
    post = write(page)
    away = refusal(503, "unavailable", "what is kept cannot be reached now", 5)
    between.next("POST /ratings", Instead(202, {"rating": "good", "saved": False, "good": None, "bad": None}), away)
    button(post, "Good").click()
    said(page, "your rating waits for it")
    expect(button(post, "Good")).to_have_attribute("aria-pressed", "true")
    button(post, "Bad").click()
    said(page, "Not rated: what is kept cannot be reached now. Writing goes on")
    expect(button(post, "Good")).to_have_attribute("aria-pressed", "true")
    between.next("POST /ratings", refusal(429, "rate_limited", "too often", 7))
    button(post, "Bad").click()
    said(page, "that was too often. Try again in 7 seconds.")
    between.next("GET /board", away, refusal(404, "not_found", "the board is closed here"))
    page.get_by_role("link", name="Board").click()
    expect(page.locator(".trouble")).to_contain_text("What is kept cannot be reached now.")
    button(page, "Try now").click()
    expect(page.locator("main")).to_contain_text("The board is closed here.")


def test_a_text_that_is_not_there(guests: Callable[..., Guest]) -> None:
    guest = guests()
    guest.expected += ["404"]
    page = guest.open("#/post/pb7MT2YyRLuaCLPTp8ch-A")
    expect(page.locator("main")).to_contain_text("There is no such text here")
    page = guest.open("#/thread/elsewhere")
    expect(page.locator("main")).to_contain_text("This thread is not here")
    page = guest.open("#/nowhere/at/all")
    expect(page.locator("main")).to_contain_text("There is no such page")


def test_a_browser_that_keeps_nothing(guests: Callable[..., Guest]) -> None:
    guest = guests()
    guest.context.add_init_script("Storage.prototype.setItem = () => { throw new DOMException('full') }")
    page = guest.open()
    text = text_of(write(page))
    expect(page.locator(".banners")).to_contain_text("This browser keeps nothing")
    page.get_by_role("link", name="Your threads").click()
    page.locator(".catalog-entry a").click()
    expect(posts(page).locator(".text > p")).to_have_text(text.split("\n"))


# ------------------------------------------------------------------------------------------ text is text


def test_whatever_it_writes_is_text(between: GoBetween, guests: Callable[..., Guest]) -> None:
    guest = guests()
    page = guest.open()
    written = (
        '<script>alert(1)</script>\n><img src=x onerror="alert(2)">\n>[a](javascript:alert(3))\n'
        "<style>*{display:none}</style>\n>&lt;b&gt; ${7*7} {{7*7}}\n></p></div><a href='javascript:alert(4)'>x</a>"
    )
    text = f">be <b>me</b>\n>{written}"
    tokens = [("token", {"index": 0, "text": text[13:], "token_id": 7})]
    greentext = {"id": "made-up", "text": text, "finish_reason": "end", "seed": 1, "prompt": ">be <b>me</b>"}
    end = {"model": "greentext-thanks", "greentexts": [greentext], "usage": {"completion_tokens": 1}}
    between.next(STREAM, Instead(200, events(*tokens, ("end", end))))
    post = write(page, "be <b>me</b>")
    assert text_of(post) == text
    expect(post.locator("img, script, style, a, b")).to_have_count(0)
    with page.expect_download():
        button(post, "PNG").click()
    page.get_by_role("link", name="Your threads").click()
    expect(page.locator(".catalog-entry")).to_contain_text("<script>alert(1)</script>")
    expect(page.locator("main").locator("img, script, style, b")).to_have_count(0)

    card = "# <script>alert(5)</script>\n\n[x](javascript:alert(6)) <img src=x onerror=alert(7)>\n\n[web](https://example.org)"
    between.always("GET /models", Changed(lambda answer: {"models": [{**answer["models"][0], "card": card}]}))
    page.get_by_role("link", name="About", exact=True).click()
    expect(page.locator(".model-card")).to_have_count(1)  # the list has come anew
    page.locator("details.card summary").click()
    shown = page.locator(".markdown")
    expect(shown).to_contain_text("[x](javascript:alert(6)) <img src=x onerror=alert(7)>")
    expect(shown.get_by_role("link")).to_have_count(1)
    expect(shown.get_by_role("link")).to_have_attribute("rel", re.compile("noopener"))
    expect(shown.locator("img, script")).to_have_count(0)


def test_two_tabs(between: GoBetween, guests: Callable[..., Guest]) -> None:
    guest = guests()
    one, other = guest.open(), guest.open()
    released = threading.Event()
    between.next(STREAM, Held(3, released))
    button(one, "be a shy ghost").click()
    expect(posts(one, "writing").locator(".text")).to_contain_text(re.compile(r"ghost\s*\S"))
    text = text_of(write(other, "be the baker"))
    expect(posts(one)).to_have_count(1)  # what one tab wrote is in the other
    expect(posts(one, "writing")).to_have_count(1)
    released.set()
    expect(posts(one)).to_have_count(2)
    expect(posts(other)).to_have_count(2)
    assert text in [text_of(post) for post in posts(one).all()]
