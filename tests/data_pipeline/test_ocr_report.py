"""How reading is measured."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

import pytest

from data_pipeline import ocr_report
from data_pipeline.errors import StageError
from data_pipeline.ocr.page import Reading, StoryLine
from data_pipeline.ocr.workers import Outcome
from data_pipeline.ocr_report import PageScore, measure, score_page, summarise, table
from data_pipeline.rendered import PageSpec, write_testset
from data_pipeline.rendered.testset import Truth

if TYPE_CHECKING:
    from pathlib import Path

TRUTH = Truth("0.png", ">be me\n>find a frog\n>it is good", {"theme": "yotsuba"})


def score(*lines: str) -> PageScore:
    return score_page(TRUTH, Outcome("0.png", Reading(tuple(StoryLine(line, 0.9) for line in lines), "")))


def test_a_page_that_was_read_well_has_no_errors() -> None:
    page = score("be me", "find a frog", "it is good")
    assert (page.error_rate, page.lines, page.exact_lines, page.whole_lines, page.extra_lines) == (0.0, 3, 3, 3, 0)


@pytest.mark.parametrize(
    ("lines", "errors", "exact", "whole", "extra"),
    [
        (("be me", "find a fog", "it is good"), 1, 2, 3, 0),
        (("be me", "find a frog it is good"), 1, 1, 1, 1),  # joined: one character instead of two
        (("be me", "find a", "frog", "it is good"), 1, 2, 2, 2),
        (("be me", "find a frog"), 12, 2, 2, 0),
        (("be me", "find a frog", "it is good", "no reply"), 10, 3, 3, 1),
        ((), 31, 0, 0, 0),
    ],
    ids=["a letter", "joined", "split", "lost", "too much", "nothing"],
)
def test_what_went_wrong_is_counted(lines: tuple[str, ...], errors: int, exact: int, whole: int, extra: int) -> None:
    page = score(*lines)
    allowed = 1 if len(lines) in (2, 4) and whole < 3 and errors == 1 else 0
    assert abs(page.error_rate * len(TRUTH.text) - errors) <= allowed + 1e-9
    assert (page.exact_lines, page.whole_lines, page.extra_lines) == (exact, whole, extra)


def test_the_same_line_twice_is_needed_twice() -> None:
    truth = Truth("0.png", ">no\n>no", {})
    page = score_page(truth, Outcome("0.png", Reading((StoryLine("no", 1.0),), "")))
    assert (page.exact_lines, page.whole_lines) == (1, 1)


def test_a_page_that_could_not_be_read_counts_in_full() -> None:
    page = score_page(TRUTH, Outcome("0.png", reason="timeout"))
    assert (page.error_rate, page.whole_lines, page.reason) == (1.0, 0, "timeout")


def test_pages_are_summed_up() -> None:
    pages = [PageScore(str(rate), {}, rate, 10, 9, 10, 0) for rate in (0.0, 0.0, 0.01, 0.5)]
    total = summarise(pages)
    assert (total.pages, total.lines, total.error_rate_median) == (4, 40, 0.005)
    assert total.error_rate_mean == pytest.approx(0.1275)
    assert total.error_rate_worst_tenth == 0.5
    assert (total.exact_lines, total.whole_lines) == (0.9, 1.0)


def test_a_set_is_read_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = ("be me", "find a frog", "it is a good frog")
    specs = [PageSpec(story, theme, font_px=18, seed=1) for theme in ("photon", "tomorrow")]
    write_testset(iter(specs), tmp_path / "set")
    (tmp_path / "set" / "notes.txt").write_text("no page", encoding="utf-8")
    options = argparse.Namespace(folder=tmp_path / "set", workers=1, json=tmp_path / "report.json")
    assert ocr_report.main(options) == 0
    printed = capsys.readouterr().out
    assert "photon" in printed
    assert "lines/s" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["overall"]["whole_lines"] == 1.0
    assert report["overall"]["error_rate_median"] == 0.0
    assert set(report["groups"]["theme"]) == {"photon", "tomorrow"}
    assert [page["file"] for page in report["pages"]] == ["00000.png", "00001.png"]
    assert 0 < report["core_use"] <= 1.2


def test_a_folder_without_truths_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no page with its truth"):
        measure(tmp_path)


def test_the_drawn_set_is_what_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    ocr_report.add_options(parser)
    seen = {}

    def measured(folder: Path, *, workers: int | None) -> object:
        seen["pages"] = len(list(folder.glob("0*")))
        seen["workers"] = workers
        raise StageError("enough")

    monkeypatch.setattr(ocr_report, "measure", measured)
    with pytest.raises(StageError, match="enough"):
        ocr_report.main(parser.parse_args(["--pages", "3", "--workers", "2"]))
    assert seen == {"pages": 3, "workers": 2}
    with pytest.raises(StageError, match="at least one"):
        ocr_report.main(parser.parse_args(["--pages", "0"]))


@pytest.mark.slow
def test_rendered_pages_are_read_as_well_as_promised(tmp_path: Path) -> None:
    from data_pipeline.rendered import page_specs, read_stories

    write_testset(page_specs(read_stories(ocr_report.STORIES), 24, seed=11), tmp_path)
    report = measure(tmp_path)
    assert report.overall.error_rate_median <= 0.02, table(report)
    assert report.overall.whole_lines >= 0.98, table(report)
