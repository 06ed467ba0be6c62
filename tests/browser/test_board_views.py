"""How the board looks and whom it serves: screenshots of each view, layout, accessibility, and what it weighs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import ROOT
from tests.browser.go_between import Cut, Instead
from tests.browser.test_board import SIZES, STREAM, button, posts, said, write, written
from tests.browser.test_curation_views import barriers

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page, Response

    from tests.browser.conftest import Guest
    from tests.browser.go_between import GoBetween

pytestmark = [pytest.mark.timeout(110), pytest.mark.slow]

SCREENSHOTS = ROOT / "runs" / "screenshots"
FIRST_LOAD_BYTES = 150_000
THUMB_PX = 24
"""The smallest target that WCAG 2.2 allows (2.5.8)."""
SMALL = """least => [...document.querySelectorAll('button, a[href], input, summary')]
  .filter((e) => e.checkVisibility() && !e.matches('.skip, .off-screen *, p a, p .link, .backlinks *'))
  .map((e) => [e.textContent || e.ariaLabel || e.id, e.getBoundingClientRect()])
  .filter(([, box]) => Math.min(box.width, box.height) < least)
  .map(([name, box]) => `${name}: ${box.width} x ${box.height}`)"""
CUT_OFF = """() => [...document.querySelectorAll('button, dt, dd, h1, h2, h3, .said p, .state')]
  .filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1 && !e.matches('.off-screen'))
  .map((e) => e.textContent)"""


def looked_at(page: Page, name: str, *, whole: bool = False) -> None:
    """Screenshots for people, light and dark, and what a program can say about the view."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    wide = page.evaluate("() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide[0] <= wide[1], f"{name} scrolls sideways: {wide}"
    assert page.evaluate(CUT_OFF) == [], name
    assert page.evaluate(SMALL, THUMB_PX) == [], name
    page.screenshot(path=SCREENSHOTS / f"board-{name}-light.png", full_page=whole)
    assert barriers(page, {}) == [], name
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=SCREENSHOTS / f"board-{name}-dark.png", full_page=whole)
    assert barriers(page, {"runOnly": ["color-contrast"]}) == [], f"{name}, dark"
    page.emulate_media(color_scheme="light")


@pytest.mark.parametrize("at", SIZES)
def test_every_view(between: GoBetween, guests: Callable[..., Guest], at: str) -> None:
    guest = guests(color_scheme="light", **SIZES[at])
    guest.expected += ["429", "404", "410", "INCOMPLETE"]
    page = guest.open()
    looked_at(page, f"welcome-{at}")
    post = write(page, "be me, late for the bus", seed=31415926)
    button(post, "Good").click()
    button(post, "Retry").click()
    expect(posts(page)).to_have_count(2)
    button(post, "Put on the board").click()
    said(page, "It is on the board")
    looked_at(page, f"written-{at}")
    button(post, "Continue").click()
    page.keyboard.press("ArrowUp")
    looked_at(page, f"picking-{at}")
    page.keyboard.press("Enter")
    expect(posts(page)).to_have_count(3)
    cut = threading.Event()
    between.next(STREAM, Cut(12, cut))
    button(page, "be the last cookie").click()
    expect(posts(page, "writing").locator(".text > p").nth(1)).not_to_be_empty()
    cut.set()
    expect(posts(page, "lost")).to_be_visible()
    between.next(STREAM, Instead(429, {"error": {"type": "queue_full", "message": "full"}}, {"retry-after": "40"}))
    button(page, "be a shy ghost").click()
    expect(posts(page, "writing")).to_contain_text("Too many people")
    looked_at(page, f"waiting-{at}", whole=True)
    button(posts(page, "writing"), "Cancel").click()
    page.locator("details.how summary").click()
    page.get_by_label("Temperature", exact=True).fill("1.3")
    looked_at(page, f"how-{at}", whole=True)
    page.get_by_label("Temperature", exact=True).fill("0.8")

    page.get_by_role("link", name="Your threads").click()
    expect(page.locator(".catalog-entry")).to_have_count(2)
    button(page, "Forget everything").click()
    looked_at(page, f"threads-{at}")
    page.get_by_role("link", name="be me, late for the bus").click()
    expect(posts(page)).to_have_count(3)
    looked_at(page, f"thread-{at}", whole=True)

    for beginning in ("be the baker", "be a very old tree", "be me, find a wet kitten"):
        written(guest, prompt=beginning, share=True)
    page.goto(guest.url + "#/board")
    expect(posts(page).filter(has_text="be a very old tree").first).to_be_visible()
    looked_at(page, f"board-{at}")
    page.goto(guest.url + "#/board/best")
    expect(posts(page).first).to_be_visible()
    looked_at(page, f"best-{at}")
    button(posts(page).first, "Link").click()
    said(page, "The link is on the clipboard")
    page.goto(page.evaluate("() => navigator.clipboard.readText()"))
    expect(page.get_by_role("heading", name="A post")).to_be_visible()
    looked_at(page, f"post-{at}")
    page.goto(guest.url + "#/post/unknown")
    expect(page.locator(".empty")).to_be_visible()
    looked_at(page, f"missing-{at}")

    page.goto(guest.url + "#/about")
    expect(page.locator(".model-card")).to_have_count(2)
    page.locator("details.card summary").first.click()
    looked_at(page, f"about-{at}", whole=True)
    page.locator("header").press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    looked_at(page, f"help-{at}")


@pytest.mark.parametrize("at", SIZES)
def test_a_link_as_it_is_opened(between: GoBetween, guests: Callable[..., Guest], at: str) -> None:
    page = guests(**SIZES[at]).open()
    button(write(page, "be a small frog", seed=31415926), "Link").click()
    said(page, "The link is on the clipboard")
    link = page.evaluate("() => navigator.clipboard.readText()")
    other = guests(color_scheme="light", **SIZES[at]).open(link.removeprefix(between.url))
    expect(other.locator(".verdict.same")).to_be_visible()
    looked_at(other, f"again-{at}")


def test_the_colours_can_be_chosen(guests: Callable[..., Guest]) -> None:
    page = guests(color_scheme="light").open()
    paper = "() => getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(paper)
    button(page, "Colours: as the system").click()
    assert page.evaluate(paper) == light
    button(page, "Colours: light").click()
    dark = page.evaluate(paper)
    assert dark != light
    page.reload()
    assert page.evaluate(paper) == dark
    page.emulate_media(color_scheme="dark")
    button(page, "Colours: dark").click()
    button(page, "Colours: as the system").click()
    assert page.evaluate(paper) == light
    assert barriers(page, {}) == []


def test_landmarks_and_headings(guests: Callable[..., Guest]) -> None:
    page = guests().open()
    write(page)
    for role in ("banner", "main", "contentinfo"):
        expect(page.get_by_role(role)).to_have_count(1)
    for view, heading in (
        ("", "Write a greentext"),
        ("#/threads", "Your threads"),
        ("#/board", "The board"),
        ("#/about", "About"),
    ):
        page.goto(page.url.partition("#")[0] + view)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        expect(page.get_by_role("heading", level=2)).to_have_text(heading)
        expect(page.locator("nav [aria-current=page]").first).to_be_visible()
    page.get_by_role("link", name="Your threads").click()
    expect(page.locator("main")).to_be_focused()


def test_the_first_load_is_light_and_asks_nobody_else(guests: Callable[..., Guest]) -> None:
    guest = guests()
    page = guest.context.new_page()
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 - playwright marks its listeners
    page.goto(guest.url)
    page.get_by_role("button", name="Write one").wait_for()
    page.wait_for_load_state("networkidle")
    assert all(answer.url.startswith(guest.url) for answer in answers)
    paths = {answer.url.removeprefix(guest.url) for answer in answers}
    assert {path for path in paths if not path.startswith("assets/")} <= {"", "models", "favicon.svg"}
    sizes = {answer.url: answer.request.sizes()["responseBodySize"] for answer in answers}
    assert 20_000 < sum(sizes.values()) < FIRST_LOAD_BYTES, sizes
    assert guest.context.cookies() == []
    policy = answers[0].headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
