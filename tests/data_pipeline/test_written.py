from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from data_pipeline.rows import Source, TextRow
from data_pipeline.stage import DROPPED, StageError, Summary, read_rows
from data_pipeline.written import WrittenSettings, run

if TYPE_CHECKING:
    from pathlib import Path


def made(tmp_path: Path, **contents: str) -> tuple[Summary, list[TextRow], list[dict[str, Any]]]:
    paths = []
    for name, content in contents.items():
        paths.append(tmp_path / name.replace("_", "."))
        paths[-1].write_text(content, encoding="utf-8")
    summary = run(paths, tmp_path / "out", WrittenSettings())
    dropped = (tmp_path / "out" / DROPPED).read_bytes().split(b"\n")[:-1]
    return summary, list(read_rows(tmp_path / "out", TextRow)), [json.loads(line) for line in dropped]


def test_objects_become_rows_in_canonical_form(tmp_path: Path) -> None:
    lines = [
        {"text": ">be me\n>eat cake", "theme": "food", "genre": "thanks", "source": "elsewhere"},
        {"text": "> be “you”\n\n&gt;eat pie", "theme": None},
    ]
    _, rows, dropped = made(tmp_path, a_jsonl="\n\n".join(json.dumps(line) for line in lines))
    assert [(row.text, row.theme, row.origin) for row in rows] == [
        (">be me\n>eat cake", "food", "a.jsonl:1"),
        ('>be "you"\n>eat pie', "", "a.jsonl:3"),
    ]
    assert {row.source for row in rows} == {Source.WRITTEN}
    assert len({row.id for row in rows}) == 2
    assert dropped == []


def test_plain_text_has_blank_lines_between_greentexts(tmp_path: Path) -> None:
    _, rows, _ = made(tmp_path, a_txt="\n>be me\n>one\n\n\n  \n>be you\n>two\r\n>three")
    assert [(row.text, row.origin) for row in rows] == [
        (">be me\n>one", "a.txt:2"),
        (">be you\n>two\n>three", "a.txt:7"),
    ]


def test_what_is_no_greentext_is_set_aside_with_its_place(tmp_path: Path) -> None:
    content = (
        '[1]\nnull\n{"text": 3}\n{"txt": ">a"}\n{"text": ">be me\\nno mark"}\n{"text": ">>12"}\n{"text": ""}\n{"text"'
    )
    summary, rows, dropped = made(tmp_path, a_jsonl=content)
    assert rows == []
    assert summary.dropped == {"not_an_object": 5, "not_a_greentext": 3}
    assert [drop["detail"].split(" ")[0] for drop in dropped] == [f"a.jsonl:{line}:" for line in range(1, 9)]
    assert "line 2 does not begin with '>'" in dropped[4]["detail"]


def test_a_text_counts_once_over_all_files(tmp_path: Path) -> None:
    _, rows, dropped = made(tmp_path, a_txt=">be me\n>one", b_txt="> be me\n> one\n\n>be me\n>two")
    assert [row.text for row in rows] == [">be me\n>one", ">be me\n>two"]
    assert [(drop["reason"], drop["detail"]) for drop in dropped] == [("same_text", "b.txt:1: as a.txt:1")]


def test_a_texts_id_is_its_own_wherever_it_stands(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    _, before, _ = made(tmp_path / "a", a_txt=">be me\n>one")
    _, after, _ = made(tmp_path / "b", b_txt=">be you\n>zero\n\n>be me\n>one")
    assert after[1].id == before[0].id


@pytest.mark.parametrize(
    ("content", "message"), [(b"\xff", "is not UTF-8 at byte 0"), (None, "is not there; is the path right")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(StageError, match=message):
        run([tmp_path / "a.txt"], tmp_path / "out", WrittenSettings())
