"""What the commands of ``gtx-train`` do: from parsed arguments to a result that prints as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from greentext.bundle import BundleError
from service.engine.errors import EngineError
from training.checkpoint import CheckpointError, load_checkpoint
from training.cli import EMBEDDED, GREENTEXTS, STARTER
from training.corpus import CorpusError
from training.dataset import CORPUS, load_corpus, read_corpus
from training.decoder_weights import UnsupportedModelError
from training.evaluation.compare import compare as compare_results
from training.evaluation.compare import write_comparison
from training.evaluation.judge import JudgeError, JudgePlan
from training.evaluation.mauve_score import MauveError
from training.evaluation.run import EvaluationData, EvaluationPlan, evaluate_all
from training.evaluation.run import evaluate as evaluate_one
from training.evaluation.served import sampling_of
from training.export_portable import ExportError, export_portable
from training.findings import FindingsError, run_findings
from training.hub import HubError, Pins, fetch_dataset
from training.import_model import import_bundle, slug_of
from training.import_source import ImportSourceError
from training.package import PackageError
from training.parity import ParityError
from training.pipeline import Inputs, make_bundle, package_checkpoint, run_pretraining
from training.pipeline import run_stages as run_own_stages
from training.processes import FirstProcessError, is_first, leave
from training.publish import PublishError, plan_publication
from training.publish import publish as publish_files
from training.quantize import QuantizationError
from training.recipe import Recipe, RecipeError, find_recipe, read_recipe, recipe_paths
from training.steps import StepError
from training.trim import TrimError, trim_checkpoint
from training.tuning_run import TuningRun, package_tuned, prepare, prepare_data, run_stages, trim_tuned
from training.unpack import unpack as unpack_bundle
from training.written_texts import ROWS, write_texts

if TYPE_CHECKING:
    import argparse

    from training.dataset import Corpus


EXPECTED_ERRORS = (
    BundleError,
    CheckpointError,
    CorpusError,
    EngineError,
    ExportError,
    FindingsError,
    FirstProcessError,
    HubError,
    ImportSourceError,
    JudgeError,
    MauveError,
    OSError,
    PackageError,
    ParityError,
    PublishError,
    QuantizationError,
    RecipeError,
    StepError,
    TrimError,
    UnsupportedModelError,
    ValueError,
)
"""What a message is enough for; anything else is a mistake of ours and shows where it happened."""


def run(options: argparse.Namespace) -> int:
    """Runs the command that was asked for, prints its result, and returns the exit code."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # standard output is the result's
    try:
        result = COMMANDS[options.command](options)
        if is_first():
            print(json.dumps(result, indent=2))
    except EXPECTED_ERRORS as error:
        print(f"gtx-train {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"gtx-train {options.command}: interrupted; start it again to go on", file=sys.stderr)
        return 1
    finally:
        leave()
    return 0


def recipes(_: argparse.Namespace) -> dict[str, Any]:
    """The recipes that come along."""
    found = {}
    for name, path in recipe_paths().items():
        recipe = read_recipe(path)
        base = recipe.base.id if recipe.base else recipe.card.base_model
        data = [recipe.data[stage.data].id for stage in recipe.stages if stage.data in recipe.data]
        found[name] = {"description": recipe.card.description, "base": base, "data": data, "file": str(path)}
    return found


def run_recipe(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that a recipe with a base says, or until a step."""
    run = _tuning_run(options)
    result: dict[str, Any] = {"work": str(run.work)}
    base = prepare(run)
    result["base"] = str(base)
    if options.until == "base":
        return result
    corpora = prepare_data(run, base)
    result["data"] = {name: _counts(corpus) for name, corpus in corpora.items()}
    if options.until == "data":
        return result
    checkpoint = run_stages(run, base)
    result["checkpoint"] = str(checkpoint)
    if options.until == "finetune" or not is_first():
        return result
    checkpoint = trim_tuned(run, checkpoint)
    result["checkpoint"] = str(checkpoint)
    if options.until == "trim":
        return result
    bundle = options.bundle or _default_bundle(run.recipe)
    manifest = package_tuned(run, checkpoint, bundle)
    portable = run.work / "portable"
    if run.recipe.export.portable:
        result["portable"] = str(portable)
    result |= {"bundle": str(bundle), "manifest": manifest.model_dump(mode="json")}
    if options.until == "evaluate":
        asked = run.recipe.evaluation
        last = list(corpora.values())[-1]
        plan = EvaluationPlan(samples=asked.samples, first_seed=asked.seed)
        evaluate_one(bundle, EvaluationData.of(last), plan, run.work / "evaluation")
        result["report"] = str(run.work / "evaluation" / "report.md")
    return result


def base(options: argparse.Namespace) -> dict[str, Any]:
    """A recipe's base, fetched and with its start token."""
    return {"checkpoint": str(prepare(_tuning_run(options)))}


def data(options: argparse.Namespace) -> dict[str, Any]:
    """A recipe's texts."""
    run = _tuning_run(options)
    base = run.work / "base" / "checkpoint"
    if not base.is_dir():
        raise StepError(f"{base} does not exist; run gtx-train base first, or gtx-train run --until data for both")
    return {name: _counts(corpus) for name, corpus in prepare_data(run, base).items()}


def embedded(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that recipes which pretrain say."""
    paths = [find_recipe(name) for name in options.recipe or map(str, EMBEDDED)]
    if options.bundle is not None and len(paths) > 1:
        raise ValueError("--bundle is for one recipe; name it with --recipe")
    work = options.work or Path("runs") / paths[0].stem
    manifests = {}
    for recipe in [read_recipe(path, options.settings) for path in paths]:
        inputs = Inputs(recipe, options.stories, _greentexts(options), options.base)
        manifest = make_bundle(inputs, work, options.bundle or _default_bundle(recipe))
        manifests[recipe.card.name] = manifest.model_dump(mode="json")
    return manifests


def pretrain(options: argparse.Namespace) -> dict[str, Any]:
    """Tokenizer and pretraining."""
    inputs = Inputs(_recipe(options), options.stories, _greentexts(options))
    return {"checkpoint": str(run_pretraining(inputs, _work(options)))}


def finetune(options: argparse.Namespace) -> dict[str, Any]:
    """The recipe's fine-tunings."""
    recipe = _recipe(options)
    if recipe.base is None:
        inputs = Inputs(recipe, options.stories, _greentexts(options))
        return {"checkpoint": str(run_own_stages(inputs, options.base, _work(options)))}
    load_checkpoint(options.base)
    run = TuningRun(recipe, _work(options), str(options.base), options.data)
    prepare_data(run, options.base)
    return {"checkpoint": str(run_stages(run, options.base))}


def trim(options: argparse.Namespace) -> dict[str, Any]:
    """A checkpoint with fewer tokens."""
    texts = read_corpus(_found(options.data), "full").all_texts
    trimmed = trim_checkpoint(options.checkpoint, texts, options.output, vocab_size=options.tokens)
    return {
        "checkpoint": str(options.output),
        "tokens": len(trimmed.kept_ids),
        "tokens_before": trimmed.vocab_size_before,
    }


def export(options: argparse.Namespace) -> dict[str, Any]:
    """The portable export."""
    return {"model": str(export_portable(options.checkpoint, options.output))}


def unpack(options: argparse.Namespace) -> dict[str, Any]:
    """A bundle's checkpoint."""
    if options.output.exists():
        raise CheckpointError(f"{options.output} exists; remove it, or name another directory")
    unpack_bundle(options.bundle, options.output)
    return {"checkpoint": str(options.output)}


def package(options: argparse.Namespace) -> dict[str, Any]:
    """Export, format, parity, evaluation and bundle of a tuned checkpoint."""
    recipe = _recipe(options)
    bundle = options.bundle or _default_bundle(recipe)
    if recipe.base is None:
        inputs = Inputs(recipe, None, _greentexts(options))
        return package_checkpoint(inputs, options.checkpoint, _work(options), bundle).model_dump(mode="json")
    load_checkpoint(options.checkpoint)
    run = TuningRun(recipe, _work(options), None, options.data)
    prepare_data(run, run.work / "base" / "checkpoint")
    return package_tuned(run, options.checkpoint, bundle).model_dump(mode="json")


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Reports on models, and a table of them if they are several."""
    # Checked before the texts are read: a mistake in a path should not take a minute to be told.
    for model in options.models:
        if not model.is_dir():
            raise ValueError(f"{model} is no directory; name a checkpoint or a bundle")
    data = EvaluationData.of(_corpus(options), options.split)
    judge = JudgePlan(options.judge, base_url=options.judge_url) if options.judge else None
    plan = EvaluationPlan(samples=options.samples, first_seed=options.seed, judge=judge, mauve_model=options.mauve)
    return {"reports": str(options.out), **evaluate_all(options.models, data, plan, options.out).as_json()}


def sample(options: argparse.Namespace) -> dict[str, Any]:
    """Texts that a model writes."""
    if not options.model.is_dir():
        raise ValueError(f"{options.model} is no directory; name a checkpoint or a bundle")
    changes = {name: getattr(options, name) for name in ("temperature", "opening_temperature", "top_p", "top_k")}
    sampling = sampling_of(options.model, {name: value for name, value in changes.items() if value is not None})
    with tempfile.TemporaryDirectory() as temporary:
        written = write_texts(
            options.model,
            options.out or Path(temporary),
            count=options.count,
            first_seed=options.seed,
            prompt=options.prompt,
            sampling=sampling,
        )
    counts = {"kept": len(written.texts), "dropped": written.dropped}
    return {"texts": written.texts, **counts} if options.out is None else {"rows": str(options.out / ROWS), **counts}


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """A table of what was found of several models."""
    comparison = compare_results(options.results)
    if options.out is not None:
        write_comparison(comparison, options.out)
    return comparison.as_json()


def findings(options: argparse.Namespace) -> dict[str, Any]:
    """A report on the original project's claims."""
    path = run_findings(
        options.stories,
        Path(options.data) if options.data else STARTER,
        options.work,
        scale=options.scale,
        jobs=options.jobs,
        claims=options.claim,
        output=options.out,
    )
    return {"report": str(path)}


def import_(options: argparse.Namespace) -> dict[str, Any]:
    """A bundle of a published checkpoint."""
    texts = read_corpus(_found(options.data), "full").test if options.data else ()
    name = options.name or slug_of(
        Path(options.model).resolve().name if Path(options.model).is_dir() else options.model
    )
    return import_bundle(
        options.model,
        options.bundle or Path("models") / name,
        revision=options.revision,
        precision=options.precision,
        texts=[document.text for document in texts],
        context_length=options.context,
        name=options.name,
        license_expression=options.license,
        work=options.work,
    ).model_dump(mode="json")


def publish(options: argparse.Namespace) -> dict[str, Any]:
    """A bundle, and what it was made of, on the hub."""
    publication = plan_publication(options.bundle, options.checkpoint, options.portable)
    sizes = publication.sizes()
    result = {"repository": options.repository, "files": sizes, "bytes": sum(sizes.values())}
    if options.dry_run:
        return {**result, "sent": False}
    return {
        **result,
        "sent": True,
        "address": publish_files(publication, options.repository, private=not options.public),
    }


COMMANDS = {
    "recipes": recipes,
    "run": run_recipe,
    "base": base,
    "data": data,
    "embedded": embedded,
    "pretrain": pretrain,
    "finetune": finetune,
    "trim": trim,
    "unpack": unpack,
    "export": export,
    "package": package,
    "evaluate": evaluate,
    "compare": compare,
    "sample": sample,
    "findings": findings,
    "import": import_,
    "publish": publish,
}


def _recipe(options: argparse.Namespace) -> Recipe:
    return read_recipe(find_recipe(options.recipe), options.settings)


def _tuning_run(options: argparse.Namespace) -> TuningRun:
    return TuningRun(
        _recipe(options),
        _work(options),
        getattr(options, "base", None),
        getattr(options, "data", None),
        getattr(options, "renew_pins", False),
    )


def _work(options: argparse.Namespace) -> Path:
    chosen: Path | None = options.work
    return chosen or Path("runs") / find_recipe(options.recipe).stem


def _default_bundle(recipe: Recipe) -> Path:
    return Path("models") / recipe.card.name


def _greentexts(options: argparse.Namespace) -> Path:
    return Path(options.data) if options.data else GREENTEXTS


def _found(data: str) -> Path:
    """A path, or the hub's dataset of that name as it is now."""
    if Path(data).exists():
        return Path(data)
    name, _, revision = data.partition("@")
    return fetch_dataset(name, revision or "main", Pins(None)).directory


def _corpus(options: argparse.Namespace) -> Corpus:
    """The texts of ``--data``; those that a step wrote are taken as they were split there."""
    path = _found(options.data) if options.data else GREENTEXTS
    return load_corpus(path) if (path / CORPUS).is_file() else read_corpus(path, options.choice)


def _counts(corpus: Corpus) -> dict[str, Any]:
    texts = {split: len(corpus.split(split)) for split in ("train", "validation", "test")}
    return {"name": corpus.name, "sha256": corpus.sha256, "texts": texts, "dropped": corpus.dropped}
