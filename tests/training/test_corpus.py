from __future__ import annotations

import json
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from training.corpus import (
    SYNTHETIC,
    CorpusError,
    Document,
    read_greentexts,
    read_stories,
    sha256_of,
    split_of,
    take_split,
)

ROOT = Path(__file__).resolve().parents[2]


@given(st.text(), st.lists(st.text(), max_size=5))
def test_a_split_depends_on_the_text_alone(text: str, others: list[str]) -> None:
    split = split_of(text, validation=0.05, test=0.1)
    documents = [Document(text=one) for one in [*others, text, *others]]
    assert text in [document.text for document in take_split(documents, split)]


@given(st.text(alphabet=st.characters(codec="ascii")))
def test_spelling_does_not_move_a_text_across_the_split(text: str) -> None:
    spelled = f"> {text.upper()} !"
    assert split_of(text, validation=0.3, test=0.3) == split_of(spelled, validation=0.3, test=0.3)


def test_splits_stay_where_they_are() -> None:
    # The tokenizer and the published figures rest on this: a change here changes what is held out.
    splits = [split_of(f"text {number}", validation=0.05, test=0.1) for number in range(40)]
    expected = "ttttttttttttttttTtttttttttttttttttTttttt"
    assert "".join({"train": "t", "test": "T", "validation": "V"}[split] for split in splits) == expected


def test_every_document_is_in_one_split_and_shares_are_kept() -> None:
    documents = [Document(text=f"text {number}") for number in range(4000)]
    taken = {split: take_split(documents, split) for split in ("train", "validation", "test")}
    assert sorted(d.text for part in taken.values() for d in part) == sorted(d.text for d in documents)
    assert 0.08 < len(taken["test"]) / 4000 < 0.12
    assert 0.035 < len(taken["validation"]) / 4000 < 0.065


@pytest.mark.parametrize(("validation", "test"), [(-0.1, 0.1), (0.5, 0.5), (0.1, 1.0)])
def test_shares_that_leave_nothing_are_refused(validation: float, test: float) -> None:
    with pytest.raises(CorpusError, match="shares"):
        take_split([], "train", validation=validation, test=test)


def test_stories_are_read_plain_and_compressed(tmp_path: Path) -> None:
    content = "One day.\n<|endoftext|>\n\n  Ünder the sea. \n<|endoftext|>\n<|endoftext|>"
    plain, packed = tmp_path / "a.txt", tmp_path / "a.txt.zst"
    plain.write_text(content, encoding="utf-8")
    packed.write_bytes(zstandard.compress(content.encode()))
    for path in (plain, packed):
        assert [story.text for story in read_stories(path)] == ["One day.", "Ünder the sea."]


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    for name, content, message in (
        ("a.txt", b"\xff\xfe", "not UTF-8"),
        ("b.txt.zst", b"not zstd at all", "zstd"),
        ("c.txt", b" <|endoftext|> ", "no story"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CorpusError, match=message) as caught:
            read_stories(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(CorpusError, match="does not exist"):
        read_stories(tmp_path / "none.txt")


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"text": ""}', '{"text": 3}', '{"text": "a", "genre": null}'])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "g.jsonl"
    path.write_text(json.dumps({"text": ">be me"}) + "\n\n" + line + "\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="line 3"):
        read_greentexts(path)


def test_line_separators_within_a_text_do_not_break_a_line(tmp_path: Path) -> None:
    path = tmp_path / "g.jsonl"
    path.write_text(json.dumps({"text": "a\u2028b\x85c"}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_greentexts(path)[0].text == "a\u2028b\x85c"


def test_the_hash_tells_order_and_borders() -> None:
    one, two, both = Document(text="ab"), Document(text="c"), Document(text="abc")
    assert len({sha256_of(documents) for documents in ([one, two], [two, one], [both], [one])}) == 4


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    for name, text in (("b.jsonl", ">be b"), ("a.jsonl", ">be a"), ("notes.txt", "no greentext")):
        (tmp_path / name).write_text(json.dumps({"text": text}) + "\n", encoding="utf-8")
    assert [document.text for document in read_greentexts(tmp_path)] == [">be a", ">be b"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"empty holds no \.jsonl"):
        read_greentexts(tmp_path / "empty")


def test_synthetic_texts_are_trained_on_and_never_held_out() -> None:
    written = [Document(f">be number {i}") for i in range(200)]
    synthetic = [Document(f">be robot {i}", source=SYNTHETIC) for i in range(200)]
    held_out = [document for split in ("validation", "test") for document in take_split(written, split)]
    repeated = [Document(held_out[0].text.upper(), source=SYNTHETIC)]
    both = [*written, *synthetic, *repeated]
    assert take_split(both, "validation") + take_split(both, "test") == held_out
    assert take_split(both, "train") == [*take_split(written, "train"), *synthetic]
    # Where there is nothing else, some of them have to do.
    assert 0 < len(take_split(synthetic, "test")) < 50


def test_the_corpus_of_the_embedded_model_is_split() -> None:
    documents = read_greentexts(ROOT / "data" / "greentexts")
    taken = {split: take_split(documents, split) for split in ("train", "validation", "test")}
    assert sum(map(len, taken.values())) == len(documents) >= 3500
    assert all(len(part) >= 20 for part in taken.values())
