"""Texts by the thousand: the same for the same seeds, whatever stopped in between, and rows that the filters read."""

import json
from pathlib import Path

import pytest

from data_pipeline.results import read_rows
from data_pipeline.rows import Source, TextRow
from training.cli import main
from training.written_texts import write_texts

EMBEDDED = Path(__file__).resolve().parents[2] / "models" / "greentext-thanks"


def test_rows_are_greentexts_that_the_filters_read_and_all_is_accounted_for(tmp_path: Path) -> None:
    written = write_texts(EMBEDDED, tmp_path, count=40)
    rows = list(read_rows(tmp_path, TextRow))
    assert [row.text for row in rows] == written.texts
    assert len(rows) + sum(written.dropped.values()) == 40
    assert len(rows) > 30
    assert {row.source for row in rows} == {Source.SYNTHETIC}
    assert len({row.id for row in rows}) == len(rows)
    assert all(row.origin.startswith("greentext-thanks ") for row in rows)


def test_what_was_stopped_goes_on_and_more_begins_with_the_same(tmp_path: Path) -> None:
    whole = write_texts(EMBEDDED, tmp_path / "whole", count=12)
    write_texts(EMBEDDED, tmp_path / "parts", count=5)
    samples = tmp_path / "parts" / "samples.jsonl"
    samples.write_text(samples.read_text()[:-7])  # cut off within a row
    assert write_texts(EMBEDDED, tmp_path / "parts", count=12) == whole
    assert (tmp_path / "parts" / "kept.jsonl").read_bytes() == (tmp_path / "whole" / "kept.jsonl").read_bytes()


def test_the_command_shows_texts_or_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", str(EMBEDDED), "--count", "3", "--prompt", ">be dog", "--temperature", "0"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["kept"] == len(shown["texts"]) == 1, "greedy texts of one prompt are one text"
    assert shown["texts"][0].startswith(">be dog")
    assert main(["sample", str(EMBEDDED), "--count", "2", "--out", str(tmp_path / "out")]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == str(tmp_path / "out" / "kept.jsonl")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "is no directory"),
        ([str(EMBEDDED), "--count", "0"], "count must be at least 1"),
        ([str(EMBEDDED), "--top-p", "2"], "top_p"),
    ],
)
def test_mistakes_are_told(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", *arguments]) == 1
    assert said in capsys.readouterr().err
