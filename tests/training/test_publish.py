"""Publishing a model, against a server that speaks the hub's protocol as `huggingface_hub` uses it to write."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from tests.training.bases import tinystories, write_base
from tests.training.hub_to_write import TOKEN, WritableHub, serving_writable
from training.base import prepare_base
from training.checkpoint import load_checkpoint
from training.cli import main
from training.import_model import import_bundle
from training.publish import PublishError, front_matter, plan_publication, publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "somebody/tiny"
ONE_AFTER_ANOTHER = """\
import contextlib, io, json, sys
from training.cli import main
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(json.loads(line))
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


class Ended(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`checkpoint`, `portable` and `bundle` of one model."""
    folder = tmp_path_factory.mktemp("model")
    published = write_base(folder / "published", tinystories(hidden_size=128))
    prepare_base(published, published, 64, folder / "checkpoint")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.quantize.ROUND_SECONDS", 0.01)
        import_bundle(str(folder / "checkpoint"), folder / "bundle", license_expression="MIT", samples=1)
    (folder / "portable").mkdir()
    for name, content in (("model.onnx", "graph"), ("config.json", "{}"), ("made-from.json", "{}")):
        (folder / "portable" / name).write_text(content, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def served_hub() -> Iterator[WritableHub]:
    with serving_writable(REPOSITORY) as hub:
        yield hub


@pytest.fixture
def hub(served_hub: WritableHub) -> WritableHub:
    served_hub.forget()
    return served_hub


def environment(hub: WritableHub, model: Path, token: str = TOKEN) -> dict[str, str]:
    """The client reads it once, so each process has its own."""
    return {
        "PATH": os.environ["PATH"], "HF_HOME": str(model / "home"), "HF_ENDPOINT": hub.url, "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def push(hub: WritableHub, model: Path, *more: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    """As people do, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "training.cli", "publish", REPOSITORY, str(model / "bundle"), *more],
        capture_output=True, text=True, cwd=ROOT, env=environment(hub, model, token), timeout=100, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def push_too(served_hub: WritableHub, model: Path) -> Iterator[Callable[..., Ended]]:
    """The same with one process for all: it is the libraries that take seconds."""
    with subprocess.Popen(
        [sys.executable, "-c", ONE_AFTER_ANOTHER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment(served_hub, model),
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        asked, answers = process.stdin, process.stdout

        def push_too(*more: str) -> Ended:
            asked.write(json.dumps(["publish", REPOSITORY, str(model / "bundle"), *more]) + "\n")
            asked.flush()
            answer = answers.readline()
            assert answer, "the command raised an exception, see above"
            return Ended(*json.loads(answer))

        yield push_too
        asked.close()
        assert process.wait(timeout=30) == 0


def wanted(model: Path, *, all_of_it: bool = True) -> dict[str, Path | None]:
    files: dict[str, Path | None] = {f"bundle/{path.name}": path for path in (model / "bundle").iterdir()}
    files["README.md"] = None
    if all_of_it:
        files |= {
            "onnx/model.onnx": model / "portable" / "model.onnx",
            "onnx/config.json": model / "portable" / "config.json",
        }
        files |= {path.name: path for path in (model / "checkpoint").iterdir()}
    return files


@pytest.mark.slow
def test_a_model_is_published_in_one_commit_and_replaced_as_a_whole(
    hub: WritableHub, model: Path, push_too: Callable[..., Ended]
) -> None:
    everything = ("--checkpoint", str(model / "checkpoint"), "--portable", str(model / "portable"))
    dry = push_too(*everything, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    listed = json.loads(dry.stdout)
    assert not listed["sent"]
    assert set(listed["files"]) == set(wanted(model))
    assert (hub.created, hub.commits, hub.files) == ([], [], {}), "nothing was sent"

    pushed = push(hub, model, *everything)
    assert pushed.returncode == 0, pushed.stderr
    assert TOKEN not in pushed.stdout + pushed.stderr
    assert json.loads(pushed.stdout)["address"] == f"{hub.url}/{REPOSITORY}"
    assert [(made["type"], made["private"]) for made in hub.created] in ([("model", True)], [(None, True)])
    assert len(hub.commits) == 1
    for name, path in wanted(model).items():
        if path is not None:
            assert hub.files[name] == path.read_bytes(), name
    assert set(hub.files) == set(wanted(model))
    assert listed["files"] == {name: len(content) for name, content in hub.files.items()}

    # What is there loads as a checkpoint, and its card has a head that the hub reads.
    head, card = hub.files["README.md"].decode().split("---\n", 2)[1:]
    assert yaml.safe_load(head)["license"] == "mit"
    assert yaml.safe_load(head)["pipeline_tag"] == "text-generation"
    assert card.strip().startswith("# ")

    again = push_too(*everything)
    assert again.returncode == 0, again.stderr
    assert len(hub.commits) == 1, "pushing what is there changes nothing"

    hub.files |= {"onnx/old.onnx": b"old", "LICENSE": b"theirs"}
    fewer = push_too()
    assert fewer.returncode == 0, fewer.stderr
    assert not [name for name in hub.files if name.startswith("onnx/")]
    assert hub.files["LICENSE"] == b"theirs"


@pytest.mark.slow
def test_a_refusal_says_what_to_do(hub: WritableHub, model: Path, push_too: Callable[..., Ended]) -> None:
    refused = push(hub, model, token="wrong")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("gtx-train publish: ")
    assert "HF_TOKEN" in refused.stderr
    assert "Traceback" not in refused.stderr
    hub.fail_commits_with = 500
    failed = push_too()
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("gtx-train publish: ")
    assert "Traceback" not in failed.stderr
    assert hub.commits == []


def test_a_bundle_of_another_checkpoint_is_refused(model: Path, tmp_path: Path) -> None:
    assert plan_publication(model / "bundle", model / "checkpoint").sizes()["model.safetensors"] > 0
    other = tmp_path / "other"
    shutil.copytree(model / "checkpoint", other)
    config: dict[str, Any] = json.loads((other / "config.json").read_text(encoding="utf-8"))
    for name, value in (("model_type", "gpt2"), ("vocab_size", 7), ("bos_token_id", 0)):
        (other / "config.json").write_text(json.dumps({**config, name: value}), encoding="utf-8")
        with pytest.raises(PublishError, match="not what the bundle was made of"):
            plan_publication(model / "bundle", other)
    with pytest.raises(PublishError, match="no checkpoint"):
        plan_publication(model / "bundle", tmp_path)
    with pytest.raises(PublishError, match=r"holds no model\.onnx"):
        plan_publication(model / "bundle", portable=tmp_path)
    assert load_checkpoint(model / "checkpoint").start_id == config["bos_token_id"]


def test_a_damaged_bundle_is_not_published(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(model / "bundle", bundle)
    with (bundle / "model.onnx").open("ab") as file:
        file.write(b"x")
    assert main(["publish", REPOSITORY, str(bundle), "--dry-run"]) == 1
    assert "model.onnx" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "somebody/with space", "-"])
def test_a_name_that_cannot_be_is_refused_before_anything_is_sent(model: Path, name: str) -> None:
    with pytest.raises(PublishError, match="write OWNER/NAME"):
        publish(plan_publication(model / "bundle"), name)


def test_the_head_names_a_base_only_where_it_is_the_hubs(model: Path) -> None:
    from greentext.bundle import read_manifest

    manifest = read_manifest(model / "bundle")
    for base, named in (
        ("distilbert/distilgpt2@2290a62", "distilbert/distilgpt2"),
        ("trained from scratch", None),
        ("my-directory", None),
    ):
        head = yaml.safe_load(
            front_matter(manifest.model_copy(update={"base_model": base}), with_checkpoint=False).split("---")[1]
        )
        assert head.get("base_model") == named
    assert 'license: "other"' in front_matter(
        manifest.model_copy(update={"license": "LicenseRef-x"}), with_checkpoint=True
    )
