"""The board as people use it: writing, stopping, going on, sharing; by mouse, by thumb and by keyboard."""

from __future__ import annotations

import io
import re
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlencode

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.go_between import Changed, Held, Instead

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

    from tests.browser.conftest import Guest
    from tests.browser.go_between import GoBetween

pytestmark = [pytest.mark.timeout(90), pytest.mark.slow]

STREAM = "POST /generate_stream"
SIZES: dict[str, dict[str, Any]] = {
    "1280": {},
    "390": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
at_both_widths = pytest.mark.parametrize("at", SIZES)


def button(where: Page | Locator, name: str) -> Locator:
    return where.get_by_role("button", name=name, exact=True)


def posts(page: Page, state: str = "done") -> Locator:
    return page.locator(f"article[data-post={state}]")


def text_of(post: Locator) -> str:
    return "\n".join(line.rstrip("\n") for line in post.locator(".text > *").all_text_contents())


def write(page: Page, beginning: str = "", *, seed: int | None = None) -> Locator:
    """Has one text written; answers with its post, the newest."""
    if seed is not None:
        with_seed(page, seed)
    newest = page.locator("article").first
    before = newest.get_attribute("id")
    page.get_by_label("Begin with", exact=True).fill(beginning)
    button(page, "Write one").click()
    expect(newest).not_to_have_attribute("id", before or "")
    expect(newest).to_have_attribute("data-post", "done")
    return newest


def settings(page: Page, **kept: Any) -> None:
    """As if somebody had set them before."""
    page.evaluate("kept => localStorage.setItem('gtx-board:settings', JSON.stringify(kept))", kept)
    page.reload()


def written(guest: Guest, **body: Any) -> str:
    """What the service itself writes, without the page."""
    answer = guest.context.request.post(f"{guest.url}generate", data=body)
    assert answer.ok, answer.text()
    text: str = answer.json()["greentexts"][0]["text"]
    return text


def with_seed(page: Page, seed: int) -> None:
    how = page.locator("details.how")
    if how.get_attribute("open") is None:
        how.locator("summary").click()
    page.get_by_label("Seed", exact=True).fill(str(seed))
    page.get_by_label("Seed", exact=True).press("Tab")
    how.locator("summary").click()


def said(page: Page, words: str | re.Pattern[str]) -> None:
    expect(page.locator(".said")).to_contain_text(words)


def link_of(page: Page, post: Locator) -> str:
    button(post, "Link").click()
    said(page, "The link is on the clipboard")
    link: str = page.evaluate("() => navigator.clipboard.readText()")
    return link


def words_in(text: str) -> int:
    return len(text.replace(">", " ").split())


# ------------------------------------------------------------------------------------------------- writing


@at_both_widths
def test_a_visit(between: GoBetween, guests: Callable[..., Guest], at: str) -> None:
    guest = guests(**SIZES[at])
    page = guest.open()
    assert guest.context.cookies() == []
    first = write(page, seed=7)
    assert text_of(first).startswith(">")
    expect(first.locator(".number")).to_have_text("No.7")

    chip = button(page, "be a small frog")
    chip.click()
    expect(posts(page)).to_have_count(2)
    frog = posts(page).first
    assert text_of(frog).startswith(">be a small frog")
    expect(chip).to_have_attribute("aria-pressed", "true")

    button(page, "Roll the die: a beginning by chance").click()
    expect(posts(page)).to_have_count(3)
    rolled = page.get_by_label("Begin with", exact=True).input_value()
    assert rolled not in ("", "be a small frog")
    assert text_of(posts(page).first).startswith(f">{rolled}")

    button(page, "Clear the beginning").click()
    several = write(page, "be me\n  lost\n\n>find a dog")
    assert text_of(several).startswith(">be me\n>lost\n>find a dog")
    assert [body["prompt"] for body in between.bodies("/generate_stream")] == [
        "", ">be a small frog", f">{rolled}", ">be me\n>lost\n>find a dog",
    ]  # fmt: skip


@at_both_widths
def test_replies(between: GoBetween, guests: Callable[..., Guest], at: str) -> None:
    page = guests(**SIZES[at]).open()
    op = write(page, "be the baker")
    number = op.locator(".number").inner_text().removeprefix("No.")

    button(op, "Retry").click()
    expect(posts(page)).to_have_count(2)
    retried = posts(page).nth(1)
    expect(retried.locator(".answers")).to_contain_text(f">>{number} once more")
    assert text_of(retried).startswith(">be the baker")
    first, again = between.bodies("/generate_stream")
    assert first["seed"] != again["seed"]
    assert {**first, "seed": 0} == {**again, "seed": 0}

    lines = text_of(op).split("\n")
    op.locator(".text > p").nth(1).click()  # a click on a line offers to go on from there
    group = op.get_by_role("group", name="Continue after which line?")
    expect(group.get_by_role("button")).to_have_count(len(lines))
    expect(group.get_by_role("button").nth(1)).to_be_focused()
    group.get_by_role("button").nth(1).click()
    expect(posts(page)).to_have_count(3)
    going_on = posts(page).nth(2)
    assert between.bodies("/generate_stream")[-1]["prompt"] == "\n".join(lines[:2]) + "\n>"
    assert text_of(going_on).split("\n")[:2] == lines[:2]
    expect(going_on.locator(".answers")).to_contain_text(f">>{number} going on from there")

    expect(op.locator(".backlinks button")).to_have_count(2)
    op.locator(".backlinks button").nth(1).click()
    expect(going_on).to_be_focused()

    button(going_on, "Continue").click()
    page.keyboard.press("Escape")
    expect(going_on.get_by_role("group")).to_have_count(0)
    expect(going_on).to_be_focused()


@at_both_widths
def test_stop(between: GoBetween, guests: Callable[..., Guest], at: str) -> None:
    guest = guests(**SIZES[at])
    page = guest.open()
    with_seed(page, 11)
    start = written(guest, prompt="be me", seed=11, max_new_tokens=5)
    released = threading.Event()
    between.next(STREAM, Held(5, released))
    page.get_by_label("Begin with", exact=True).fill("be me")
    button(page, "Write one").click()
    writing = posts(page, "writing")
    expect(writing).to_have_attribute("aria-busy", "true")
    expect(writing.locator(".text > p")).to_have_text(start.split("\n"))
    button(page, "Stop").click()
    stopped = posts(page, "stopped")
    expect(stopped).to_contain_text("stopped by you after")
    expect(button(page, "Stop")).to_have_count(0)
    released.set()
    text = text_of(stopped)
    expect(button(stopped, "Good")).to_have_count(0)  # the service does not know it

    # Its link asks for as many tokens: the very same cut text.
    link = link_of(page, stopped)
    assert parse_qs(link.partition("?")[2])["max_new_tokens"] == ["5"]
    friend = guests(**SIZES[at])
    other = friend.open(link.removeprefix(between.url))
    expect(other.locator(".verdict")).to_contain_text("This is the very text")
    assert text_of(posts(other)) == text

    # Stopped before anything came, nothing is left of it.
    between.next(STREAM, Instead(429, {"error": {"type": "queue_full", "message": "full"}}, {"retry-after": "30"}))
    guest.expected += ["429"]
    button(page, "be dog").click()
    expect(posts(page, "writing")).to_contain_text("Too many people are having texts written.")
    button(posts(page, "writing"), "Cancel").click()
    expect(page.locator("article[data-post]")).to_have_count(1)


def test_it_is_written_as_it_comes(between: GoBetween, guests: Callable[..., Guest]) -> None:
    page = guests(reduced_motion="no-preference").open()
    released = threading.Event()
    between.next(STREAM, Held(6, released))
    button(page, "be me, in the rain").click()
    writing = posts(page, "writing")
    expect(writing.locator(".text")).to_contain_text(re.compile(r"rain\S* *[\s>]*\S+"))
    early = text_of(writing)
    expect(page.locator(".aloud")).to_be_empty()  # nobody is read each token
    released.set()
    expect(posts(page)).to_have_count(1)
    text = text_of(posts(page))
    assert text.startswith(early)
    assert len(text) > len(early)
    read = page.locator(".aloud").text_content() or ""
    assert read.startswith("Written: be me, in the rain")
    assert words_in(read) >= words_in(text)


# ------------------------------------------------------------------------------------- how it writes, and who


def test_how_it_writes(between: GoBetween, guests: Callable[..., Guest]) -> None:
    page = guests().open()
    page.locator("details.how summary").click()
    temperature = page.get_by_label("Temperature", exact=True)
    words = page.locator("#knob-temperature-words")
    expect(words).to_contain_text("at ease")
    temperature.fill("0.3")
    expect(words).to_contain_text("careful, says the likely thing")
    expect(temperature).to_have_attribute("aria-valuetext", "0.3: careful, says the likely thing")
    page.get_by_label("Length").fill("12")
    page.get_by_label("Top-k").fill("5")
    page.get_by_label("Seed", exact=True).fill("no seed")
    expect(page.locator("#knob-seed-words")).to_contain_text("a whole number from 0")
    page.get_by_label("Seed", exact=True).fill("42")
    page.get_by_label("Seed", exact=True).press("Tab")
    expect(page.locator(".own")).to_have_text("4 values of yours")
    write(page)
    body = between.bodies("/generate_stream")[-1]
    assert body == {
        "prompt": "", "model": "greentext-thanks", "seed": 42, "temperature": 0.3,
        "opening_temperature": 1, "top_k": 5, "top_p": 0.95, "min_p": 0, "repetition_penalty": 1, "max_new_tokens": 12,
    }  # fmt: skip
    page.reload()  # they stay
    expect(page.locator(".own")).to_have_text("4 values of yours")
    page.locator("details.how summary").click()
    page.get_by_role("button", name="Back to the model").click()
    expect(page.locator(".own")).to_have_count(0)
    expect(words).to_contain_text("at ease")
    write(page)
    assert between.bodies("/generate_stream")[-1]["temperature"] == 0.5
    assert between.bodies("/generate_stream")[-1]["seed"] != 42


def test_there_is_a_choice_where_there_are_several_models(between: GoBetween, guests: Callable[..., Guest]) -> None:
    between.always("GET /models", Changed(lambda answer: {**answer, "models": answer["models"][:1]}))
    page = guests().open()
    page.locator("details.how summary").click()
    expect(page.get_by_label("Temperature", exact=True)).to_be_visible()
    expect(page.get_by_role("radio")).to_have_count(0)

    def another(answer: Any) -> Any:
        tall = {"name": "tall-tales", "default": False, "state": "unloaded", "description": "Tells tall tales."}
        return {**answer, "models": [*answer["models"], {**answer["models"][0], **tall}]}

    between.always("GET /models", Changed(another))
    guest = guests()
    guest.expected += ["404"]
    page = guest.open()
    page.locator("details.how summary").click()
    page.get_by_role("radio", name=re.compile("tall-tales.*asleep")).check()
    button(page, "Write one").click()
    failed = posts(page, "failed")
    expect(failed).to_contain_text("The model that was asked for is not here.")  # it is not, but in that list
    assert between.bodies("/generate_stream")[-1]["model"] == "tall-tales"
    page.get_by_role("radio", name=re.compile("greentext-general")).check()
    button(failed, "Leave it").click()
    write(page)
    expect(posts(page).locator(".model-tag")).to_have_text("greentext-general")


# ----------------------------------------------------------------------------------------- taking it elsewhere


@at_both_widths
def test_copied_as_text_and_as_a_picture(guests: Callable[..., Guest], at: str) -> None:
    long = "be me and say " + "a very long thing " * 12 + "x" * 90
    sizes = []
    papers = {"dark": (27, 21, 17)} if at == "390" else {"light": (255, 247, 234), "dark": (27, 21, 17)}
    for scheme, paper in papers.items():
        page = guests(color_scheme=scheme, **SIZES[at]).open()
        settings(page, sampling={"max_new_tokens": 4})
        for beginning in ("be the moon", long):
            post = write(page, beginning)
            button(post, "Copy").click()
            said(page, "The text is on the clipboard")
            assert page.evaluate("() => navigator.clipboard.readText()") == text_of(post)
            with page.expect_download() as download:
                button(post, "PNG").click()
            said(page, "The picture is saved, and on the clipboard.")
            number = post.locator(".number").inner_text().removeprefix("No.")
            assert download.value.suggested_filename == f"greentext-{number}.png"
            image = Image.open(io.BytesIO(download.value.path().read_bytes())).convert("RGB")
            assert image.width == 1360
            assert image.height % 2 == 0
            sizes.append(image.height)
            assert image.getpixel((4, image.height - 4)) == paper
            # Green letters within the post, none at its edges: nothing is cut off.
            green = (76, 104, 0) if scheme == "light" else (182, 208, 98)
            _, columns = np.nonzero((np.asarray(image) == green).all(axis=2))
            assert columns.size > 500
            assert 2 * 48 <= columns.min() <= columns.max() <= 1360 - 2 * 48
    assert sizes[1] > sizes[0]


@at_both_widths
def test_a_link_shows_the_same_text_to_somebody_else(between: GoBetween, guests: Callable[..., Guest], at: str) -> None:
    page = guests(**SIZES[at]).open()
    op = write(page, 'be me & say "100% #sure? +1" frög')
    button(op, "Continue").click()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(posts(page)).to_have_count(2)
    texts, links = [], []
    for post in posts(page).all():
        texts.append(text_of(post))
        links.append(link_of(page, post))
    other = page
    for text, link in zip(texts, links, strict=True):
        assert quote(text.split("\n")[-1]) not in link  # only how to write it is in there
        friend = guests(**SIZES[at])
        other = friend.open(link.removeprefix(between.url))
        expect(other.locator(".verdict")).to_have_text(re.compile("This is the very text that was sent to you"))
        assert text_of(posts(other)) == text
        assert friend.context.cookies() == []
        # It is theirs only when they go on with it.
        other.get_by_role("link", name="Your threads").click()
        expect(other.get_by_text("Nothing yet.")).to_be_visible()
    other.go_back()
    expect(other.locator(".verdict.same")).to_be_visible()
    button(posts(other), "Retry").click()
    expect(posts(other)).to_have_count(2)
    assert "#/thread/" in other.url
    other.reload()
    expect(posts(other)).to_have_count(2)


def test_a_link_that_does_not_hold_says_so(between: GoBetween, guests: Callable[..., Guest]) -> None:
    page = guests().open()
    link = link_of(page, write(page, "be grandma"))
    base, _, query = link.partition("?")
    fields = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}

    friend = guests()

    def opened(**changes: str) -> Page:
        return friend.open(f"{base}?{urlencode({**fields, **changes})}".removeprefix(between.url))

    verdict = opened(check="0" * 16).locator(".verdict")
    expect(verdict).to_contain_text("somebody changed the link")
    verdict = opened(check="0" * 16, edition="abcdefabcdef").locator(".verdict")
    expect(verdict).to_contain_text("the model has been trained anew since")
    other = opened(model="gone-model", check="0" * 16)
    expect(other.locator("main")).to_contain_text("“gone-model”, which is not here")
    button(other, "Have another model write with the same beginning").click()
    expect(other.locator(".verdict")).to_contain_text("another model has written it")
    cut = friend.open(link[: len(link) // 2].removeprefix(between.url))
    expect(cut.locator("main")).to_contain_text("the link is not whole")


# ------------------------------------------------------------------------------------------- what is kept


@at_both_widths
def test_threads_stay_until_they_are_deleted(between: GoBetween, guests: Callable[..., Guest], at: str) -> None:
    guest = guests(**SIZES[at])
    page = guest.open()
    older = text_of(write(page, "be dad, lost his hat"))
    newer = text_of(write(page, "be the last cookie"))
    button(posts(page).first, "Retry").click()
    expect(posts(page)).to_have_count(3)
    button(posts(page).first, "Good").click()
    expect(button(posts(page).first, "Good 1")).to_have_attribute("aria-pressed", "true")

    page.reload()
    assert [text_of(post) for post in posts(page).all()][::2] == [newer, older]
    expect(button(posts(page).first, "Good 1")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("link", name="Your threads").click()
    entries = page.locator(".catalog-entry")
    expect(entries).to_have_count(2)
    expect(entries.first).to_contain_text("1 reply")
    entries.first.get_by_role("link").click()
    expect(posts(page)).to_have_count(2)
    expect(page).to_have_title(re.compile("A thread"))

    identifier = page.locator("article").nth(1).get_attribute("id")
    reply = page.locator(f"#{identifier}")
    button(reply, "Delete").click()
    button(reply, "Really delete?").click()
    expect(posts(page)).to_have_count(1)
    said(page, "Deleted, here and on the service.")
    page.get_by_role("link", name="All threads").click()
    entries.nth(1).get_by_role("button", name="Delete thread: >be dad, lost his hat").click()
    button(entries.nth(1), "Really delete?").click()
    expect(entries).to_have_count(1)
    said(page, "Thread deleted, here and on the service.")

    assert [cookie["name"] for cookie in guest.context.cookies()] == ["gtx_session"]
    button(page, "Forget everything").click()
    button(page, "Really forget everything?").click()
    said(page, "Everything is forgotten, here and on the service.")
    expect(page.get_by_text("Nothing yet.")).to_be_visible()
    assert guest.context.cookies() == []
    assert page.evaluate("() => Object.keys(localStorage)") == []
    assert [call.method for call in between.calls if call.path.startswith("/generations/")] == ["DELETE", "DELETE"]
    page.reload()
    expect(page.get_by_text("Nothing yet.")).to_be_visible()


@at_both_widths
def test_the_board(between: GoBetween, guests: Callable[..., Guest], at: str) -> None:
    ann, bob = guests(**SIZES[at]), guests(**SIZES[at])
    page = ann.open()
    for number in range(16):  # more than a page
        written(ann, prompt=f"be me, number {number} of {at}", share=True, max_new_tokens=8)
    button(write(page, f"be me, the last of {at}"), "Put on the board").click()
    said(page, "It is on the board, for all to see.")
    expect(button(posts(page).first, "On the board")).to_have_attribute("aria-pressed", "true")
    last = text_of(posts(page).first)
    link = link_of(page, posts(page).first)
    assert "#/post/" in link

    board = bob.open("#/board")
    expect(posts(board)).to_have_count(15)
    assert text_of(posts(board).first) == last
    button(board, "More").click()
    expect(posts(board).filter(has_text=f"number 0 of {at}")).to_have_count(1)
    button(posts(board).nth(1), "Good").click()
    expect(button(posts(board).nth(1), "Good 1")).to_have_attribute("aria-pressed", "true")
    liked = text_of(posts(board).nth(1))
    expect(button(posts(board).first, "Delete")).to_have_count(0)
    board.get_by_role("link", name="Best").click()
    expect(posts(board).filter(has_text=liked.split("\n")[0])).to_have_count(1)
    button(posts(board).filter(has_text=liked.split("\n")[0]), "Bad").click()
    expect(button(posts(board).filter(has_text=liked.split("\n")[0]), "Bad 1")).to_be_visible()

    shown = bob.open(link.removeprefix(between.url))
    expect(posts(shown)).to_have_count(1)
    assert text_of(posts(shown)) == last
    button(posts(shown), "Continue").click()  # somebody else's text is gone on with in a thread of one's own
    shown.keyboard.press("Enter")
    expect(shown).to_have_url(between.url + "#/")
    expect(posts(shown)).to_have_count(1)
    assert text_of(posts(shown)).startswith(last)

    button(posts(page).first, "On the board").click()
    said(page, "It is off the board.")
    bob.expected += ["410"]
    button(posts(page).first, "Delete").click()
    button(posts(page).first, "Really delete?").click()
    said(page, "Deleted, here and on the service.")
    gone = bob.open(link.removeprefix(between.url))
    expect(gone.get_by_role("heading", name="This text was deleted")).to_be_visible()


def test_a_text_that_the_board_does_not_take(guests: Callable[..., Guest]) -> None:
    page = guests().open()
    post = write(page, "be me and write to me at someone@example.org, you bastard")
    button(post, "Put on the board").click()
    said(page, "The board does not take it")
    expect(button(post, "Offered to the board")).to_be_visible()
    assert "#/again?" in link_of(page, post)


# ------------------------------------------------------------------------------------------------ by keyboard


def test_by_keyboard_alone(between: GoBetween, guests: Callable[..., Guest]) -> None:
    page = guests().open()
    keys = page.keyboard
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to the texts")).to_be_focused()
    keys.press("Enter")
    expect(page.locator("main")).to_be_focused()
    keys.press("Enter")
    expect(posts(page)).to_have_count(1)
    keys.press("w")
    expect(posts(page)).to_have_count(2)
    newest = posts(page).first
    keys.press("g")
    expect(button(newest, "Good 1")).to_have_attribute("aria-pressed", "true")
    keys.press("g")
    expect(button(newest, "Good")).to_have_attribute("aria-pressed", "false")
    keys.press("b")
    expect(button(newest, "Bad 1")).to_have_attribute("aria-pressed", "true")
    keys.press("y")
    said(page, "The text is on the clipboard")
    keys.press("r")
    expect(posts(page)).to_have_count(3)
    keys.press("j")
    expect(posts(page).nth(1)).to_be_focused()  # the newest, which is a reply
    keys.press("k")
    expect(newest).to_be_focused()
    lines = text_of(newest).split("\n")
    keys.press("c")
    keys.press("Home")
    keys.press("ArrowDown")
    keys.press("Enter")
    expect(posts(page)).to_have_count(4)
    assert between.bodies("/generate_stream")[-1]["prompt"] == "\n".join(lines[:2]) + "\n>"

    released = threading.Event()
    between.next(STREAM, Held(4, released))
    keys.press("d")
    rolled = page.get_by_label("Begin with", exact=True)
    expect(rolled).not_to_be_empty()
    begun = re.compile(re.escape(rolled.input_value()) + r"\s*\S")
    expect(posts(page, "writing").locator(".text")).to_contain_text(begun)
    keys.press("Escape")
    expect(page.locator("[data-post=stopped]")).to_have_count(1)
    released.set()

    field = page.get_by_label("Begin with", exact=True)
    count = page.locator("article[data-post]").count()
    field.fill("")
    field.press_sequentially("we brought 1 big cat?")  # letters are letters there
    assert field.input_value() == "we brought 1 big cat?"
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("article[data-post]")).to_have_count(count)
    keys.press("Control+Enter")
    expect(posts(page).first.locator(".text")).to_contain_text("we brought 1 big cat?")
    expect(page.locator("article[data-post]")).to_have_count(count + 1)

    page.locator("main").focus()
    keys.press("?")
    sheet = page.get_by_role("dialog", name="Keys")
    expect(sheet).to_be_visible()
    keys.press("w")
    expect(page.locator("article[data-post]")).to_have_count(count + 1)
    sheet.get_by_role("checkbox").uncheck()
    keys.press("Escape")
    expect(sheet).to_have_count(0)
    page.locator("main").focus()
    keys.press("2")
    expect(page.get_by_role("heading", level=2)).to_have_text("Write a greentext")
    page.locator("header nav a").nth(1).focus()
    keys.press("Enter")
    expect(page.get_by_role("heading", name="Your threads")).to_be_visible()


def test_everything_can_be_reached_by_tab(guests: Callable[..., Guest]) -> None:
    page = guests().open()
    post = write(page, "be me")
    wanted = set(post.get_by_role("button").all_inner_texts())
    reached = set()
    post.focus()
    for _ in range(len(wanted)):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.innerText"))
        ring = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
        assert ring == "solid"
    assert reached == wanted
