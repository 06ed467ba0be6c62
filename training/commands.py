"""What the commands of ``gtx-train`` do: from parsed arguments to a result that prints as JSON."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from greentext.bundle import BundleError, verify
from service.engine.errors import EngineError
from service.engine.model_runner import ModelRunner
from service.engine.tokenizer import Tokenizer
from training.checkpoint import CheckpointError, load_checkpoint
from training.corpus import CorpusError
from training.decoder_weights import UnsupportedModelError
from training.evaluate import SCORED_ROWS, held_out_of, hold_out, score_model, score_runner
from training.export_portable import ExportError, export_portable
from training.finetune import greentexts_of
from training.package import PackageError
from training.parity import ParityError
from training.pipeline import Inputs, PipelineError, make_bundle, package_checkpoint, run_pretraining, run_stages
from training.quantize import QuantizationError
from training.recipe import RecipeError, read_recipe
from training.samples import sample

if TYPE_CHECKING:
    import argparse

    from training.evaluate import Score

EXPECTED_ERRORS = (
    BundleError,
    CheckpointError,
    CorpusError,
    EngineError,
    ExportError,
    OSError,
    PackageError,
    ParityError,
    PipelineError,
    QuantizationError,
    RecipeError,
    UnsupportedModelError,
    ValueError,
)
"""What a message is enough for; anything else is a mistake of ours and shows where it happened."""


def log_to_stderr() -> None:
    """Keeps standard output for the result."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


def embedded(options: argparse.Namespace) -> dict[str, Any]:
    """Everything a recipe says."""
    inputs = Inputs(read_recipe(options.recipe), options.stories, options.greentexts, options.base)
    return make_bundle(inputs, options.work, _bundle(options, inputs)).model_dump(mode="json")


def pretrain(options: argparse.Namespace) -> dict[str, Any]:
    """Tokenizer and pretraining."""
    inputs = Inputs(read_recipe(options.recipe), options.stories, options.greentexts)
    return {"checkpoint": str(run_pretraining(inputs, options.work))}


def finetune(options: argparse.Namespace) -> dict[str, Any]:
    """The recipe's fine-tunings."""
    inputs = Inputs(read_recipe(options.recipe), options.stories, options.greentexts)
    return {"checkpoint": str(run_stages(inputs, options.base, options.work))}


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Held-out figures of a checkpoint or a bundle, and samples of a bundle."""
    texts = [document.text for document in greentexts_of(options.greentexts, options.split, options.genre)]
    result: dict[str, Any] = {"model": str(options.model), "split": options.split, "genre": options.genre}
    if not (options.model / "manifest.json").is_file():
        if options.samples:
            raise ValueError("samples come from a bundle; package the checkpoint first")
        checkpoint = load_checkpoint(options.model)
        return {**result, **_figures(score_model(checkpoint.model, hold_out(checkpoint, texts)))}
    manifest = verify(options.model)
    graph, tokenizer = options.model / "model.onnx", options.model / "tokenizer.json"
    start_id, end_id = manifest.control_tokens.start.id, manifest.control_tokens.end.id
    engine_tokenizer = Tokenizer(tokenizer)
    encoded = [engine_tokenizer.encode(text) for text in texts]
    held_out = held_out_of(texts, encoded, start_id, end_id, manifest.context_length)
    result |= _figures(score_runner(ModelRunner(graph, slots=SCORED_ROWS), held_out))
    if options.samples:
        seeds = range(options.samples)
        written = sample(graph, tokenizer, start_id, end_id, manifest.default_sampling, seeds=seeds)
        result["samples"] = [asdict(one) for one in written]
    return result


def export(options: argparse.Namespace) -> dict[str, Any]:
    """The portable export."""
    return {"model": str(export_portable(options.checkpoint, options.output))}


def package(options: argparse.Namespace) -> dict[str, Any]:
    """Export, format, parity, evaluation and bundle of a tuned checkpoint."""
    inputs = Inputs(read_recipe(options.recipe), None, options.greentexts)
    manifest = package_checkpoint(inputs, options.checkpoint, options.work, _bundle(options, inputs))
    return manifest.model_dump(mode="json")


def _bundle(options: argparse.Namespace, inputs: Inputs) -> Path:
    chosen: Path | None = options.bundle
    return chosen or Path("models") / inputs.recipe.card.name


def _figures(score: Score) -> dict[str, Any]:
    return {
        "texts": score.texts,
        "tokens": score.tokens,
        "bits_per_byte": round(score.bits_per_byte, 4),
        "perplexity": round(score.perplexity, 4),
    }
