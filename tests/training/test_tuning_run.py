"""Each recipe that comes along, from its base's architecture to a bundle that the engine serves."""

from __future__ import annotations

import json
import os
import resource
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from greentext.bundle import verify
from greentext.control_tokens import START_TOKEN
from tests.training.bases import distilgpt2, tinystories, write_base, write_folder_of_texts
from training.cli import EMBEDDED, main
from training.recipe import recipe_paths
from training.samples import sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from greentext.manifest import ModelManifest

FULL_SIZE = "GREENTEXT_TEST_FULL_SIZE"
"""Set to 1, it lets one recipe run at its base's full size: a quarter of an hour of processor time, 5.4 GB."""
TUNED = sorted(set(recipe_paths()) - {path.stem for path in EMBEDDED})
Run = dict[str, Any]


@pytest.fixture(autouse=True)
def _quick_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.quantize.ROUND_SECONDS", 0.005)
    monkeypatch.setattr("training.quantize.ROUNDS", 1)
    # How good ranges are is `test_calibrate`'s to tell: here the extremes do.
    monkeypatch.setattr("training.calibrate.SHARES", (1.0,))
    monkeypatch.setattr("training.calibrate.LAST_TOKENS", 1)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder_of_texts(tmp_path_factory.mktemp("texts") / "pleasant")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The bases' architectures in small, by the beginning of recipes' names; TinyStories-1M has heads of four."""
    folder = tmp_path_factory.mktemp("bases")
    return {
        "tinystories-33m": write_base(folder / "33m", tinystories(hidden_size=128)),
        "tinystories-1m": write_base(folder / "1m", tinystories(hidden_size=64)),
        "distilgpt2": write_base(folder / "distil", distilgpt2()),
    }


def base_of(bases: dict[str, Path], recipe: str) -> Path:
    return next(path for name, path in bases.items() if recipe.startswith(name))


@pytest.fixture
def train(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Run]:
    """Runs a recipe and returns what it printed."""

    def train(recipe: str, base: Path, data: Path, *more: str) -> Run:
        capsys.readouterr()
        options = ["--base", str(base), "--data", str(data), "--work", str(tmp_path / "work")]
        code = main(["run", recipe, *options, "--bundle", str(tmp_path / "bundle"), *more])
        said = capsys.readouterr()
        assert code == 0, said.err
        result: Run = json.loads(said.out)
        return result

    return train


def served(bundle: Path) -> tuple[ModelManifest, list[str]]:
    """The bundle's manifest, and what the engine writes with it."""
    manifest = verify(bundle)
    control = manifest.control_tokens
    written = sample(
        bundle / "model.onnx", bundle / "tokenizer.json", control.start.id, control.end.id,
        manifest.default_sampling.model_copy(update={"max_new_tokens": 40}), seeds=range(4),
    )  # fmt: skip
    return manifest, [one.text for one in written]


SMALL = ("--set", "finetune.epochs=2", "--set", "finetune.evaluations=2", "--set", "export.portable=false",
         "--set", "card.samples=2")  # fmt: skip


def test_the_six_recipes_of_the_original_project_come_along() -> None:
    assert TUNED == [
        "distilgpt2-full", "tinystories-1m-simple", "tinystories-33m-full", "tinystories-33m-sequential",
        "tinystories-33m-simple", "tinystories-33m-thanks",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("recipe", TUNED)
def test_a_recipe_runs_to_a_served_bundle(
    recipe: str, bases: dict[str, Path], texts: Path, train: Callable[..., Run], tmp_path: Path
) -> None:
    result = train(recipe, base_of(bases, recipe), texts, *SMALL)
    manifest, written = served(tmp_path / "bundle")
    assert manifest.name == recipe
    assert manifest.control_tokens.start.text == START_TOKEN
    assert manifest.context_length == 96
    assert manifest.architecture == ("gpt2" if recipe.startswith("distil") else "gpt_neo")
    assert len(set(written)) > 1
    assert not any(START_TOKEN in text for text in written)
    last = list(result["data"].values())[-1]
    assert manifest.dataset.name == last["name"]
    assert manifest.dataset.sha256 == last["sha256"]
    assert manifest.dataset.documents == last["texts"]["train"]
    assert manifest.base_model == base_of(bases, recipe).name
    stages = ["full", "thanks"] if recipe.endswith("sequential") else [recipe.rpartition("-")[2]]
    assert list(result["data"]) == stages
    for stage in stages:
        log = (tmp_path / "work" / f"finetune-{stage}" / "log.jsonl").read_text(encoding="utf-8").splitlines()
        losses = [row["validation_loss"] for row in map(json.loads, log) if "validation_loss" in row]
        assert losses[-1] < losses[0] or len(losses) == 1
    card = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert all(corpus["name"] in card for corpus in result["data"].values())
    if stages[-1] == "thanks":
        assert "thank you" in (tmp_path / "work" / "data" / "thanks").with_name(
            "thanks-simple" if recipe.endswith("33m-thanks") else "thanks"
        ).joinpath("train.jsonl").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_is_not_done_twice_and_what_changes_is_done_anew(
    bases: dict[str, Path], texts: Path, train: Callable[..., Run], tmp_path: Path
) -> None:
    base = bases["tinystories-1m"]
    settings = [*SMALL, "--set", "tokens.trim_to=350", "--set", "export.portable=true"]
    first = train("tinystories-1m-simple", base, texts, *settings)
    assert first["manifest"]["vocab_size"] == 350
    assert (tmp_path / "work" / "portable" / "model.onnx").is_file()
    work, bundle = tmp_path / "work", tmp_path / "bundle"

    def times() -> dict[Path, int]:
        files = (path for path in work.rglob("*") if path.is_file() and path.name != "parity.json")
        return {path: path.stat().st_mtime_ns for path in files}

    before, bytes_before = times(), {path.name: path.read_bytes() for path in bundle.iterdir()}
    assert train("tinystories-1m-simple", base, texts, *settings) == first
    assert times() == before
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == bytes_before

    # A text more changes the data and what is made of it, not the base.
    more = tmp_path / "more"
    shutil.copytree(texts, more)
    (more / "new.txt").write_text(">be me\n>a new cat\n>thank you, cat\n", encoding="utf-8")
    second = train("tinystories-1m-simple", base, more, *settings, "--until", "finetune")
    assert second["data"]["simple"]["sha256"] != first["data"]["simple"]["sha256"]
    after = times()
    assert (
        after[work / "base" / "checkpoint" / "model.safetensors"]
        == before[work / "base" / "checkpoint" / "model.safetensors"]
    )
    checkpoint = work / "finetune-simple" / "checkpoint" / "model.safetensors"
    assert after[checkpoint] != before[checkpoint]


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_model(
    bases: dict[str, Path], texts: Path, train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import trainer

    settings = [
        *SMALL,
        "--until",
        "finetune",
        "--set",
        "finetune.checkpoint_every_steps=2",
        "--set",
        "finetune.epochs=4",
    ]
    whole = train("tinystories-33m-thanks", bases["tinystories-33m"], texts, *settings)
    finished = tmp_path / "work" / "finetune-thanks" / "checkpoint" / "model.safetensors"
    expected = finished.read_bytes()
    shutil.rmtree(tmp_path / "work")

    real, steps = trainer.update, 0

    def update(*arguments: object, **named: object) -> object:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(trainer, "update", update)
    options = ["--base", str(bases["tinystories-33m"]), "--data", str(texts), "--work", str(tmp_path / "work")]
    assert main(["run", "tinystories-33m-thanks", *options, *settings]) == 1
    assert not finished.exists()
    assert train("tinystories-33m-thanks", bases["tinystories-33m"], texts, *settings) == whole
    assert finished.read_bytes() == expected


@pytest.mark.slow
def test_each_step_is_a_command_too(
    bases: dict[str, Path], texts: Path, train: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train("tinystories-33m-thanks", bases["tinystories-33m"], texts, *SMALL)
    work, data = ["--work", str(tmp_path / "steps")], ["--data", str(texts)]

    def step(*arguments: str) -> Run:
        capsys.readouterr()
        code = main(list(arguments))
        said = capsys.readouterr()
        assert code == 0, said.err
        result: Run = json.loads(said.out)
        return result

    recipe = "tinystories-33m-thanks"
    base = step("base", recipe, "--base", str(bases["tinystories-33m"]), *work, *SMALL)["checkpoint"]
    assert step("data", recipe, *data, *work, *SMALL) == whole["data"]
    tuned = step("finetune", base, "--recipe", recipe, *data, *work, *SMALL)["checkpoint"]
    manifest = step("package", tuned, "--recipe", recipe, *data, *work, *SMALL, "--bundle", str(tmp_path / "other"))
    for same in ("name", "base_model", "architecture", "context_length", "dataset", "license"):
        assert manifest[same] == whole["manifest"][same]
    assert served(tmp_path / "other")[0].vocab_size == 441
    trimmed = step("trim", tuned, str(tmp_path / "trimmed"), *data)
    assert trimmed["tokens"] < trimmed["tokens_before"]


def test_data_before_base_says_what_to_do(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", str(texts), "--work", str(tmp_path / "work")]
    assert main(["data", "tinystories-33m-thanks", *options]) == 1
    assert "gtx-train base" in capsys.readouterr().err
    assert main(["run", "embedded", *options]) == 1
    assert "gtx-train embedded" in capsys.readouterr().err
    assert main(["run", "poems", *options]) == 1
    assert "known are distilgpt2-full" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(os.environ.get(FULL_SIZE) != "1", reason=f"takes long; {FULL_SIZE}=1 asks for it")
def test_a_recipe_runs_at_full_size(texts: Path, train: Callable[..., Run], tmp_path: Path) -> None:
    """TinyStories-33M's own shape, with few steps: 68.5 million parameters, 50,257 tokens, 2048 of context."""
    config = tinystories(hidden_size=768, num_layers=4, positions=2048)
    config.window_size = 256
    base = write_base(tmp_path / "base", config, spare_rows=50257 - 421)
    small = ("--set", "finetune.epochs=0.5", "--set", "finetune.evaluations=1", "--set", "finetune.batch_rows=4")
    whole = ("--set", "tokens.trim_to=0", "--set", "card.max_bytes=400_000_000")
    result = train("tinystories-33m-thanks", base, texts, *small, *whole)
    assert result["manifest"]["vocab_size"] == 50257
    assert result["manifest"]["context_length"] == 512
    _, written = served(tmp_path / "bundle")
    assert len(set(written)) > 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8_000_000
