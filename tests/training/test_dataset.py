"""Texts in all forms that they come in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from data_pipeline.dataset import DatasetSettings
from data_pipeline.dataset import run as make_dataset
from data_pipeline.dataset.stage import published_sha256
from data_pipeline.rows import Source, TextRow
from tests.training.bases import write_folder_of_texts
from tests.training.conftest import greentexts
from training.corpus import CorpusError
from training.dataset import SPLITS, load_corpus, only, read_corpus, write_corpus

if TYPE_CHECKING:
    from pathlib import Path

ROWS = greentexts(160)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset as gtx-data writes it."""
    folder = tmp_path_factory.mktemp("dataset")
    sources = (Source.WRITTEN, Source.REDDIT_TEXT)
    rows = [
        TextRow(id=f"t:{number}", text=row["text"], source=sources[number % 2], theme="test")
        for number, row in enumerate(ROWS)
    ]
    hard = [
        TextRow(id=f"hard:{number}", text=f">be me\n>my {word} is a quokka\n>thanks, paradox", source=Source.WRITTEN)
        for number, word in enumerate(("zeitgeist", "quasar", "fjord", "sphinx"))
    ]
    lines = "".join(row.model_dump_json() + "\n" for row in [*rows, *hard])
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    make_dataset([folder / "rows.jsonl"], folder / "out", DatasetSettings(name="pleasant", similarity=1))
    return folder / "out"


def test_a_dataset_keeps_its_configurations_splits_and_hash(published: Path) -> None:
    full = read_corpus(published, "full")
    assert full.name == "pleasant (full)"
    assert full.sha256 == published_sha256(published)
    assert sum(len(full.split(split)) for split in SPLITS) == 164
    kept = [json.loads(line) for line in (published / "kept.jsonl").read_text(encoding="utf-8").splitlines()]
    for split in SPLITS:
        assert {d.text for d in full.split(split)} == {row["text"] for row in kept if row["split"] == split}
    thanks, simple, real = (read_corpus(published, choice) for choice in ("thanks", "simple", "real"))
    assert {d.genre for split in SPLITS for d in thanks.split(split)} == {"thanks"}
    assert len(simple.train) < len(full.train)
    assert "zeitgeist" not in "".join(simple.all_texts)
    assert {d.source for split in SPLITS for d in real.split(split)} == {"reddit-text"}
    assert read_corpus(published / "published", "full") == full


def test_a_folder_of_texts_is_split_by_letters_and_chosen_from(tmp_path: Path) -> None:
    folder = write_folder_of_texts(tmp_path / "texts")
    full = read_corpus(folder, "full")
    assert full.name == "texts (full)"
    assert sorted(full.all_texts) == sorted(row["text"] for row in ROWS)
    assert len(full.train) > 100
    thanks = read_corpus(folder, "thanks")
    assert set(thanks.all_texts) == {row["text"] for row in ROWS if row["genre"] == "thanks"}
    assert {d.text for d in thanks.test} < {d.text for d in full.test}, "a text is in one split, whatever is chosen"
    assert read_corpus(folder, "full").sha256 == full.sha256 != thanks.sha256
    # One file as well as a folder, Windows' line ends too.
    one = tmp_path / "one.txt"
    one.write_bytes("\r\n \r\n".join(row["text"].replace("\n", "\r\n") for row in ROWS).encode())
    assert sorted(read_corpus(one, "full").all_texts) == sorted(full.all_texts)


def test_json_lines_take_the_splits_of_their_files(tmp_path: Path) -> None:
    parts = {"train": ROWS[:100], "validation": ROWS[100:120], "test": ROWS[120:]}
    for split, rows in parts.items():
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    corpus = read_corpus(tmp_path, "full")
    assert {split: len(corpus.split(split)) for split in SPLITS} == {"train": 100, "validation": 20, "test": 40}
    (tmp_path / "validation.jsonl").unlink()
    fewer = read_corpus(tmp_path, "full")
    assert fewer.test == corpus.test
    assert 0 < len(fewer.validation) < 20
    assert len(fewer.train) + len(fewer.validation) == 100


def parquet(path: Path, columns: dict[str, list[Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_the_original_projects_datasets_are_read(tmp_path: Path) -> None:
    """One configuration, one split, the texts in `greentexts`, spelled with spaces, among them what is none."""
    texts = [row["text"].replace(">", "> ") for row in ROWS]
    odd = ["", "I cannot help with that.", ">be me\nno marker here\n>end", None]
    columns = {"greentexts": [*texts, *odd, texts[0].upper()], "Unnamed: 0": list(range(len(texts) + 5))}
    parquet(tmp_path / "data" / "train-00000-of-00001.parquet", columns)
    corpus = read_corpus(tmp_path, "full", name="someone/texts@abc")
    assert corpus.name == "someone/texts@abc (full)"
    assert sorted(corpus.all_texts) == sorted(row["text"] for row in ROWS)
    assert corpus.dropped == {"empty": 2, "line_without_marker": 2, "same_text": 1}
    assert {d.genre for d in corpus.train} == {"thanks", "general"}
    assert set(read_corpus(tmp_path, "thanks").all_texts) < set(corpus.all_texts)
    single = tmp_path / "data" / "train-00000-of-00001.parquet"
    assert read_corpus(single, "full").all_texts == corpus.all_texts


def test_a_dataset_saved_to_disk_is_read(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    rows = [{"text": row["text"], "genre": row["genre"]} for row in ROWS]
    saved = DatasetDict({"train": Dataset.from_list(rows[:120]), "test": Dataset.from_list(rows[120:])})
    saved.save_to_disk(str(tmp_path / "saved"))
    corpus = read_corpus(tmp_path / "saved", "full")
    assert {d.text for d in corpus.test} == {row["text"] for row in rows[120:]}
    assert corpus.validation


def test_what_is_held_out_is_not_trained_on_under_another_spelling(tmp_path: Path) -> None:
    held_out = ROWS[150:]
    train = [*ROWS[:150], {"text": held_out[0]["text"].replace(">", "> ").upper()}]
    for name, rows in (("train", train), ("test", held_out), ("validation", ROWS[140:150])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    corpus = read_corpus(tmp_path, "full")
    assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == (140, 10, 10)
    assert corpus.dropped == {"same_text": 11}


def test_a_corpus_survives_the_disk_and_a_cut_one_is_noticed(tmp_path: Path) -> None:
    corpus = read_corpus(write_folder_of_texts(tmp_path / "texts"), "full")
    write_corpus(corpus, tmp_path / "work")
    assert load_corpus(tmp_path / "work") == corpus
    train = tmp_path / "work" / "train.jsonl"
    whole = train.read_text(encoding="utf-8")
    train.write_text(whole[: whole.rindex("{")], encoding="utf-8")
    with pytest.raises(CorpusError, match="remove it"):
        load_corpus(tmp_path / "work")
    train.write_text(whole[:-20], encoding="utf-8")
    with pytest.raises(CorpusError, match="gtx-train data"):
        load_corpus(tmp_path / "work")


def test_what_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "page.html").write_text("<p>", encoding="utf-8")
    (tmp_path / "few.txt").write_text(">be me\n>end", encoding="utf-8")
    (tmp_path / "talk.txt").write_text("hello\n\nhow are you", encoding="utf-8")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "train.parquet").write_bytes(b"PAR1 nothing of the kind")
    parquet(tmp_path / "other" / "train.parquet", {"story": [">be me"]})
    for path, message in (
        ("nowhere", "does not exist"),
        ("empty", "put your texts there"),
        ("page.html", "of no kind that can be read"),
        ("few.txt", "give more texts"),
        ("talk.txt", "2 line without marker"),
        ("damaged", "cannot be read as a dataset"),
        ("other", "no column text; it has story"),
    ):
        with pytest.raises(CorpusError, match=message):
            read_corpus(tmp_path / path, "full")


def test_a_configuration_that_is_not_there_is_named(published: Path, tmp_path: Path) -> None:
    card = (published / "published" / "README.md").read_text(encoding="utf-8")
    assert "config_name: real" in card
    with pytest.raises(CorpusError, match="no configuration poems; it has full"):
        read_corpus(published, "full", configuration="poems")


def test_leaving_out_too_much_is_an_error_that_tells_why(tmp_path: Path) -> None:
    corpus = read_corpus(write_folder_of_texts(tmp_path / "texts"), "full")
    assert only(corpus, lambda _: True, "not_simple") is corpus
    fewer = only(corpus, lambda text: "cake" not in text, "about_cake")
    assert fewer.dropped["about_cake"] == len(corpus.all_texts) - len(fewer.all_texts) > 0
    with pytest.raises(CorpusError, match="about cake"):
        only(corpus, lambda text: text in {d.text for d in corpus.train}, "about_cake")
