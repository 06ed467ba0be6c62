"""How each view looks and whom it serves: screenshots, layout, accessibility, and lists of 10,000 rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import FRONTEND, ROOT, scanned_row, text_of, text_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.browser.conftest import Server, Visitor

pytestmark = pytest.mark.timeout(110)

SCREENSHOTS = ROOT / "runs" / "screenshots"
AXE = FRONTEND / "node_modules" / "axe-core" / "axe.min.js"
SIZES = {
    "1280": {"viewport": {"width": 1280, "height": 800}},
    "390": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
DOUBTFUL = (
    ">be me, baker at the comer shop that everybody in the whole long street has known since they were very small\n"
    ">old man comes in at four every moming\nbuys one roll\n>he is a bastard to the birds\n>>46970058\n>end"
)
# Boxes that must lie beside or below each other: no two of a group may share a spot.
APART = (
    ".head button, .person",
    ".row-desk > section, .row-desk > .actions",
    ".row-desk > .actions button",
    ".repairs button",
    ".picture-tools > *",
    ".chips > *",
    ".status > *",
    ".list-filter button, .list-filter label, .list-head button",
    ".list-row",
    ".conflict > *",
    ".history > section",
)
OVERLAPS = """(selectors) => selectors.flatMap((selector) => {
  const shown = [...document.querySelectorAll(selector)].filter((e) => e.checkVisibility() && e.textContent !== '');
  const sticky = (e) => getComputedStyle(e).position === 'sticky';
  const boxes = shown.filter((e) => !sticky(e)).map((e) => [e, e.getBoundingClientRect()]);
  return boxes.flatMap(([one, a], at) => boxes.slice(at + 1).filter(([other, b]) =>
    !one.contains(other) && !other.contains(one) &&
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1,
  ).map(([other]) => `${selector}: ${one.textContent.slice(0, 30)} / ${other.textContent.slice(0, 30)}`));
})"""
CUT_OFF = """() => [...document.querySelectorAll('button, .chip, .banner, .notice, dt, dd, h2, h3')]
  .filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1 && !e.closest('.list-row'))
  .map((e) => e.textContent)"""


def editor(page: Page) -> Any:
    return page.get_by_label("Text of the greentext")


def looked_at(page: Page, name: str) -> None:
    """Screenshots for people, light and dark, and what a program can say about the view."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    wide = page.evaluate("() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide[0] <= wide[1], f"{name} scrolls sideways: {wide}"
    assert page.evaluate(OVERLAPS, list(APART)) == [], name
    assert page.evaluate(CUT_OFF) == [], name
    page.screenshot(path=SCREENSHOTS / f"{name}-light.png")
    assert barriers(page, {}) == [], name
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=SCREENSHOTS / f"{name}-dark.png")
    assert barriers(page, {"runOnly": ["color-contrast"]}) == [], f"{name}, dark"
    page.emulate_media(color_scheme="light")


def barriers(page: Page, options: dict[str, Any]) -> list[str]:
    """What axe finds serious; nothing where it is not installed."""
    if not AXE.is_file():
        return []
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("options => axe.run(document, {resultTypes: ['violations'], ...options})", options)
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.fixture
def scene(servers: Callable[..., Server], tmp_path: Path) -> Server:
    source = tmp_path / "curation0-rows"
    source.mkdir()
    return servers(
        [
            *(scanned_row(source, number) for number in range(4)),
            text_row(4, text=DOUBTFUL, line_confidences=[0.7, 0.9, 0.99, 0.99, 0.99, 0.99], source="reddit-ocr"),
            *(text_row(number) for number in range(5, 70)),
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("at", SIZES)
def test_every_view(scene: Server, visitors: Callable[..., Visitor], at: str) -> None:
    ann = visitors(scene, "Ann", color_scheme="light", **SIZES[at])
    page = ann.open(sign_in=False)
    looked_at(page, f"sign-in-{at}")
    page.get_by_label("Name").fill("Ann")
    page.keyboard.press("Enter")

    expect(page.get_by_role("img", name="Screenshot of row 1")).to_be_visible()
    looked_at(page, f"desk-{at}")
    page.keyboard.press("d")
    page.keyboard.press("e")
    page.keyboard.press("End")
    page.keyboard.type(" and sing to it")
    looked_at(page, f"desk-editing-{at}")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".row-number")).to_contain_text("#2")
    page.keyboard.press("r")
    expect(page.get_by_role("dialog")).to_be_visible()
    looked_at(page, f"reject-{at}")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    looked_at(page, f"genre-{at}")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    looked_at(page, f"help-{at}")
    page.keyboard.press("Escape")

    page.goto(scene.url + "#/row/5?queue=todo")
    expect(page.locator(".row-number")).to_contain_text("#5")
    page.keyboard.press("a")
    expect(page.locator(".said.alarm")).to_be_visible()
    looked_at(page, f"desk-doubtful-{at}")

    page.goto(scene.url + "#/list?queue=all")
    expect(page.locator(".list-row")).to_have_count(60)
    looked_at(page, f"list-{at}")
    page.goto(scene.url + "#/list?queue=skipped&search=nothing")
    expect(page.get_by_text("No row is like that.")).to_be_visible()
    looked_at(page, f"list-empty-{at}")
    page.goto(scene.url + "#/history/1?queue=todo")
    expect(page.locator(".version")).to_have_count(2)
    looked_at(page, f"history-{at}")
    page.goto(scene.url + "#/desk?queue=skipped")
    page.reload()
    page.goto(scene.url + "#/row/9999?queue=todo")
    expect(page.get_by_text("There is no such row")).to_be_visible()
    ann.wrong = [wrong for wrong in ann.wrong if "404" not in wrong]
    looked_at(page, f"missing-{at}")

    page.goto(scene.url + "#/row/6?queue=todo")
    expect(page.locator(".row-number")).to_contain_text("#6")
    other = ann.open("#/row/6?queue=todo")
    expect(other.locator(".row-number")).to_contain_text("#6")
    for tab, words in ((page, " as Ann would have it"), (other, " as she had it before")):
        tab.keyboard.press("e")
        tab.keyboard.press("Control+End")
        tab.keyboard.type(words)
    other.keyboard.press("Escape")
    other.keyboard.press("s")
    expect(other.locator(".said")).to_contain_text("Skipped")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="This row was changed")).to_be_visible()
    looked_at(page, f"conflict-{at}")
    other.close()

    page.keyboard.press("t")
    expect(page.locator(".row-head")).to_contain_text("Skipped")
    ann.offline_is_fine = True
    ann.context.set_offline(True)
    page.keyboard.press("e")
    page.keyboard.type("typed offline ")
    expect(page.locator(".banner")).to_contain_text("The server does not answer")
    looked_at(page, f"offline-{at}")
    ann.context.set_offline(False)
    expect(page.locator(".banner")).to_have_count(0)


def test_a_row_that_somebody_else_has(scene: Server, visitors: Callable[..., Visitor]) -> None:
    bob = visitors(scene, "Bob").open()
    expect(bob.locator(".row-number")).to_contain_text("#1")
    page = visitors(scene, "Ann", **SIZES["390"]).open("#/row/1?queue=todo")
    expect(page.get_by_text("Bob is working on this row")).to_be_visible()
    looked_at(page, "held-390")


def test_marks_lie_under_their_letters(servers: Callable[..., Server], visitors: Callable[..., Visitor]) -> None:
    long = "\n".join(
        [
            ">be me",
            "",
            ">" + "a long line that wraps " * 12,
            ">" + "w" * 300,
            "> trailing   spaces    " * 8,
            ">tab\there",
            "",
        ]
    )
    page = visitors(servers([text_row(1, text=long)])).open()
    expect(page.locator(".paper-line")).to_have_count(7)
    page.keyboard.press("e")
    page.keyboard.press("Control+End")
    page.keyboard.type("\n>typed until the line is full and goes on below, with <marks> & more\n")
    expect(page.locator(".paper-line")).to_have_count(9)
    for width in (1280, 1000, 761, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        # As tall as its text needs: with every line wrapped alike, both come to the same height.
        heights = page.evaluate(
            """() => {
              const area = document.querySelector('.editor-text');
              const copy = area.cloneNode();
              copy.value = area.value;
              copy.style.cssText = `height:0; min-height:0; position:absolute; width:${area.offsetWidth}px`;
              area.parentElement.append(copy);
              const needed = copy.scrollHeight;
              copy.remove();
              return [needed, document.querySelector('.paper').offsetHeight, area.offsetHeight];
            }"""
        )
        assert max(heights) - min(heights) <= 1, (width, heights)


@pytest.mark.slow
def test_ten_thousand_rows(servers: Callable[..., Server], visitors: Callable[..., Visitor]) -> None:
    server = servers([text_row(number) for number in range(10_000)])
    page = visitors(server).open("#/list?queue=all")
    rows = page.locator(".list-row")
    expect(rows).to_have_count(60)
    expect(page.get_by_text("10,000 rows, page 1 of 167")).to_be_visible()
    for number in range(2, 12):
        page.keyboard.press("n")
        expect(page.get_by_text(f"page {number} of 167")).to_be_visible()
        expect(rows.first).to_contain_text(f"#{60 * (number - 1) + 1}")
    for number in (1234, 5678, 9999):
        page.get_by_label("Search in texts").fill(f"STORY number {number}")
        expect(page.get_by_text("1 row, page 1 of 1")).to_be_visible()
        expect(rows.first).to_contain_text(text_of(number).split("\n")[0])
    page.get_by_label("Search in texts").fill("")
    page.get_by_label("Order").select_option("confidence")
    expect(page.get_by_text("10,000 rows, page 1 of 167")).to_be_visible()
