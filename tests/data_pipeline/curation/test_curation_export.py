from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from data_pipeline.cli import main
from data_pipeline.curation.export import CuratedSettings, run
from data_pipeline.errors import OtherSettingsError, StageError
from data_pipeline.filters import FiltersSettings
from data_pipeline.filters import run as run_filters
from data_pipeline.rows import Source, TextRow
from data_pipeline.stage import read_rows
from tests.data_pipeline.curation.desk import ROOT, bring_in, desk, row_of, text_of, write_rows
from tests.data_pipeline.picture_server import encoded, screenshot

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE = ROOT.parent / "shared" / "data" / "qa_db_sample.json"
ORIGINAL = """{
  "z.jpg": {
    "verified": ">be me\\n>an “old” one ✨",
    "filename": "z.jpg",
    "stars": [1, 2.5, null],
    "unprocessed": "head\\n>be me",
    "truncated": ">be me\\nwrapped"
  },
  "a.jpg": {
    "filename": "a.jpg",
    "unprocessed": "x",
    "truncated": ">x"
  },
  "m.jpg": {
    "filename": "m.jpg",
    "truncated": ">m",
    "verified": ""
  }
}"""


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def spelled_as_json(text: str) -> str:
    return json.dumps(json.loads(text), indent=2, ensure_ascii=False)


def test_what_people_decided_leaves_as_stages_read_it(tmp_path: Path) -> None:
    source = tmp_path / "in"
    rows = [row_of(n, theme="dogs") for n in range(1, 6)]
    rows[0] |= {
        "image": "1.png",
        "raw_text": "raw",
        "line_confidences": [0.5] * 4,
        "origin": "abc",
        "source": "reddit-ocr",
    }
    write_rows(source / "kept.jsonl", rows)
    (source / "1.png").write_bytes(encoded(screenshot(text_of(1))))
    folder = tmp_path / "c"
    bring_in(folder, source)
    with desk(folder) as here:
        ann, bob = here.person("Ann"), here.person("Bob")
        ann.decided(ann.row("1"), "save", f"{text_of(1)}\n>half way")
        bob.decided(bob.row("1"), "accept", f"{text_of(1)}\n>thanks dog", genre="thanks")
        ann.decided(ann.row("2"), "reject", reason="dull", note="seen it all")
        ann.decided(ann.row("3"), "skip")
        ann.decided(ann.row("4"), "accept")
        # While the app runs.
        summary = run([folder], tmp_path / "runs" / "curated", CuratedSettings())
    assert (summary.kept, summary.dropped, summary.counted) == (2, {"dull": 1}, {"to do": 1, "skipped": 1})
    out = tmp_path / "runs" / "curated"
    first, second = read_rows(out, TextRow)
    assert first == TextRow(
        id="written:1", text=f"{text_of(1)}\n>thanks dog", source=Source.REDDIT_OCR, theme="dogs", genre="thanks",
        origin="abc", image=first.image, raw_text="raw",
    )  # fmt: skip
    assert (out / first.image).read_bytes() == (source / "1.png").read_bytes()
    assert (second.id, second.genre, second.image) == ("written:4", "general", "")
    (dropped,) = lines(out / "dropped.jsonl")
    assert (dropped["reason"], dropped["detail"], dropped["row"]["id"]) == ("dull", "seen it all", "written:2")
    history = lines(out / "history.jsonl")
    assert [entry["id"] for entry in history] == ["written:1", "written:2", "written:4"]
    assert [(v["version"], v["person"], v["action"]) for v in history[0]["versions"]] == [
        (0, "import", "import"), (1, "Ann", "save"), (2, "Bob", "accept"),
    ]  # fmt: skip
    assert history[0]["versions"][1]["text"] == f"{text_of(1)}\n>half way"
    assert all(version["at_s"] > 1e9 for version in history[0]["versions"])
    assert "Ann" not in (out / "kept.jsonl").read_text(encoding="utf-8")
    # The same decisions give the same folder; others are refused until told.
    assert run([folder], out, CuratedSettings()) == summary
    with desk(folder) as here:
        ann = here.person("Ann")
        ann.decided(ann.row("5"), "accept")
    with pytest.raises(OtherSettingsError):
        run([folder], out, CuratedSettings())
    assert run([folder], out, CuratedSettings(), restart=True).kept == 3


def test_filters_and_dataset_read_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    words = ["apple", "river", "teacher", "window", "garden", "morning", "yellow", "school", "winter", "market"]
    rows = [
        row_of(
            n,
            text=f">be me\n>walk to the {word} with me\n>we find a {word} and a little dog\n>best {word} of my life",
        )
        for n, word in enumerate(words, start=1)
    ]
    bring_in(tmp_path / "c", write_rows(tmp_path / "in.jsonl", rows))
    with desk(tmp_path / "c") as here:
        ann = here.person()
        for number in range(1, 10):
            ann.decided(ann.row(str(number)), "accept")
    out = tmp_path / "runs"
    assert main(["curated", str(tmp_path / "c"), "--out", str(out / "curated")]) == 0
    # What OCR, or whoever, had before is read beside it; what people have seen stays.
    write_rows(tmp_path / "before.jsonl", [rows[0] | {"text": rows[1]["text"]}])
    filtered = run_filters(
        [out / "curated", tmp_path / "before.jsonl"], out / "filters", FiltersSettings(duplicates="exact")
    )
    assert filtered.kept == 9
    assert filtered.dropped == {"repeated_id": 1}
    assert main(["dataset", str(out / "filters"), "--out", str(out / "dataset")]) == 0
    table = datasets.load_dataset(str(out / "dataset" / "published"), "full", cache_dir=str(tmp_path / "cache"))
    ids = {row_id for split in table.values() for row_id in split["id"]}
    assert ids == {f"written:{number}" for number in range(1, 10)}


def test_the_original_apps_file_comes_back_byte_for_byte(tmp_path: Path) -> None:
    source = tmp_path / "db.json"
    original = spelled_as_json(ORIGINAL)
    source.write_text(original, encoding="utf-8")
    bring_in(tmp_path / "c", source)
    back = tmp_path / "back.json"
    summary = run([tmp_path / "c"], tmp_path / "out", CuratedSettings(db_json=back))
    assert back.read_text(encoding="utf-8") == original
    assert summary.dropped == {}
    with desk(tmp_path / "c") as here:
        ann = here.person()
        ann.decided(ann.row("1"), "reject")
        ann.decided(ann.row("2"), "accept", ">mended")
    run([tmp_path / "c"], tmp_path / "out2", CuratedSettings(db_json=back))
    entries = json.loads(back.read_text(encoding="utf-8"))
    assert list(entries) == ["z.jpg", "a.jpg", "m.jpg"]
    assert list(entries["z.jpg"]) == ["filename", "stars", "unprocessed", "truncated"]
    assert entries["a.jpg"] == {"filename": "a.jpg", "unprocessed": "x", "truncated": ">x", "verified": ">mended"}
    assert entries["m.jpg"]["verified"] == ""


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the original app's sample is not on this machine")
def test_the_original_apps_own_sample_comes_back_byte_for_byte(tmp_path: Path) -> None:
    bring_in(tmp_path / "c", SAMPLE)
    back = tmp_path / "back.json"
    summary = run([tmp_path / "c"], tmp_path / "out", CuratedSettings(db_json=back))
    assert back.read_bytes() == SAMPLE.read_bytes()
    # It was verified with a line that OCR had broken: people have to mend that.
    assert summary.dropped == {"not_a_greentext": 1}


def test_texts_of_other_sources_fit_into_the_original_apps_file(texts: Path, tmp_path: Path) -> None:
    with desk(texts) as here:
        ann = here.person()
        ann.decided(ann.row("1"), "accept", ">mended")
    back = tmp_path / "back.json"
    run([texts], tmp_path / "out", CuratedSettings(db_json=back))
    entries = json.loads(back.read_text(encoding="utf-8"))
    assert entries["written:1"] == {
        "filename": "written:1",
        "unprocessed": "",
        "truncated": text_of(1),
        "verified": ">mended",
    }
    assert "verified" not in entries["written:2"]


def test_what_is_no_curation_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="is no folder that `gtx-data curate` keeps"):
        run([tmp_path], tmp_path / "out", CuratedSettings())
    assert not (tmp_path / "out").exists()
