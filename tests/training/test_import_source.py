"""Fetching checkpoints: a hub spoken to over HTTP, in a process of its own, as HF_ENDPOINT is read once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.training.published import FakeHub, serving_hub
from training.import_source import ImportSourceError, find_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CARD = "---\nlicense: apache-2.0\nlanguage: [en]\n---\n# A model\n"
PROGRAM = """\
import json, sys
from training.import_source import ImportSourceError, find_source
try:
    found = find_source(sys.argv[1], sys.argv[2] or None)
    names = sorted(path.name for path in found.directory.iterdir())
    print(json.dumps({"base": found.described, "license": found.license, "commit": found.commit, "names": names}))
except ImportSourceError as error:
    print(json.dumps({"error": str(error)}))
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""


def repository(directory: Path, **files: str) -> Path:
    """Files of a checkpoint; their contents do not matter here."""
    directory.mkdir()
    files = {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors": "weights" * 5000} | files
    for name, content in files.items():
        if content:
            (directory / name).write_text(content, encoding="utf-8")
    return directory


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serving_hub() as hub:
        yield hub


@pytest.fixture
def find(hub: FakeHub, tmp_path: Path) -> Any:
    def find(name: str, revision: str = "", **environment: str) -> dict[str, Any]:
        settings = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, name, revision],
            env={**os.environ, **settings, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    return find


def test_a_repository_is_fetched_at_one_commit_and_without_what_could_run(
    hub: FakeHub, find: Any, tmp_path: Path
) -> None:
    made = repository(
        tmp_path / "made", **{"README.md": CARD, "pytorch_model.bin": "pickle", "modeling_x.py": "raise SystemExit"}
    )
    commit = hub.add("someone/model", made)
    found = find("someone/model")
    assert found["base"] == f"someone/model@{commit}"
    assert found["commit"] == commit
    assert found["license"] == "Apache-2.0"
    assert found["names"] == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    assert not [asked for asked in hub.asked if ".bin" in asked or ".py" in asked]
    resolved = [asked for asked in hub.asked if "/resolve/" in asked]
    assert resolved
    assert all(f"/resolve/{commit}/" in asked for asked in resolved), "a branch may move while it is fetched"

    # The same again asks for no file twice, and once the hub is gone, what was fetched will do.
    hub.asked.clear()
    assert find("someone/model", commit) == found
    assert not [asked for asked in hub.asked if asked.startswith("GET") and "/resolve/" in asked]
    for gone in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        assert find("someone/model", commit, **gone) == found
    answer = find("someone/other", HF_HUB_OFFLINE="1")["error"]
    assert "was not fetched before" in answer


def test_a_revision_is_what_was_asked_for(hub: FakeHub, find: Any, tmp_path: Path) -> None:
    hub.add("someone/model", repository(tmp_path / "new"))
    old = hub.add("someone/model", repository(tmp_path / "old", **{"README.md": CARD}), revision="v1")
    for revision in ("v1", old):
        assert find("someone/model", revision)["commit"] == old
    assert "name a branch" in find("someone/model", "v2")["error"]


def test_shards_are_fetched(hub: FakeHub, find: Any, tmp_path: Path) -> None:
    shards = {f"model-0000{i}-of-00002.safetensors": "shard" for i in (1, 2)}
    index = {"model.safetensors.index.json": "{}", "model.safetensors": ""}
    hub.add("someone/large", repository(tmp_path / "made", **shards, **index))
    assert set(shards) < set(find("someone/large")["names"])


def test_pickled_weights_are_refused_and_the_way_out_is_told(hub: FakeHub, find: Any, tmp_path: Path) -> None:
    pickled = {"model.safetensors": "", "pytorch_model.bin": "pickle"}
    hub.add("someone/pickled", repository(tmp_path / "made", **pickled))
    answer = find("someone/pickled")["error"]
    assert "pickled (pytorch_model.bin)" in answer
    assert "Ask its owner" in answer
    assert "refs/pr" not in answer
    hub.add("someone/pickled", repository(tmp_path / "nothing", **pickled), revision="refs/pr/1")
    converted = hub.add("someone/pickled", repository(tmp_path / "converted"), revision="refs/pr/2")
    assert "Its refs/pr/2 has them" in find("someone/pickled")["error"]
    assert find("someone/pickled", "refs/pr/2")["commit"] == converted
    assert not [asked for asked in hub.asked if asked.endswith(".bin")]


def test_a_download_that_broke_off_goes_on(hub: FakeHub, find: Any, tmp_path: Path) -> None:
    made = repository(tmp_path / "made")
    hub.add("someone/model", made)
    hub.broken.add("model.safetensors")
    found = find("someone/model")
    if "error" in found:
        assert "start again to go on" in found["error"]
        assert "error" not in find("someone/model")
    [fetched] = (tmp_path / "cache").rglob("snapshots/*/model.safetensors")
    assert fetched.read_bytes() == (made / "model.safetensors").read_bytes()


def test_what_cannot_be_had_is_said(hub: FakeHub, find: Any, tmp_path: Path) -> None:
    hub.add("someone/gated", repository(tmp_path / "made"))
    hub.gated.add("someone/gated")
    assert "accept its terms" in find("someone/gated")["error"]
    assert "check its spelling" in find("someone/nothing")["error"]
    hub.add("someone/data", repository(tmp_path / "data", **{"config.json": ""}))
    assert "config.json is missing" in find("someone/data")["error"]
    assert "neither a directory nor an id" in find("../nothing here")["error"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": ""}, "config.json is missing"),
        ({"model.safetensors": ""}, "has no weights"),
        ({"model.safetensors": "", "weights.pt": "pickle"}, r"pickled \(weights.pt\)"),
        ({"tokenizer.json": ""}, "no byte-level BPE tokenizer"),
        ({"tokenizer.json": "", "vocab.json": "{}"}, "no byte-level BPE tokenizer"),
    ],
)
def test_a_directory_without_what_is_needed_is_refused(files: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ImportSourceError, match=message):
        find_source(str(repository(tmp_path / "made", **files)))


def test_a_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    made = repository(tmp_path / "made", **{"README.md": CARD.replace("apache-2.0", "openrail++")})
    found = find_source(str(made))
    assert (found.described, found.license, found.commit) == ("made", "LicenseRef-openrail", "")
    assert find_source(
        str(repository(tmp_path / "old", **{"tokenizer.json": "", "vocab.json": "{}", "merges.txt": "#"}))
    )
    with pytest.raises(ImportSourceError, match="has no revisions"):
        find_source(str(made), "main")
    for head, license_expression in (
        ("---\n: {\n---\n", ""),
        ("---\nlanguage: en\n---\nlicense: mit\n", ""),
        ("---\nlicense: mit", ""),
        ("---\nlicense:\ntags: [x]\n---\n", ""),
        ("---\ntags: [x]\nlicense: 'CC-BY-4.0'\n---\n", "CC-BY-4.0"),
    ):
        (made / "README.md").write_text(head, encoding="utf-8")
        assert find_source(str(made)).license == license_expression
