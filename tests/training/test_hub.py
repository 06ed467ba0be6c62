"""Bases and datasets of a hub, spoken to over HTTP in processes of their own, as HF_ENDPOINT is read once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.training.conftest import greentexts
from tests.training.hub_of_datasets import HubOfBoth, serving_both

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = """\
import json, sys
from pathlib import Path
from training.hub import HubError, Pins, fetch_base, fetch_dataset, fetch_tokenizer
from training.import_source import ImportSourceError
kind, name, revision, pins, renew = sys.argv[1:]
pins = Pins(Path(pins), renew=bool(renew))
fetch = {"base": fetch_base, "weights": fetch_base, "data": fetch_dataset}
try:
    if kind == "tokenizer":
        found = fetch_tokenizer(name, revision, pins)
        print(json.dumps({"names": sorted(path.name for path in found.iterdir())}))
    else:
        elsewhere = {"tokenizer_elsewhere": True} if kind == "weights" else {}
        found = fetch[kind](name, revision, pins, **elsewhere)
        names = sorted(str(path.relative_to(found.directory)) for path in found.directory.rglob("*") if path.is_file())
        print(json.dumps({"described": found.described, "commit": found.commit, "names": names}))
except (HubError, ImportSourceError) as error:
    print(json.dumps({"error": str(error)}))
assert "torch" not in sys.modules
"""


@pytest.fixture
def hub() -> Iterator[HubOfBoth]:
    with serving_both() as hub:
        yield hub


@pytest.fixture
def fetch(hub: HubOfBoth, tmp_path: Path) -> Any:
    def fetch(kind: str, name: str, revision: str = "main", *, renew: bool = False, **environment: str) -> Any:
        settings = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, kind, name, revision, str(tmp_path / "pins.json"), "1" if renew else ""],
            env={**os.environ, **settings, **environment},
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return fetch


def texts(directory: Path, count: int = 100) -> Path:
    (directory / "data").mkdir(parents=True)
    rows = "".join(json.dumps(row) + "\n" for row in greentexts(count))
    (directory / "data" / "train.jsonl").write_text(rows, encoding="utf-8")
    (directory / "README.md").write_text("# Texts\n", encoding="utf-8")
    (directory / "texts.py").write_text("raise SystemExit\n", encoding="utf-8")
    return directory


def base(directory: Path, **files: str) -> Path:
    directory.mkdir()
    for name, content in ({"config.json": "{}", "model.safetensors": "weights"} | files).items():
        (directory / name).write_text(content, encoding="utf-8")
    return directory


def test_a_branch_is_pinned_at_its_first_use_and_renewed_when_asked(hub: HubOfBoth, fetch: Any, tmp_path: Path) -> None:
    first = hub.add("datasets/someone/texts", texts(tmp_path / "first"))
    found = fetch("data", "someone/texts")
    assert found["described"] == f"someone/texts@{first}"
    assert found["names"] == ["README.md", "data/train.jsonl"], "no code is fetched"
    pins = json.loads((tmp_path / "pins.json").read_text(encoding="utf-8"))
    assert pins == {"dataset:someone/texts@main": first}

    second = hub.add("datasets/someone/texts", texts(tmp_path / "second", 50))
    assert second != first
    assert fetch("data", "someone/texts") == found, "the branch has moved, this run has not"
    assert fetch("data", "someone/texts", renew=True)["commit"] == second
    assert fetch("data", "someone/texts")["commit"] == second
    assert fetch("data", "someone/texts", first)["commit"] == first
    assert not [asked for asked in hub.asked if ".py" in asked]


def test_what_was_fetched_is_there_without_a_hub(hub: HubOfBoth, fetch: Any, tmp_path: Path) -> None:
    hub.add("datasets/someone/texts", texts(tmp_path / "texts"))
    found = fetch("data", "someone/texts")
    for gone in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        assert fetch("data", "someone/texts", **gone) == found
    assert "was not fetched before" in fetch("data", "someone/others", HF_HUB_OFFLINE="1")["error"]


def test_a_base_is_pinned_too_and_its_tokenizer_may_be_of_another_revision(
    hub: HubOfBoth, fetch: Any, tmp_path: Path
) -> None:
    """As TinyStories-1M is on the hub: the conversion to safetensors is older than the tokenizer."""
    pickled = base(tmp_path / "main", **{"tokenizer.json": "{}", "pytorch_model.bin": "pickle"})
    (pickled / "model.safetensors").unlink()
    main = hub.add("someone/tiny", pickled)
    converted = hub.add("someone/tiny", base(tmp_path / "converted"), revision="refs/pr/1")
    assert "pickled" in fetch("base", "someone/tiny")["error"]
    assert "tokenizer.json is missing" in fetch("base", "someone/tiny", "refs/pr/1")["error"]
    assert "no safetensors" in fetch("weights", "someone/tiny", main)["error"]
    found = fetch("weights", "someone/tiny", "refs/pr/1")
    assert "error" not in found, found
    assert found["described"] == f"someone/tiny@{converted}"
    assert found["names"] == ["config.json", "model.safetensors"]
    assert "tokenizer.json" in fetch("tokenizer", "someone/tiny", main)["names"]
    moved = hub.add("someone/tiny", base(tmp_path / "moved", **{"README.md": "new"}), revision="refs/pr/1")
    assert moved != converted
    assert fetch("weights", "someone/tiny", "refs/pr/1")["commit"] == converted
    assert not [asked for asked in hub.asked if asked.endswith(".bin")]


def test_what_cannot_be_had_is_said(hub: HubOfBoth, fetch: Any, tmp_path: Path) -> None:
    hub.add("datasets/someone/texts", texts(tmp_path / "texts"))
    assert "check its spelling" in fetch("data", "someone/nothing")["error"]
    assert "does not exist" in fetch("data", "someone/texts", "v9")["error"]
    assert "neither a path" in fetch("data", "nothing here")["error"]
    hub.gated.add("datasets/someone/texts")
    assert "accept its terms" in fetch("data", "someone/texts")["error"]
    (tmp_path / "pins.json").write_text("{", encoding="utf-8")
    assert re.search("damaged.*remove it", fetch("data", "someone/texts")["error"])
    assert fetch("data", str(tmp_path / "texts"))["commit"] == ""
