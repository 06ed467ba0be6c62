"""Evaluates one model and writes what it found: ``evaluation.json``, ``report.md``, plots, samples and their checks.

Samples, held-out scores and a judge's answers are kept in the directory, so that an interrupted evaluation goes on, and
a second one of the same model takes seconds. All else is computed anew.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from service.engine.llm_engine import EngineConfig, LLMEngine
from training.evaluation.compare import compare_results, write_comparison
from training.evaluation.figures import Figure, share
from training.evaluation.grading import grade_model
from training.evaluation.heldout import bits_per_byte, held_out_scores, perplexity
from training.evaluation.judge import Judge
from training.evaluation.mauve_score import ADVISED_TEXTS, Mauve
from training.evaluation.report import write_report
from training.evaluation.result import RESULT, Evaluation
from training.evaluation.served import name_of, open_model
from training.evaluation.text_sets import common_sizes, details_of, figures_of, text_sets
from training.samples import sample_into

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from greentext.bundle import DefaultSampling
    from training.corpus import Document
    from training.dataset import Corpus
    from training.evaluation.compare import Comparison
    from training.evaluation.judge import JudgePlan
    from training.evaluation.served import ServedModel
    from training.evaluation.text_sets import TextSet
    from training.samples import Sample

log = structlog.get_logger(__name__)

SAMPLES, CHECKED, SCORES, ANSWERS = "samples.jsonl", "checked.jsonl", "scores.json", "judge.jsonl"
MAX_SLOTS = 64


@dataclass(frozen=True, slots=True)
class EvaluationData:
    """What a model is measured against."""

    name: str
    sha256: str
    training: tuple[str, ...]
    """What samples may have been copied from."""
    held_out: tuple[Document, ...]

    @classmethod
    def of(cls, corpus: Corpus, split: str = "test") -> EvaluationData:
        """A corpus's training texts, and one of its other splits."""
        held_out = corpus.validation if split == "validation" else corpus.test
        return cls(f"{corpus.name}, {split}", corpus.sha256, tuple(one.text for one in corpus.train), held_out)


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What to measure. Seeds count up from ``first_seed``; 0 samples leaves out all that is of samples."""

    samples: int = 2000
    first_seed: int = 0
    sampling: DefaultSampling | None = None
    """In place of the model's own: give it when models with different ones are to be compared."""
    prompt: str = ""
    """What each sample begins with, behind the start token."""
    start_token: bool = True
    """Without it the prompt stands alone, as text does in most of what bases were pretrained on."""
    judge: JudgePlan | None = None
    mauve_model: str = ""
    """Empty leaves MAUVE out; see ``mauve_score.DEFAULT_MODEL``."""
    shown_samples: int = 20
    """In the report: the first ones, unselected."""
    plots: bool = True
    """A second or two of an evaluation, which a series of many may save."""
    threads: int = field(default=0, compare=False)
    """0 takes the container's CPU limit."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        for name in ("samples", "first_seed", "shown_samples"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.start_token and not self.prompt:
            raise ValueError("without the start token there must be a prompt for samples to begin with")


def evaluate(path: Path, data: EvaluationData, plan: EvaluationPlan, directory: Path) -> Evaluation:
    """Measures the bundle or checkpoint at ``path`` and writes a report into ``directory``.

    Raises what ``open_model`` raises, ValueError for data that cannot be used, MauveError and JudgeError before
    anything long begins where they cannot be had at all, and JudgeError when everything but the grades is written.
    """
    if not data.held_out:
        raise ValueError(f"{data.name} has no held-out texts; give more texts, or name another split")
    directory.mkdir(parents=True, exist_ok=True)
    mauve = Mauve(plan.mauve_model) if plan.mauve_model else None
    judge = Judge(plan.judge, directory / ANSWERS) if plan.judge else None
    model = open_model(path, directory, plan.sampling)
    log.info("evaluating", model=model.name, held_out_texts=len(data.held_out), samples=plan.samples)
    scores, scored = held_out_scores(model, data.held_out, directory / SCORES, threads=plan.threads)
    engine = _engine(model, plan) if plan.samples or judge else None
    samples = _samples(engine, model, plan, directory) if engine is not None else []
    originals = [document.text for document in data.held_out]
    log.info("checking", samples=len(samples), training_texts=len(data.training))
    of_samples, of_originals = text_sets([[one.text for one in samples], originals], data.training)
    sizes = common_sizes([of_samples, of_originals] if samples else [of_originals])

    notes = _notes(plan, scores.left_out)
    figures = {"bits_per_byte": bits_per_byte(scores), "perplexity": perplexity(scores)}
    reference, _ = figures_of(of_originals, sizes)
    details: dict[str, Any] = {"held_out": details_of(of_originals), "diversity_of": asdict(sizes)}
    if samples:
        found, missing = figures_of(of_samples, sizes)
        figures |= found | {"ends_by_itself": share(sum(one.ended for one in samples), len(samples))}
        notes += missing
        details["samples"] = details_of(of_samples)
        _write_checked(directory / CHECKED, samples, of_samples)
    if mauve is not None and samples:
        count = min(len(samples), len(originals))
        value = mauve.score([one.text for one in samples], originals)
        figures["mauve"] = Figure(value, value, value, count)
        notes.append(f"MAUVE has no interval; it is of {count} texts of each kind, with features of {mauve.model}.")
        if count < ADVISED_TEXTS:
            notes.append(f"Of fewer than {ADVISED_TEXTS} texts MAUVE is too rough to tell models apart by.")
    genres = sorted({document.genre for document in scored if document.genre})
    places = {genre: [at for at, one in enumerate(scored) if one.genre == genre] for genre in genres}
    result = Evaluation(
        name=model.name,
        model={"precision": model.precision, "context_length": model.context_length, "sha256": model.sha256},
        data={
            "name": data.name, "sha256": data.sha256, "training_texts": len(data.training),
            "held_out_texts": len(data.held_out),
        },
        samples={
            "count": len(samples), "first_seed": plan.first_seed, "prompt": plan.prompt,
            "start_token": plan.start_token, "sampling": model.sampling.model_dump(),
        },
        figures=figures,
        reference=reference,
        by_genre={genre: bits_per_byte(scores, places[genre]) for genre in genres},
        details=details,
        notes=tuple(notes),
        held_out=scores,
    )  # fmt: skip
    shown = list(zip(samples, of_samples.checks, strict=True))[: plan.shown_samples]
    result.write(directory / RESULT)
    write_report(directory, result, shown, plots=plan.plots)
    if judge is not None and engine is not None:
        result = grade_model(judge, engine, model, data.held_out, first_seed=plan.first_seed).added_to(result)
        result.write(directory / RESULT)
        write_report(directory, result, shown, plots=plan.plots)
    log.info("evaluated", model=model.name, report=str(directory / "report.md"))
    return result


def evaluate_all(paths: Sequence[Path], data: EvaluationData, plan: EvaluationPlan, directory: Path) -> Comparison:
    """Measures each model into a directory of its own below ``directory``, and compares them there if they are several.

    Raises as ``evaluate`` does, and ValueError for no model; what was measured until then is kept.
    """
    if not paths:
        raise ValueError("there is no model to evaluate; name bundles or checkpoints")
    results = []
    taken: set[str] = set()
    for path in paths:
        name, count = name_of(path), 1
        while name in taken:
            count += 1
            name = f"{name_of(path)}-{count}"
        taken.add(name)
        results.append(evaluate(path, data, plan, directory / name))
    comparison = compare_results(results)
    if len(results) > 1:
        write_comparison(comparison, directory)
    return comparison


def _engine(model: ServedModel, plan: EvaluationPlan) -> LLMEngine:
    return LLMEngine(
        EngineConfig(
            model_path=model.graph,
            tokenizer_path=model.tokenizer,
            end_token_id=model.end_id,
            max_slots=MAX_SLOTS if plan.judge else min(MAX_SLOTS, plan.samples),
            threads=plan.threads,
        )
    )


def _samples(engine: LLMEngine, model: ServedModel, plan: EvaluationPlan, directory: Path) -> list[Sample]:
    prompt_ids = engine.tokenizer.encode(plan.prompt)
    return sample_into(
        directory / SAMPLES,
        engine,
        [model.start_id, *prompt_ids] if plan.start_token else prompt_ids,
        model.sampling,
        seeds=range(plan.first_seed, plan.first_seed + plan.samples),
        made_by={
            "model_sha256": model.sha256,
            "sampling": model.sampling.model_dump(),
            "prompt": plan.prompt,
            "start_token": plan.start_token,
        },
        prefix=plan.prompt,
    )


def _notes(plan: EvaluationPlan, left_out: int) -> list[str]:
    """What a reader must know beside the figures."""
    notes = []
    if left_out:
        notes.append(f"{left_out} held-out texts are longer than the model's context and were not scored.")
    if plan.prompt or not plan.start_token:
        begun = "with the start token" if plan.start_token else "without the start token"
        notes.append(f"Samples begin {begun} and the prompt {plan.prompt!r}.")
    if plan.judge is None:
        notes.append(
            "No judge was asked for grades of grammar, creativity, consistency and plot: name a model behind OpenAI's "
            "API (OPENAI_API_KEY, OPENAI_BASE_URL) to have them."
        )
    if not plan.mauve_model:
        notes.append("MAUVE was not measured: it needs the package mauve-text and a model for its features.")
    return notes


def _write_checked(path: Path, samples: Sequence[Sample], texts: TextSet) -> None:
    """One line of JSON a sample, with what was found in it."""
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        for one, found, shared in zip(samples, texts.checks, texts.novelty, strict=True):
            file.write(json.dumps(asdict(one) | asdict(found) | asdict(shared)) + "\n")
    part.replace(path)
