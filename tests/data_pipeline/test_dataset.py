from __future__ import annotations

import json
import os
import random
import shutil
import struct
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from data_pipeline.dataset import DatasetSettings, run
from data_pipeline.dataset.rows import COLUMNS, Configuration, DatasetRow, Split
from data_pipeline.dataset.stage import published_sha256
from data_pipeline.filters.duplicates import similarity
from data_pipeline.rows import Source, TextRow
from data_pipeline.stage import DROPPED, StageError, StageRun, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

WHO = ("mom", "grandma", "the bus driver", "a small cat", "my friend", "an old man", "the baker", "a girl")
WHAT = ("a cake", "a red ball", "some soup", "a warm hat", "one cookie", "a kite", "a note", "the last bun")
WHERE = ("at the park", "in the kitchen", "on the bus", "by the lake", "at school", "in the snow")
SHARES = {"validation": 0.15, "test": 0.25}


def text_rows(count: int, seed: int = 1) -> list[TextRow]:
    """Texts that share little, some with hard words, of all sources; every tenth nearly repeats the one before."""
    rng = random.Random(seed)
    rows: list[TextRow] = []
    for number in range(count):
        words = [rng.choice([*WHO, *WHAT, *WHERE]) for _ in range(12)]
        lines = [" ".join(words[at : at + 3]) for at in range(0, 12, 3)]
        if number % 3 == 0:
            lines.append(f"thank you {rng.choice(WHO)}")
        if number % 7 == 0:
            lines.insert(1, "notwithstanding the epistemological quandary")
        text = "\n".join(f">{line}" for line in lines)
        if number % 10 == 9:
            text = f"{rows[-1].text}\n>the end {number}"
        source = list(Source)[number % 4]
        rows.append(
            TextRow(id=f"{source}:{seed}-{number}", text=text, source=source, theme=("animals", "food", "")[number % 3])
        )
    return rows


def write(path: Path, rows: Iterable[TextRow]) -> Path:
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    return path


def made(folder: Path, rows: Iterable[TextRow], **settings: Any) -> list[DatasetRow]:
    source = write(folder.with_name(f"{folder.name}.jsonl"), rows)
    run([source], folder, DatasetSettings(**(SHARES | settings)))
    return list(read_rows(folder, DatasetRow))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "out"
    made(folder, text_rows(240))
    return folder


@pytest.fixture
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize("configuration", list(Configuration))
def test_every_configuration_is_loaded_by_its_name(dataset: Path, tmp_path: Path, configuration: str) -> None:
    import datasets

    loaded = datasets.load_dataset(str(dataset / "published"), configuration, cache_dir=str(tmp_path / "cache"))
    assert isinstance(loaded, datasets.DatasetDict)
    assert {name: str(feature.dtype) for name, feature in loaded["train"].features.items()} == COLUMNS
    rows = [row for row in read_rows(dataset, DatasetRow) if row.belongs_to(Configuration(configuration))]
    for split in Split:
        expected = {row.id: row.text for row in rows if row.split is split}
        assert dict(zip(loaded[split]["id"], loaded[split]["text"], strict=True)) == expected
        assert expected


@pytest.mark.slow
@pytest.mark.usefixtures("_offline")
def test_without_a_name_the_whole_is_loaded(dataset: Path, tmp_path: Path) -> None:
    import datasets

    names = datasets.get_dataset_config_names(str(dataset / "published"))
    assert names == list(Configuration)
    assert datasets.get_dataset_default_config_name(str(dataset / "published")) == "full"


def test_configurations_hold_what_their_names_say(dataset: Path) -> None:
    for row in read_rows(dataset, DatasetRow):
        assert row.belongs_to(Configuration.FULL)
        assert row.belongs_to(Configuration.SIMPLE) == ("epistemological" not in row.text)
        assert row.belongs_to(Configuration.THANKS) == ("thank" in "".join(row.text.split("\n")[-2:]))
        assert row.belongs_to(Configuration.REAL) == row.source.startswith("reddit")


def test_no_near_duplicate_straddles(dataset: Path) -> None:
    rows = list(read_rows(dataset, DatasetRow))
    near = 0
    for one, other in combinations(rows, 2):
        if similarity(one.text, other.text) >= 0.4:
            near += 1
            assert (one.split, one.cluster) == (other.split, other.cluster)
    assert near >= 20


def test_the_result_does_not_depend_on_the_order_of_texts_or_of_files(tmp_path: Path) -> None:
    rows = text_rows(60)
    one = write(tmp_path / "one.jsonl", rows[:30])
    other = write(tmp_path / "other.jsonl", rows[30:])
    turned = write(tmp_path / "turned.jsonl", rows[::-1])
    hashes = set()
    for number, inputs in enumerate(([one, other], [other, one], [turned])):
        folder = tmp_path / str(number)
        run(inputs, folder, DatasetSettings(**SHARES))
        hashes.add(published_sha256(folder))
    assert len(hashes) == 1


def test_the_hash_changes_with_any_text_and_with_no_date(tmp_path: Path) -> None:
    rows = text_rows(30)
    made(tmp_path / "a", rows)
    made(tmp_path / "b", rows)
    os.utime(tmp_path / "b" / "published" / "full" / "train.parquet", (0, 0))
    made(tmp_path / "c", [*rows[:-1], rows[-1].model_copy(update={"theme": "other"})])
    made(tmp_path / "d", rows, validation=0.3)
    one, same, theme, shares = (published_sha256(tmp_path / name) for name in "abcd")
    assert one == same
    assert len({one, theme, shares}) == 3


def test_the_same_texts_make_the_same_files(tmp_path: Path) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        published = folder / "published"
        return {str(path.relative_to(published)): path.read_bytes() for path in published.rglob("*") if path.is_file()}

    for name in "ab":
        made(tmp_path / name, text_rows(30))
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_with_an_earlier_dataset_every_text_keeps_its_split(tmp_path: Path) -> None:
    rows = text_rows(80)
    before = {row.text: row.split for row in made(tmp_path / "before", rows)}
    # Each newcomer joins two old texts, which may be of two splits.
    bridges = [
        TextRow(id=f"written:bridge{number}", text=f"{one.text}\n{other.text}", source=Source.WRITTEN)
        for number, (one, other) in enumerate(zip(rows[0:40:2], rows[41:80:2], strict=True))
    ]
    grown = [*rows, *text_rows(80, seed=2), *bridges]
    after = {row.text: row.split for row in made(tmp_path / "after", grown, previous=tmp_path / "before")}
    assert {text: after[text] for text in before} == before
    assert len(after) > len(before) + 50
    dropped = [json.loads(line) for line in (tmp_path / "after" / DROPPED).read_text(encoding="utf-8").splitlines()]
    assert {drop["reason"] for drop in dropped} == {"joins_splits"}
    kept = list(after)
    for one, other in combinations(kept, 2):
        if after[one] != after[other]:
            assert similarity(one, other) < 0.4


def test_an_earlier_dataset_cannot_be_where_the_new_one_goes(tmp_path: Path) -> None:
    made(tmp_path / "out", text_rows(20))
    settings = DatasetSettings(previous=tmp_path / "out", **SHARES)
    with pytest.raises(StageError, match="is where the new dataset goes"):
        run([tmp_path / "out.jsonl"], tmp_path / "out", settings, restart=True)
    assert list(read_rows(tmp_path / "out", DatasetRow))


def test_what_cannot_be_published_is_dropped_with_a_reason(tmp_path: Path) -> None:
    good = TextRow(id="written:1", text=">be me\n>eat cake", source=Source.WRITTEN)
    rows = [
        good,
        good.model_copy(update={"id": "synthetic:1", "source": Source.SYNTHETIC}),
        good.model_copy(update={"text": ">be you\n>eat pie"}),
        good.model_copy(update={"id": "written:2", "text": "> be me"}),
        good.model_copy(update={"id": "written:3", "text": ""}),
    ]
    kept = made(tmp_path / "out", rows)
    assert [row.id for row in kept] == ["written:1"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["dropped"] == {"not_canonical": 2, "same_id": 1, "same_text": 1}


def test_a_dataset_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no text is left"):
        made(tmp_path / "out", [])
    with pytest.raises(StageError, match="name the folder that filters wrote"):
        run([], tmp_path / "other", DatasetSettings())


@pytest.mark.slow
@pytest.mark.usefixtures("_offline")
def test_a_configuration_or_split_without_rows_is_left_out(tmp_path: Path) -> None:
    import datasets

    rows = [TextRow(id=f"written:{n}", text=f">be me\n>number {n}", source=Source.WRITTEN) for n in range(3)]
    made(tmp_path / "out", rows, validation=0, test=0)
    published = tmp_path / "out" / "published"
    assert sorted(path.name for path in published.iterdir() if path.is_dir()) == ["full", "plots", "simple"]
    loaded = datasets.load_dataset(str(published), cache_dir=str(tmp_path / "cache"))
    assert {name: len(part) for name, part in loaded.items()} == {"train": 3}
    assert "No text belongs to `thanks`, `real`." in (published / "README.md").read_text(encoding="utf-8")


def test_the_card_tells_what_a_reader_must_know(tmp_path: Path) -> None:
    folder = tmp_path / "filters"
    with StageRun(folder, "filters", {}) as stage:
        for position, row in enumerate(text_rows(60)):
            stage.record(position, row.id, kept=[row])
        stage.finish()
    run([folder], tmp_path / "out", DatasetSettings(license="cc-by-4.0", name='A "name": yes', **SHARES))
    published = tmp_path / "out" / "published"
    card = (published / "README.md").read_text(encoding="utf-8")
    import yaml

    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "cc-by-4.0"
    assert front["pretty_name"] == 'A "name": yes'
    assert [config["config_name"] for config in front["configs"]] == list(Configuration)
    for part in (
        *Source,
        "rights",
        published_sha256(tmp_path / "out"),
        "| filters | kept | 60 |",
        "take" and "publisher",
    ):
        assert part in card, part
    for name in ("lengths", "composition", "themes"):
        picture = (published / "plots" / f"{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", picture[16:24])
        assert width > 400
        assert height > 100
        assert f"(plots/{name}.png)" in card
    manifest = json.loads((published / "dataset.json").read_text(encoding="utf-8"))
    assert sum(manifest["rows"]["full"].values()) == 60
    for configuration, splits in manifest["rows"].items():
        for split, count in splits.items():
            (info,) = [part for part in front["dataset_info"] if part["config_name"] == configuration]
            assert count == next(part["num_examples"] for part in info["splits"] if part["name"] == split)


@pytest.mark.parametrize("theme", ["$x_", "x" * 500, "猫 🐈", "a\nb\x07", '"---\n'])
def test_a_theme_may_be_called_anything(tmp_path: Path, theme: str) -> None:
    rows = [row.model_copy(update={"theme": theme}) for row in text_rows(9)]
    assert {row.theme for row in made(tmp_path / "out", rows, name=f"of {theme[:50]}")} == {theme}
    import yaml

    card = (tmp_path / "out" / "published" / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.removeprefix("---\n").split("\n---\n")[0])
    assert front["pretty_name"] == f"of {theme[:50]}"


def test_names_of_users_and_what_ocr_misread_are_not_published(tmp_path: Path) -> None:
    row = TextRow(
        id="reddit-ocr:abc-0", text=">be me\n>eat cake", source=Source.REDDIT_OCR, raw_text="Anonymous SECRET",
        image="pictures/SECRET.png", line_confidences=(0.5, 0.5),
    )  # fmt: skip
    made(tmp_path / "out", [row])
    for path in (tmp_path / "out" / "published").rglob("*"):
        assert path.is_dir() or b"SECRET" not in path.read_bytes()


def test_a_run_killed_while_it_publishes_is_made_whole_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import data_pipeline.dataset.stage as module

    expected = made(tmp_path / "whole", text_rows(40))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path / "out", text_rows(40))
    assert not (tmp_path / "out" / "published").exists()
    assert not (tmp_path / "out" / "summary.json").exists()
    assert made(tmp_path / "out", text_rows(40)) == expected
    assert published_sha256(tmp_path / "out") == published_sha256(tmp_path / "whole")
    assert not list((tmp_path / "out").glob("*.part"))


def test_a_published_folder_that_is_gone_is_missed(tmp_path: Path) -> None:
    made(tmp_path / "out", text_rows(20))
    shutil.rmtree(tmp_path / "out" / "published")
    with pytest.raises(StageError, match="--restart to make the dataset again"):
        made(tmp_path / "out", text_rows(20))
