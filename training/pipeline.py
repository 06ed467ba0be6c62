"""A model from a recipe, step by step, resuming where it stopped.

Each step writes into a directory of its own and leaves a record of what it was made from when it is done. A step whose
record still holds is not done again; one whose inputs have changed is done anew, except pretraining, which is too
dear to throw away unasked. An interrupted training goes on from its last state.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from greentext.bundle import Dataset, ModelManifest
from service.engine.model_runner import ModelRunner
from training.checkpoint import load_checkpoint
from training.corpus import read_greentexts, sha256_of, take_split
from training.decoder_weights import read_decoder
from training.evaluate import SCORED_ROWS, Score, hold_out, score_runner
from training.export_portable import export_portable
from training.finetune import encode_documents, finetune, greentexts_of, of_genre
from training.package import CardFacts, package
from training.parity import check_parity
from training.pretrain import pretrain
from training.quantize import FormatReport, choose_format
from training.samples import sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from training.checkpoint import Checkpoint
    from training.recipe import Recipe

log = structlog.get_logger(__name__)

RECORD = "made-from.json"
DATASET_NAME = "starter"


class PipelineError(RuntimeError):
    """A step's directory holds something that must not be thrown away unasked."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files that a model is made from. ``base`` is a pretrained checkpoint to take in place of pretraining."""

    recipe: Recipe
    stories: Path | None
    greentexts: Path
    base: Path | None = None


def make_bundle(inputs: Inputs, work: Path, bundle: Path) -> ModelManifest:
    """All of it: pretraining (unless there is a base), every fine-tuning of the recipe, and packaging."""
    base = inputs.base or run_pretraining(inputs, work)
    return package_checkpoint(inputs, run_stages(inputs, base, work), work, bundle)


def run_pretraining(inputs: Inputs, work: Path) -> Path:
    """Pretrains as the recipe says, unless that is done, and returns the checkpoint."""
    recipe, stories = inputs.recipe, inputs.stories
    if stories is None:
        raise PipelineError("pretraining needs stories; name the file they are in")
    made_from = {
        "model": asdict(recipe.model),
        "plan": asdict(recipe.pretraining),
        "stories": _sha256(stories),
        "greentexts": _sha256(inputs.greentexts),
    }
    directory = work / "pretrain"
    make = partial(pretrain, stories, inputs.greentexts, recipe.model, recipe.pretraining, directory)
    _once(directory, made_from, make, keep=True)
    return directory / "checkpoint"


def run_stages(inputs: Inputs, base: Path, work: Path) -> Path:
    """Runs every fine-tuning of the recipe that is not done, and returns the last one's checkpoint."""
    for stage in inputs.recipe.stages:
        directory = work / f"finetune-{stage.name}"
        made_from = {
            "tuning": asdict(stage.tuning),
            "plan": asdict(stage.plan),
            "base": _sha256(base / "model.safetensors"),
            "greentexts": _sha256(inputs.greentexts),
        }
        _once(
            directory,
            made_from,
            partial(
                finetune,
                base,
                inputs.greentexts,
                stage.tuning,
                stage.plan,
                directory,
                stories_path=inputs.stories,
            ),
        )
        base = directory / "checkpoint"
    return base


def package_checkpoint(inputs: Inputs, checkpoint_directory: Path, work: Path, bundle: Path) -> ModelManifest:
    """Exports, chooses a format, checks parity, evaluates, samples, and writes the bundle.

    The format is chosen on validation texts; parity and the card's figures are of test texts.
    """
    recipe = inputs.recipe
    checkpoint = load_checkpoint(checkpoint_directory)
    decoder = read_decoder(checkpoint.model)
    weights = {"base": _sha256(checkpoint_directory / "model.safetensors")}
    portable = work / "portable" / "model.onnx"
    _once(portable.parent, weights, partial(export_portable, checkpoint_directory, portable.parent))

    tokenizer = checkpoint_directory / "tokenizer.json"
    training = greentexts_of(inputs.greentexts, "train")[: recipe.calibration_texts]
    validation = [document.text for document in greentexts_of(inputs.greentexts, "validation")]
    test = greentexts_of(inputs.greentexts, "test")
    formats_directory = work / "formats"
    report = formats_directory / "report.json"
    room = recipe.card.max_bytes - tokenizer.stat().st_size - CARD_ROOM_BYTES

    def measure() -> None:
        chosen = choose_format(
            decoder,
            encode_documents(checkpoint, training),
            hold_out(checkpoint, validation),
            formats_directory,
            max_model_bytes=room,
        )
        report.write_text(json.dumps(chosen.as_json(), indent=2) + "\n", encoding="utf-8")
        report.with_suffix(".md").write_text(chosen.as_markdown(), encoding="utf-8")

    _once(formats_directory, {**weights, "calibration_texts": len(training), "room": room}, measure)
    formats = FormatReport.from_json(json.loads(report.read_text(encoding="utf-8")))
    served = formats_directory / f"{formats.chosen}.onnx"
    parity = check_parity(
        checkpoint,
        hold_out(checkpoint, [document.text for document in test]),
        portable=portable,
        serving_fp32=formats_directory / "fp32.onnx",
        served=served,
        tokenizer=tokenizer,
    )
    (work / "parity.json").write_text(json.dumps(parity.as_json(), indent=2) + "\n", encoding="utf-8")
    parity.require()
    manifest = package(
        bundle,
        checkpoint,
        decoder,
        _facts(inputs),
        model=served,
        tokenizer=tokenizer,
        parity=parity,
        formats=formats,
        scores=_scores(checkpoint, served, inputs.greentexts),
        samples=sample(
            served,
            tokenizer,
            checkpoint.start_id,
            checkpoint.end_id,
            recipe.sampling,
            seeds=range(recipe.card.samples),
        ),
        max_bytes=recipe.card.max_bytes,
    )
    log.info("packaged", bundle=str(bundle), format=formats.chosen, **manifest.evaluation)
    return manifest


CARD_ROOM_BYTES = 100_000
"""What a card and a manifest may take of a bundle's size."""


def _facts(inputs: Inputs) -> CardFacts:
    card = inputs.recipe.card
    training = take_split(read_greentexts(inputs.greentexts), "train")
    return CardFacts(
        name=card.name,
        description=card.description,
        base_model=card.base_model,
        license=card.license,
        trained_on=card.trained_on,
        limits=card.limits,
        sampling=inputs.recipe.sampling,
        dataset=Dataset(name=DATASET_NAME, sha256=sha256_of(training), documents=len(training)),
    )


def _scores(checkpoint: Checkpoint, served: Path, greentexts: Path) -> dict[str, Score]:
    runner = ModelRunner(served, slots=SCORED_ROWS)
    test = greentexts_of(greentexts, "test")
    texts = {
        "test": test,
        "test_thanks": of_genre(test, "thanks"),
        "test_general": of_genre(test, "general"),
        "validation": greentexts_of(greentexts, "validation"),
    }
    return {
        name: score_runner(runner, hold_out(checkpoint, [document.text for document in documents]))
        for name, documents in texts.items()
        if documents
    }


def _once(directory: Path, made_from: dict[str, Any], make: Callable[[], object], *, keep: bool = False) -> None:
    """Runs ``make`` unless ``directory`` records that it was made from the same.

    A step that has begun leaves a record too, as ``*.part``: what it wrote is gone on with if that is the same.
    Whatever else is there is removed first, or with ``keep`` refused.
    """
    record, started = directory / RECORD, directory / f"{RECORD}.part"
    wanted = json.dumps(made_from, indent=2, sort_keys=True) + "\n"
    if record.is_file() and record.read_text(encoding="utf-8") == wanted:
        log.info("already done", step=directory.name)
        return
    before = started.read_text(encoding="utf-8") if started.is_file() else None
    if before != wanted and directory.exists():
        if keep and any(directory.iterdir()):
            raise PipelineError(
                f"{directory} was made from another recipe or other texts; remove it, or name another work directory"
            )
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    started.write_text(wanted, encoding="utf-8")
    log.info("step", step=directory.name)
    make()
    directory.mkdir(parents=True, exist_ok=True)
    record.write_text(wanted, encoding="utf-8")
    started.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise PipelineError(f"{path} does not exist")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
