from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from data_pipeline.curation import importing
from data_pipeline.curation.database import FILE_NAME, Database
from data_pipeline.curation.incoming import InputKind, recognised
from data_pipeline.errors import StageError
from data_pipeline.rows import Source, TextRow, UnsureWord
from data_pipeline.stage import Drop, StageRun
from tests.data_pipeline.curation.desk import ROOT, bring_in, desk, row_of, text_of, write_rows
from tests.data_pipeline.picture_server import encoded, png_bomb, screenshot

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE = ROOT.parent / "shared" / "data" / "qa_db_sample.json"


def table(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(Database(folder / FILE_NAME)) as database, database.reading() as connection:
        return [tuple(row) for row in connection.execute(query)]


def picture(text: str = ">be me\n>find dog", kind: str = "PNG") -> bytes:
    return encoded(screenshot(text), kind)


def test_what_a_stage_wrote_comes_in_with_its_pictures(tmp_path: Path) -> None:
    """As `ocr` names pictures: where `images` has put them, in the folder next to its own."""
    pictures = tmp_path / "runs" / "images" / "pictures" / "ab"
    pictures.mkdir(parents=True)
    (pictures / "1.png").write_bytes(picture())
    (tmp_path / "runs" / "images" / "summary.json").write_text("{}", encoding="utf-8")
    row = TextRow(
        id="reddit-ocr:1", text=text_of(1), source=Source.REDDIT_OCR, origin="abc", image="../images/pictures/ab/1.png",
        raw_text="raw", line_confidences=(0.9, 0.5, 0.8, 1.0),
        unsure_words=(UnsureWord(line=2, word="dog", confidence=0.4),),
    )  # fmt: skip
    with StageRun(tmp_path / "runs" / "ocr", "ocr", {}) as stage:
        stage.record(0, "1", kept=[row], dropped=[Drop("no_story", {"id": "2"})])
        stage.finish()
    summary = bring_in(tmp_path / "c", tmp_path / "runs" / "ocr")
    assert (summary.kept, summary.dropped, summary.counted) == (1, {}, {"pictures": 1})
    assert summary.table().splitlines()[1].split() == ["kept", "1"]
    with desk(tmp_path / "c") as here:
        found = here.person().row("1")
        assert found["key"] == "reddit-ocr:1"
        assert found["origin"] == "abc"
        assert found["raw_text"] == "raw"
        assert found["imported_text"] == text_of(1)
        assert found["line_confidences"] == [0.9, 0.5, 0.8, 1.0]
        assert found["confidence"] == 0.5
        assert found["words"] == [{"line": 2, "word": "dog", "confidence": 0.4}]
        assert found["has_image"]
    names = [path.name for path in (tmp_path / "c" / "images").iterdir()]
    assert len(names) == 1
    assert len(names[0]) == 64 + 4


def test_bringing_in_again_changes_nothing_and_newer_texts_are_noted(texts: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    again = bring_in(texts, source)
    assert (again.kept, again.counted) == (0, {"unchanged": 20})
    with desk(texts) as here:
        ann = here.person()
        ann.decided(ann.row("1"), "accept", ">decided by ann")
        ann.draft(ann.row("2"), ">typed by ann")
    rows = [row_of(n, text=f">newer {n}") if n <= 3 else row_of(n) for n in range(1, 22)]
    write_rows(source / "kept.jsonl", rows)
    newer = bring_in(texts, source)
    assert newer.kept == 1
    assert newer.counted == {
        "unchanged": 17, "newer, noted beside what people decided": 2, "newer, in place of what nobody had touched": 1,
    }  # fmt: skip
    with desk(texts) as here:
        ann = here.person()
        decided = ann.row("1")
        assert (decided["text"], decided["queue"], decided["version"]) == (">decided by ann", "accepted", 2)
        history = ann.get("/api/rows/1/history")["versions"]
        assert [(v["action"], v["text"], v["person"]) for v in history] == [
            ("newer_import", ">newer 1", "import"), ("accept", ">decided by ann", "Ann"),
            ("import", text_of(1), "import"),
        ]  # fmt: skip
        assert ann.row("2")["draft"]["text"] == ">typed by ann"
        assert ann.row("2")["text"] == text_of(2)
        assert ann.row("3")["text"] == ann.row("3")["imported_text"] == ">newer 3"
        # The note stands in nobody's way: with the version before it, too.
        assert ann.decide({"id": "1", "version": 1}, "save", ">more of ann").status_code == 200
        assert ann.undo().json()["row"]["text"] == ">decided by ann"
        assert ann.undo().json()["row"]["text"] == text_of(1)
    assert bring_in(texts, source).counted == {"unchanged": 21}
    # An older copy does not take turns with the newer one.
    write_rows(source / "kept.jsonl", [row_of(n) for n in range(1, 4)])
    assert bring_in(texts, source).counted == {"unchanged": 3}
    assert table(texts, "SELECT text FROM row_texts WHERE row_id = 3") == [(">newer 3",)]


def test_a_killed_import_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH_ROWS", 10)
    source = write_rows(tmp_path / "in.jsonl", [row_of(n) for n in range(1, 36)])
    insert = importing._insert

    def dying(connection: Any, row: Any, taken: Any) -> None:
        if row.key == "written:27":
            raise KeyboardInterrupt
        insert(connection, row, taken)

    monkeypatch.setattr(importing, "_insert", dying)
    with pytest.raises(KeyboardInterrupt):
        bring_in(tmp_path / "c", source)
    assert table(tmp_path / "c", "SELECT count(*) FROM rows") == [(20,)]  # whole batches
    monkeypatch.setattr(importing, "_insert", insert)
    summary = bring_in(tmp_path / "c", source)
    assert (summary.kept, summary.counted) == (15, {"unchanged": 20})
    assert [key for (key,) in table(tmp_path / "c", "SELECT key FROM rows ORDER BY id")] == [
        f"written:{n}" for n in range(1, 36)
    ]


def test_lines_that_are_no_rows_are_counted_and_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_pipeline.curation.incoming.MAX_LINE_BYTES", 100_000)
    rows: list[Any] = [
        row_of(1), "{", '"text"', '{"id": "x"}', row_of(2) | {"unknown": 1}, row_of(3, text=" \n"),
        row_of(4, text=">" + "x" * 20_000), row_of(5, raw_text="x" * 200_000), row_of(1, text=">another"), row_of(1),
        "", row_of(6, text=">\\ud800")["text"], json.dumps(row_of(7)).replace("be me", "\\ud800"),
        row_of(8, source="moon"),
        "[" * 50_000, row_of(9),
    ]  # fmt: skip
    summary = bring_in(tmp_path / "c", write_rows(tmp_path / "in.jsonl", rows))
    assert summary.kept == 2
    assert summary.dropped == {
        "not_json": 4, "not_a_row": 4, "no_text": 1, "text_too_long": 1, "line_too_long": 1, "repeated_id": 1,
    }  # fmt: skip
    assert summary.counted == {}


def test_pictures_come_from_the_inputs_only_and_are_pictures(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    good = picture()
    (outside / "secret.png").write_bytes(good)
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "x.png").write_bytes(good)
    (source / "good.png").write_bytes(good)
    (source / "folder").mkdir()
    (source / "folder" / "deep.jpg").write_bytes(picture(kind="JPEG"))
    (source / "link.png").symlink_to(outside / "secret.png")
    (source / "linked").symlink_to(outside)
    (source / "loop.png").symlink_to("loop.png")
    (source / "inside.png").symlink_to("good.png")
    (source / "vector.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", encoding="utf-8")
    (source / "vector.png").write_text("<?xml version='1.0'?><svg/>", encoding="utf-8")
    (source / "bomb.png").write_bytes(png_bomb(40_000, 40_000))
    (source / "half.png").write_bytes(good[: len(good) // 2])
    (source / "text.png").write_text("hello", encoding="utf-8")
    (source / "empty.png").write_bytes(b"")
    os.mkfifo(source / "pipe.png")
    large = source / "large.png"
    large.write_bytes(good)
    os.truncate(large, 20_000_001)
    images = [
        "good.png", "folder/deep.jpg", "./folder/../good.png",
        "link.png", "linked/secret.png", "loop.png", "inside.png",
        "/etc/passwd", str(outside / "secret.png"), "../outside/secret.png", "../../../../etc/passwd",
        "../beside/x.png",
        "folder/../../outside/secret.png", "..", ".", "a\0b", "../in/good.png",
        "vector.svg", "vector.png", "bomb.png", "half.png", "text.png", "empty.png", "pipe.png", "large.png",
        "none.png", "folder", "good.png/x", "x" * 300,
    ]  # fmt: skip
    rows = [row_of(number, image=image) for number, image in enumerate(images, start=1)]
    write_rows(source / "kept.jsonl", rows)
    summary = bring_in(tmp_path / "c", source)
    assert summary.kept == len(images)
    assert dict(sorted(summary.counted.items())) == {
        "image_damaged": 1, "image_link": 4, "image_missing": 1, "image_not_a_file": 2, "image_not_a_picture": 4,
        "image_outside": 9, "image_too_large": 1, "image_too_many_bytes": 1, "image_unreadable": 2, "pictures": 4,
    }  # fmt: skip
    shown = {key for (key,) in table(tmp_path / "c", "SELECT key FROM rows WHERE image <> ''")}
    assert shown == {"written:1", "written:2", "written:3", "written:17"}
    assert len(list((tmp_path / "c" / "images").iterdir())) == 2  # by content, and no part left
    # Named on the command line, a folder is an input too; nothing else has changed.
    named = bring_in(tmp_path / "c", source, images_from=[outside])
    assert named.kept == 0
    assert named.counted["pictures"] == 2
    assert named.counted["image_link"] == 4


def test_the_original_apps_file_comes_in(tmp_path: Path) -> None:
    source = tmp_path / "app"
    source.mkdir()
    (source / "a.jpg").write_bytes(picture(kind="JPEG"))
    entries = {
        "a.jpg": {
            "filename": "a.jpg",
            "unprocessed": "head\n>be me\n>x",
            "truncated": ">be me\n>x",
            "verified": ">be me\n>X",
        },
        "b.jpg": {"filename": "../../etc/passwd", "unprocessed": ">b", "truncated": ">b\nwrapped"},
        "c.jpg": {"filename": "c.jpg"},
        "d.jpg": 7,
        "e.jpg": {"filename": "e.jpg", "truncated": 5},
    }
    (source / "db.json").write_text(json.dumps(entries), encoding="utf-8")
    assert recognised(source).kind is InputKind.ORIGINAL_APP
    summary = bring_in(tmp_path / "c", source)
    assert summary.kept == 2
    assert summary.dropped == {"not_an_entry": 2, "no_text": 1}
    assert summary.counted == {"pictures": 1, "image_outside": 1}
    with desk(tmp_path / "c") as here:
        ann = here.person()
        row = ann.row("1")
        assert (row["queue"], row["text"], row["imported_text"]) == ("accepted", ">be me\n>X", ">be me\n>x")
        assert row["raw_text"] == "head\n>be me\n>x"
        assert [(v["action"], v["person"]) for v in ann.get("/api/rows/1/history")["versions"]] == [
            ("accept", "import"), ("import", "import"),
        ]  # fmt: skip
        assert ann.row("2")["queue"] == "todo"
        assert ann.row("2")["problems"] == 1
        assert ann.get("/api/progress")["people"] == []  # nobody did that here


def test_rated_generations_come_in(tmp_path: Path) -> None:
    rated = {"id": "g1", "text": text_of(1), "model": "tiny", "rating": "good", "rated_at_s": 1.5, "prompt": ">be me"}
    rows = [rated, rated | {"id": "g2", "text": text_of(2), "rating": "bad"}, rated | {"id": "g3", "rating": "meh"}]
    summary = bring_in(tmp_path / "c", write_rows(tmp_path / "ratings.jsonl", rows))
    assert (summary.kept, summary.dropped) == (2, {"not_a_row": 1})
    assert table(tmp_path / "c", "SELECT key, source, origin, queue, reason FROM rows ORDER BY id") == [
        ("synthetic:rated-g1", "synthetic", "rated good: tiny", "todo", ""),
        ("synthetic:rated-g2", "synthetic", "rated bad: tiny", "rejected", "rated_bad"),
    ]
    assert bring_in(tmp_path / "c", tmp_path / "ratings.jsonl").counted == {"unchanged": 2}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("posts.jsonl", '{"id": "1", "image_urls": []}\n', "holds no text rows"),
        ("x.jsonl", "\x00\xff", "holds no text rows"),
        ("x.txt", ">be me\n", "holds no text rows"),
        ("db.json", "[", "is not JSON"),
        ("db.json", "[]", "is no JSON object"),
        ("db.json", '{"a": 1}', "'a' is no entry"),
        ("db.json", "[" * 100_000, "is not JSON"),
        ("rated.jsonl", '{"rating": "good"}', "holds no rated generations"),
    ],
)
def test_what_is_no_input_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="latin-1")
    with pytest.raises(StageError, match=message) as refused:
        recognised(tmp_path / name)
    assert str(tmp_path / name) in str(refused.value)


def test_a_folder_of_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"holds neither kept.jsonl nor db.json"):
        recognised(tmp_path)
    (tmp_path / "journal.jsonl").touch()
    with pytest.raises(StageError, match="its stage has not finished"):
        recognised(tmp_path)
    with pytest.raises(StageError, match="is not there"):
        recognised(tmp_path / "none")


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the original app's sample is not on this machine")
def test_the_original_apps_own_sample_comes_in(tmp_path: Path) -> None:
    assert bring_in(tmp_path / "c", SAMPLE).kept == len(json.loads(SAMPLE.read_text(encoding="utf-8")))
