"""A model of one's own from a recipe, step by step, from stories to a bundle, resuming where it stopped.

A step whose inputs have changed is done anew, and what it made before set aside; pretraining is refused then. Recipes
that begin with a published model are ``tuning_run``'s.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

from greentext.bundle import Dataset, ModelManifest
from training.bundling import BundleTexts, make_bundle_of
from training.corpus import read_greentexts, sha256_of, take_split
from training.evaluation.run import EvaluationData
from training.finetune import finetune, greentexts_of
from training.package import CardFacts
from training.pretrain import pretrain, tokenizer_texts
from training.steps import StepError, once, sha256_of_file

if TYPE_CHECKING:
    from pathlib import Path

    from training.recipe import Recipe

DATASET_NAME = "greentexts"
PipelineError = StepError


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
    """Pretrains as the recipe says, unless that is done, and returns the checkpoint. Raises PipelineError."""
    recipe, stories = inputs.recipe, inputs.stories
    if recipe.pretraining is None:
        raise PipelineError(f"the recipe {recipe.card.name} begins with a published model: gtx-train run")
    if stories is None:
        raise PipelineError("pretraining needs stories; name the file they are in")
    made_from = {
        "model": asdict(recipe.model),
        "plan": asdict(recipe.pretraining),
        "stories": sha256_of_file(stories),
        "greentexts": sha256_of(tokenizer_texts(inputs.greentexts, recipe.model)),
    }
    directory = work / "pretrain"
    make = partial(pretrain, stories, inputs.greentexts, recipe.model, recipe.pretraining, directory)
    once(directory, made_from, make, keep=True, everywhere=True)
    return directory / "checkpoint"


def run_stages(inputs: Inputs, base: Path, work: Path) -> Path:
    """Runs every fine-tuning of the recipe that is not done, and returns the last one's checkpoint."""
    for stage in inputs.recipe.stages:
        directory = work / f"finetune-{stage.name}"
        made_from = {
            "tuning": asdict(stage.tuning),
            "plan": asdict(stage.plan),
            "base": sha256_of_file(base / "model.safetensors"),
            "greentexts": sha256_of(
                [
                    *greentexts_of(inputs.greentexts, "train", stage.tuning.genre, stage.tuning.texts),
                    *greentexts_of(inputs.greentexts, "validation", stage.tuning.genre),
                ]
            ),
        }
        make = partial(
            finetune, base, inputs.greentexts, stage.tuning, stage.plan, directory, stories_path=inputs.stories
        )
        once(directory, made_from, make, everywhere=True)
        base = directory / "checkpoint"
    return base


def package_checkpoint(inputs: Inputs, checkpoint_directory: Path, work: Path, bundle: Path) -> ModelManifest:
    """Exports, chooses a format, checks parity, samples, evaluates, and writes the bundle."""
    splits = {split: greentexts_of(inputs.greentexts, split) for split in ("train", "validation", "test")}
    texts = BundleTexts(splits["train"], splits["validation"], splits["test"])
    facts = _facts(inputs)
    data = EvaluationData(
        name=f"{facts.dataset.name}, test",
        sha256=facts.dataset.sha256,
        training=tuple(document.text for document in splits["train"]),
        held_out=tuple(splits["test"]),
    )
    own = work / f"package-{inputs.recipe.card.name}"
    return make_bundle_of(
        checkpoint_directory, texts, facts, inputs.recipe, work=own, bundle=bundle, evaluation_data=data
    )


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
