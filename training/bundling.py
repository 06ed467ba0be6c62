"""From a tuned checkpoint to a bundle: export, choice of a format, parity, scores, samples, card.

The format is chosen on validation texts; parity and the card's figures are of test texts. Figures are of a sample of
the texts where there are very many: the same one every time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from service.engine.model_runner import ModelRunner
from training.checkpoint import load_checkpoint
from training.decoder_reader import read_decoder
from training.evaluate import SCORED_ROWS, Score, hold_out, score_runner
from training.evaluation.run import EvaluationPlan, evaluate
from training.export_portable import export_portable
from training.finetune import encode_documents, of_genre
from training.package import package
from training.parity import check_parity
from training.quantize import FormatReport, choose_format
from training.samples import sample
from training.steps import once, sha256_of_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from greentext.bundle import DefaultSampling, ModelManifest
    from training.checkpoint import Checkpoint
    from training.corpus import Document
    from training.decoder_weights import DecoderWeights
    from training.evaluation.run import EvaluationData
    from training.package import CardFacts
    from training.recipe import Recipe

log = structlog.get_logger(__name__)

CARD_ROOM_BYTES = 100_000
"""What a card and a manifest may take of a bundle's size."""
MAX_MEASURED_TEXTS = 400
"""Formats and parity are measured on so many texts at most, token by token."""
MAX_SCORED_TEXTS = 1000


@dataclass(frozen=True, slots=True)
class BundleTexts:
    """Greentexts to calibrate with (train), to choose a format on (validation), and to score (test)."""

    train: Sequence[Document]
    validation: Sequence[Document]
    test: Sequence[Document]


def make_bundle_of(
    checkpoint_directory: Path,
    texts: BundleTexts,
    facts: CardFacts,
    recipe: Recipe,
    *,
    work: Path,
    bundle: Path,
    evaluation_data: EvaluationData | None = None,
) -> ModelManifest:
    """Exports, chooses a format, checks parity, scores, samples, and writes the bundle.

    With ``evaluation_data`` it is evaluated as the recipe says before, for its card to show what was found. Raises
    ParityError, PackageError, QuantizationError, ExportError, and what ``write_bundle`` raises.
    """
    checkpoint = load_checkpoint(checkpoint_directory)
    decoder = read_decoder(checkpoint.model)
    facts = replace(facts, sampling=_fitting(facts.sampling, decoder))
    weights = {"base": sha256_of_file(checkpoint_directory / "model.safetensors")}
    portable = None
    if recipe.export.portable:
        portable = work / "portable" / "model.onnx"
        once(portable.parent, weights, partial(export_portable, checkpoint_directory, portable.parent))

    tokenizer = checkpoint_directory / "tokenizer.json"
    training = list(texts.train)[: recipe.calibration_texts]
    validation = [document.text for document in drawn(texts.validation, MAX_MEASURED_TEXTS)]
    test = drawn(texts.test, MAX_SCORED_TEXTS)
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

    once(formats_directory, {**weights, "calibration_texts": len(training), "room": room}, measure)
    formats = FormatReport.from_json(json.loads(report.read_text(encoding="utf-8")))
    served = formats_directory / f"{formats.chosen}.onnx"
    parity = check_parity(
        checkpoint,
        hold_out(checkpoint, [document.text for document in test[:MAX_MEASURED_TEXTS]]),
        portable=portable,
        serving_fp32=formats_directory / "fp32.onnx",
        served=served,
        tokenizer=tokenizer,
    )
    (work / "parity.json").write_text(json.dumps(parity.as_json(), indent=2) + "\n", encoding="utf-8")
    parity.require()
    make = partial(
        package,
        checkpoint=checkpoint,
        decoder=decoder,
        facts=facts,
        model=served,
        tokenizer=tokenizer,
        parity=parity,
        formats=formats,
        scores=_scores(checkpoint, served, test, drawn(texts.validation, MAX_SCORED_TEXTS)),
        samples=sample(
            served, tokenizer, checkpoint.start_id, checkpoint.end_id, facts.sampling, seeds=range(recipe.card.samples)
        ),
        max_bytes=recipe.card.max_bytes,
    )
    evaluation = None
    if evaluation_data is not None and recipe.evaluation.samples:
        make(work / "unmeasured")
        plan = EvaluationPlan(samples=recipe.evaluation.samples, first_seed=recipe.evaluation.seed)
        evaluation = evaluate(work / "unmeasured", evaluation_data, plan, work / "evaluation")
    manifest = make(bundle, evaluation=evaluation)
    log.info("packaged", bundle=str(bundle), format=formats.chosen, **manifest.evaluation)
    return manifest


def drawn(documents: Sequence[Document], count: int) -> list[Document]:
    """All documents, in their order; of more than ``count`` those that a hash of their texts draws."""
    if len(documents) <= count:
        return list(documents)
    return sorted(documents, key=lambda document: hashlib.sha256(document.text.encode()).digest())[:count]


def _fitting(sampling: DefaultSampling, decoder: DecoderWeights) -> DefaultSampling:
    """Sampling within what the model holds: a recipe may be run on a smaller base than it was written for."""
    return sampling.model_copy(
        update={
            "top_k": min(sampling.top_k, decoder.vocab_size),
            "max_new_tokens": min(sampling.max_new_tokens, decoder.context_length - 1),
        }
    )


def _scores(
    checkpoint: Checkpoint, served: Path, test: Sequence[Document], validation: Sequence[Document]
) -> dict[str, Score]:
    texts = {
        "test": test,
        "test_thanks": of_genre(test, "thanks"),
        "test_general": of_genre(test, "general"),
        "validation": validation,
    }
    held_out = {
        name: hold_out(checkpoint, [document.text for document in documents])
        for name, documents in texts.items()
        if documents
    }
    longest = max(len(document) for part in held_out.values() for document in part.documents)
    # Room for these texts, not for the model's whole context, which may take gigabytes.
    runner = ModelRunner(served, slots=SCORED_ROWS, max_len=longest)
    return {name: score_runner(runner, part) for name, part in held_out.items()}
