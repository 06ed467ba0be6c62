"""Packages a tuned checkpoint as a model bundle, its model card included.

Refuses without a passed parity report. The same inputs give the same bytes: no time, machine or path is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from greentext.bundle import (
    ControlToken,
    ControlTokens,
    Dataset,
    DefaultSampling,
    ModelDescription,
    ModelManifest,
    write_bundle,
)
from greentext.control_tokens import START_TOKEN
from training.evaluation.report import METHOD, facts_of, figures_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from training.checkpoint import Checkpoint
    from training.decoder_weights import DecoderWeights
    from training.evaluate import Score
    from training.evaluation.result import Evaluation
    from training.parity import ParityReport
    from training.quantize import FormatReport
    from training.samples import Sample


class PackageError(RuntimeError):
    """A model must not be packaged as it is."""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the card and the manifest say that cannot be read off the files."""

    name: str
    description: str
    base_model: str
    license: str
    trained_on: tuple[str, ...]
    """A sentence each: the data, in the order of training, with their licences."""
    limits: tuple[str, ...]
    """A sentence each: what the model cannot do, and should not be used for."""
    sampling: DefaultSampling
    dataset: Dataset
    measured_on: str = "held-out texts"
    """What the formats' perplexity is of."""


def package(
    directory: Path,
    checkpoint: Checkpoint,
    decoder: DecoderWeights,
    facts: CardFacts,
    *,
    model: Path,
    tokenizer: Path,
    parity: ParityReport,
    formats: FormatReport,
    scores: Mapping[str, Score],
    samples: Sequence[Sample],
    evaluation: Evaluation | None = None,
    max_bytes: int | None = None,
) -> ModelManifest:
    """Writes the bundle. ``scores`` are of the served model, by what they were measured on; ``evaluation`` is what
    ``gtx-train evaluate`` found, for the card.

    Raises ParityError when the model's forms disagree, PackageError when the bundle would exceed ``max_bytes``, and
    what ``greentext.bundle.write_bundle`` raises.
    """
    parity.require()
    best = formats.best
    figures = {
        f"{name}_{figure}": value
        for name, score in scores.items()
        for figure, value in (
            ("bits_per_byte", round(score.bits_per_byte, 4)),
            ("perplexity", round(score.perplexity, 4)),
            ("texts", float(score.texts)),
        )
    }
    figures["perplexity_over_fp32"] = round(parity.served_perplexity / parity.fp32_perplexity - 1, 5)
    figures["largest_fp32_logit_difference"] = float(f"{max(parity.differences.values()):.1e}")
    description = ModelDescription(
        name=facts.name,
        description=facts.description,
        base_model=facts.base_model,
        architecture=decoder.architecture,
        precision=best.precision,
        context_length=decoder.context_length,
        vocab_size=decoder.vocab_size,
        num_layers=len(decoder.layers),
        num_heads=decoder.num_heads,
        num_kv_heads=decoder.num_kv_heads,
        head_dim=decoder.head_dim,
        control_tokens=ControlTokens(
            start=ControlToken(id=checkpoint.start_id, text=START_TOKEN),
            end=ControlToken(
                id=checkpoint.end_id, text=str(checkpoint.tokenizer.convert_ids_to_tokens(checkpoint.end_id))
            ),
        ),
        default_sampling=facts.sampling,
        evaluation=figures,
        dataset=facts.dataset,
        license=facts.license,
    )
    card = model_card(
        facts, decoder, formats=formats, parity=parity, scores=scores, samples=samples, evaluation=evaluation
    )
    size_bytes = model.stat().st_size + tokenizer.stat().st_size + len(card.encode())
    if max_bytes is not None and size_bytes > max_bytes:
        raise PackageError(
            f"the bundle would have {size_bytes:,} bytes, at most {max_bytes:,} are allowed; "
            f"choose a smaller model, vocabulary or format"
        )
    return write_bundle(directory, description, model=model, tokenizer=tokenizer, model_card=card)


def model_card(
    facts: CardFacts,
    decoder: DecoderWeights,
    *,
    formats: FormatReport,
    parity: ParityReport,
    scores: Mapping[str, Score],
    samples: Sequence[Sample],
    evaluation: Evaluation | None = None,
) -> str:
    """The bundle's README.md."""
    sampling = ", ".join(f"{name} {value:g}" for name, value in facts.sampling.model_dump(exclude_none=True).items())
    forms = "PyTorch, the portable ONNX export" if "portable" in parity.greedy_mismatches else "PyTorch"
    served_cost = parity.served_perplexity / parity.fp32_perplexity - 1
    lines = [
        f"# {facts.name}",
        "",
        facts.description,
        "",
        (
            f"A {decoder.architecture} of {len(decoder.layers)} layers, {decoder.width} wide, "
            f"{decoder.num_heads} heads, {decoder.vocab_size:,} tokens of vocabulary, "
            f"{decoder.context_length} tokens of context; "
            f"{decoder.parameters / 1e6:.1f} million parameters, served as {formats.chosen}."
        ),
        f"Licence of the model: {facts.license}.",
        "",
        "## Trained on",
        "",
        *(f"- {sentence}" for sentence in facts.trained_on),
        "",
        *_scores_section(scores),
        *_evaluation_section(evaluation),
        "## Formats measured",
        "",
        (
            f"Perplexity on {facts.measured_on}; tokens a second of the bare decode step at batches of rows, on the "
            f"machine that packaged it, to compare the formats with one another."
        ),
        "",
        formats.as_markdown(),
        (
            f"{forms} and the fp32 serving graph agree within "
            f"{max(parity.differences.values()):.1e} in their logits, and write the same {parity.greedy_prompts} "
            f"greedy texts; the served format costs {served_cost:+.2%} of perplexity."
        ),
        "",
        "## Limits",
        "",
        *(f"- {sentence}" for sentence in facts.limits),
        "",
        "## Unselected samples",
        "",
        f"Default sampling ({sampling}), one text a seed, through the serving engine.",
        "",
    ]
    for sample in samples:
        cut = "" if sample.ended else " (cut at the token limit)"
        lines += [f"Seed {sample.seed}{cut}:", "", "```text", sample.text.replace("```", "'''"), "```", ""]
    return "\n".join(lines)


def _scores_section(scores: Mapping[str, Score]) -> list[str]:
    if not scores:
        return []
    return [
        "## How well it knows what it has not seen",
        "",
        "Of the served model. A text is scored given the start token, its end included.",
        "",
        "| held-out texts | texts | bits per byte | perplexity per token |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {name.replace('_', ' ')} | {score.texts} | {score.bits_per_byte:.3f} | {score.perplexity:.2f} |"
            for name, score in scores.items()
        ),
        "",
    ]


def _evaluation_section(evaluation: Evaluation | None) -> list[str]:
    if evaluation is None:
        return []
    return ["## What it writes", "", *facts_of(evaluation), "", *figures_table(evaluation), "", METHOD, ""]
