"""Rated texts on their way to the curation app."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from data_pipeline.curation.incoming import Incoming, InputKind, read, recognised
from service.store.__main__ import main
from service.store.export import BATCH_ROWS
from service.store.records import Rating
from tests.service.store.places import QUOTED_PASSWORD, Place, record, wait_for

if TYPE_CHECKING:
    from service.store.records import GenerationRecord
    from service.store.store import Store

ROOT = Path(__file__).resolve().parents[3]


def rate(store: Store, one: GenerationRecord, good: int, bad: int) -> None:
    store.record(one)
    for i in range(good + bad):
        store.rate(one.id, f"s{i}", Rating.GOOD if i < good else Rating.BAD).result(10)


def test_rated_texts_are_written_as_the_curation_app_reads_them(
    store: Store, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, even, none, gone = record(), record(text=">füße 🐸"), record(), record(), record(session_id="s0")
    rate(store, good, 2, 1)
    rate(store, bad, 0, 1)
    rate(store, even, 1, 1)
    rate(store, gone, 3, 0)
    store.record(none)
    store.delete(gone.id, "s0").result(10)
    wait_for(lambda: store.stats.pending == 0)
    out = tmp_path / "rated.jsonl"
    assert main(["export", "--database", place.url, "--out", str(out)]) == 0
    rows = {row["id"]: row for row in map(json.loads, out.read_text(encoding="utf-8").splitlines())}
    assert rows.keys() == {good.id, bad.id}
    rated_at_s = rows[good.id].pop("rated_at_s")
    assert good.created_s <= rated_at_s
    assert rows[good.id] == {
        "id": good.id, "text": good.text, "model": good.model, "rating": "good", "good": 2, "bad": 1,
        "prompt": ">be me",
    }  # fmt: skip
    assert (rows[bad.id]["rating"], rows[bad.id]["text"]) == ("bad", ">füße 🐸")
    assert "wrote 1 good and 1 bad texts" in (said := capsys.readouterr().err)
    assert "1 that are undecided" in said
    assert QUOTED_PASSWORD not in said

    given = recognised(out)
    assert given.kind is InputKind.RATINGS
    incoming = {row.key: row for row in read(given) if isinstance(row, Incoming)}
    assert {row.text for row in incoming.values()} == {good.text, bad.text}
    assert [row.decided is not None for row in incoming.values() if row.text == bad.text] == [True]


def test_more_rows_than_a_batch_are_all_written(place: Place, tmp_path: Path) -> None:
    place.change("INSERT INTO sessions VALUES ('s', 1, 1)")
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :last) "
    last = 2 * BATCH_ROWS + 1
    columns = "id, created_s, model, bundle_sha256, text, finish_reason, prompt_tokens, completion_tokens, queue_s, "
    place.change(
        f"INSERT INTO generations ({columns} prefill_s, decode_s, total_s, shared, good) {numbers}"  # noqa: S608
        "SELECT 'g' || i, 1, 'm', 'x', '>t', 'end', 1, 1, 0, 0, 0, 0, :no, 1 FROM n",
        last=last,
        no=False,
    )
    place.change("INSERT INTO ratings SELECT id, 's', 'good', 1, 1 FROM generations")
    out = tmp_path / "rated.jsonl"
    assert main(["export", "--database", place.url, "--out", str(out)]) == 0
    assert len({json.loads(line)["id"] for line in out.read_text().splitlines()}) == last
    assert [path.name for path in tmp_path.iterdir() if "rated" in path.name] == ["rated.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--database", "sqlite:///{folder}/missing.sqlite3", "--out", "{folder}/o.jsonl"], "is the path right?"),
        (["--database", f"mysql://u:{QUOTED_PASSWORD}@h/x", "--out", "{folder}/o.jsonl"], "another kind"),
        (["--database", "sqlite:///{folder}/empty.sqlite3", "--out", "{folder}/no/o.jsonl"], "No such file"),
    ],
)
def test_what_cannot_be_exported_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (tmp_path / "empty.sqlite3").touch()
    assert main(["export", *(argument.format(folder=tmp_path) for argument in arguments)]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert "s3cret" not in told


def test_the_command_takes_the_database_from_the_environment(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GREENTEXT_DATABASE_URL", raising=False)
    with pytest.raises(SystemExit):
        main(["migrate"])
    monkeypatch.setenv("GREENTEXT_DATABASE_URL", place.url)
    assert main(["migrate"]) == 0
    assert "is up to date" in capsys.readouterr().err


def test_it_can_be_started_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service.store", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "export" in done.stdout
