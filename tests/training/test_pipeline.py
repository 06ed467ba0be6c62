"""All of it on a tiny model: slow, because optimum is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from greentext.bundle import verify
from training.checkpoint import load_checkpoint
from training.cli import RECIPE
from training.corpus import take_split
from training.evaluate import hold_out
from training.export_portable import ExportError, export_portable
from training.finetune import Tuning, greentexts_of
from training.parity import check_parity
from training.pipeline import Inputs, PipelineError, make_bundle, run_pretraining, run_stages
from training.pretrain import ModelShape, tokenizer_texts
from training.quantize import write_serving_graph
from training.recipe import Evaluation, Stage, read_recipe
from training.trainer import TrainingPlan
from training.weight_formats import Fp32

if TYPE_CHECKING:
    from pathlib import Path

    from training.recipe import Recipe


def tiny_recipe() -> Recipe:
    recipe = read_recipe(RECIPE)
    plan = TrainingPlan(
        steps=30, batch_rows=4, learning_rate=3e-3, warmup_steps=2, cooldown_steps=10, evaluate_every_steps=10,
        checkpoint_every_steps=10,
    )  # fmt: skip
    return replace(
        recipe,
        card=replace(recipe.card, name="tiny", samples=3, max_bytes=400_000),
        model=ModelShape(hidden_size=32, num_layers=2, num_heads=2, context_length=64, window_size=16, vocab_size=400),
        pretraining=plan,
        stages=(Stage("all", Tuning(), plan), Stage("thanks", Tuning(genre="thanks"), replace(plan, steps=10))),
        sampling=recipe.sampling.model_copy(update={"max_new_tokens": 40}),
        calibration_texts=20,
        evaluation=Evaluation(samples=12),
    )


@pytest.fixture(scope="module")
def inputs(stories_path: Path, greentexts_path: Path) -> Inputs:
    return Inputs(tiny_recipe(), stories_path, greentexts_path)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_from_stories_to_a_bundle_and_again(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # How fast which format is decides nothing here.
    monkeypatch.setattr("training.quantize.ROUND_SECONDS", 0.005)
    work, bundle = tmp_path / "work", tmp_path / "bundle"
    manifest = make_bundle(inputs, work, bundle)
    assert verify(bundle) == manifest
    assert manifest.evaluation["largest_fp32_logit_difference"] <= 1e-4
    assert manifest.evaluation["perplexity_over_fp32"] <= 0.01
    formats = json.loads((work / "package-tiny" / "formats" / "report.json").read_text(encoding="utf-8"))
    assert len(formats["formats"]) == 7
    found = json.loads((work / "package-tiny" / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    card = (bundle / "README.md").read_text(encoding="utf-8")
    assert "12 samples, seeds 0 to 11" in card
    shown = float(card.partition("\n| bits per byte | ")[2].partition(" ")[0])
    # Rounded once there, twice here: the last digit may differ.
    assert shown == pytest.approx(found["figures"]["bits_per_byte"]["value"], abs=1e-4)

    made_once = ("portable", "formats")
    before = {
        path: path.stat().st_mtime_ns
        for path in (work / "pretrain", *work.glob("finetune-*"), *(work / "package-tiny" / part for part in made_once))
        for path in path.rglob("*")
        if path.is_file()
    }
    first = {path.name: path.read_bytes() for path in bundle.iterdir()}
    assert make_bundle(inputs, work, bundle) == manifest
    assert {path: path.stat().st_mtime_ns for path in before} == before, "nothing was made again"
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == first

    with pytest.raises(PipelineError, match="another recipe"):
        run_pretraining(replace(inputs, recipe=replace(inputs.recipe, model=ModelShape())), work)


@pytest.mark.slow
def test_parity_sees_a_model_that_is_not_the_exported_one(
    checkpoint_directory: Path, greentexts_path: Path, tmp_path: Path
) -> None:
    from training.decoder_reader import read_decoder

    checkpoint = load_checkpoint(checkpoint_directory)
    held_out = hold_out(checkpoint, [document.text for document in greentexts_of(greentexts_path, "test")])
    portable = export_portable(checkpoint_directory, tmp_path / "portable")
    first = portable.read_bytes()
    assert export_portable(checkpoint_directory, tmp_path / "portable").read_bytes() == first

    def report() -> list[str]:
        return check_parity(
            checkpoint,
            held_out,
            portable=portable,
            serving_fp32=graph,
            served=graph,
            tokenizer=checkpoint_directory / "tokenizer.json",
        ).problems

    graph = write_serving_graph(read_decoder(checkpoint.model), Fp32(), tmp_path / "good.onnx")
    assert report() == []
    # A window that is wider by one token shows, and so does one weight.
    decoder = read_decoder(checkpoint.model)
    wider = replace(decoder, layers=(decoder.layers[0], replace(decoder.layers[1], window=9)))
    graph = write_serving_graph(wider, Fp32(), tmp_path / "wider.onnx")
    assert any(problem.startswith("serving, in chunks") for problem in report())
    checkpoint.model.transformer.h[0].mlp.c_fc.weight.data[0, 0] += 0.5
    assert any(problem.startswith("portable") for problem in report())


def test_an_export_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    checkpoint, output = tmp_path / "checkpoint", tmp_path / "export"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text('{"model_type": "nonsense"}', encoding="utf-8")
    output.mkdir()
    (output / "model.onnx").write_bytes(b"old")
    with pytest.raises(ExportError, match="cannot be exported"):
        export_portable(checkpoint, output)
    assert [path.name for path in output.iterdir()] == ["model.onnx"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "export"]


def test_new_texts_of_a_model_change_no_stage_on_those_that_people_wrote(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tune(_base: Path, _texts: Path, tuning: Tuning, _plan: TrainingPlan, directory: Path, **_: object) -> None:
        made.append(tuning.texts)
        (directory / "checkpoint").mkdir(parents=True)
        (directory / "checkpoint" / "model.safetensors").write_bytes(tuning.texts.encode())

    made: list[str] = []
    monkeypatch.setattr("training.pipeline.finetune", tune)
    plan = inputs.recipe.stages[0].plan
    stages = tuple(Stage(texts, Tuning(texts=texts), plan) for texts in ("written", "all"))
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "written.jsonl").write_bytes(inputs.greentexts.read_bytes())
    inputs = replace(inputs, recipe=replace(inputs.recipe, stages=stages), greentexts=texts)
    base = tmp_path / "base"
    base.mkdir()
    (base / "model.safetensors").write_bytes(b"base")

    run_stages(inputs, base, tmp_path / "work")
    run_stages(inputs, base, tmp_path / "work")
    assert made == ["written", "all"]
    (texts / "more.jsonl").write_text(
        json.dumps({"text": ">be robot\n>write\n>thank you, paper", "source": "synthetic"})
    )
    run_stages(inputs, base, tmp_path / "work")
    assert made == ["written", "all", "all"]


def test_pretraining_holds_out_its_validation_stories(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import pretrain as module
    from training.corpus import read_stories

    seen = {}

    def pack_stories(stories: list[object], tokenizer: object, row_tokens: int) -> object:
        seen[len(seen)] = stories
        return packed(stories, tokenizer, row_tokens)

    packed = module.pack_stories
    monkeypatch.setattr(module, "pack_stories", pack_stories)
    run_pretraining(inputs, tmp_path)
    assert inputs.stories is not None
    validation = take_split(read_stories(inputs.stories), "validation", validation=0.01, test=0.0)
    assert seen[1] == validation
    assert not {story.text for story in seen[0]} & {story.text for story in seen[1]}


def test_texts_that_come_later_change_no_tokenizer(tmp_path: Path) -> None:
    def write(name: str, source: str) -> None:
        rows = [json.dumps({"text": f">be {name} {i}", "source": source}) for i in range(40)]
        (tmp_path / name).write_text("\n".join(rows), encoding="utf-8")

    shape = ModelShape(tokenizer_greentexts=20)
    write("a.jsonl", "written")
    before = tokenizer_texts(tmp_path, shape)
    assert len(before) == 20
    write("b.jsonl", "written")
    write("c.jsonl", "synthetic")
    assert tokenizer_texts(tmp_path, shape) == before
    everything = tokenizer_texts(tmp_path, ModelShape())
    assert {document.source for document in everything} == {"written"}
    assert len(everything) > 40
    with pytest.raises(ValueError, match="tokenizer_greentexts"):
        ModelShape(tokenizer_greentexts=-1)
