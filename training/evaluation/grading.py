"""Has a model complete the beginnings of held-out texts, and a judge grade what it wrote and what people wrote."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from training.evaluation.figures import mean
from training.evaluation.judge import GRADES, Exercise, beginning_of
from training.samples import complete, sampling_params

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.engine.llm_engine import LLMEngine
    from training.corpus import Document
    from training.evaluation.figures import Figure
    from training.evaluation.judge import Grades, Judge
    from training.evaluation.result import Evaluation
    from training.evaluation.served import ServedModel


@dataclass(frozen=True, slots=True)
class Graded:
    """Mean grades of completions and of the originals; ``ungraded`` counts what the judge would not grade."""

    judge: str
    figures: dict[str, Figure]
    reference: dict[str, Figure]
    details: dict[str, Any]
    ungraded: int

    def added_to(self, result: Evaluation) -> Evaluation:
        """The result with the grades in it."""
        notes = result.notes
        if self.ungraded:
            notes = (*notes, f"The judge left {self.ungraded} texts without grades; they are not in the means.")
        return replace(
            result,
            figures=result.figures | self.figures,
            reference=result.reference | self.reference,
            details=result.details | {"judge": self.details},
            notes=notes,
        )


def grade_model(
    judge: Judge, engine: LLMEngine, model: ServedModel, held_out: Sequence[Document], *, first_seed: int = 0
) -> Graded:
    """Grades of ``judge.plan.completions`` completions of each of ``judge.plan.prompts`` beginnings.

    Which texts are begun with depends on the texts alone, so that every model gets the same. The intervals are over
    beginnings: completions of the same one are no more than one opinion of it. Raises JudgeError, and ValueError when
    the judge graded nothing.
    """
    plan = judge.plan
    room = engine.context_tokens // 2
    beginnings: list[tuple[str, str]] = []
    for document in sorted(held_out, key=lambda one: hashlib.sha256(one.text.encode()).digest()):
        begun = beginning_of(document.text)
        if begun and len(engine.tokenizer.encode(begun)) < room and len(beginnings) < plan.prompts:
            beginnings.append((begun, document.text[len(begun) :]))
    if not beginnings:
        raise ValueError("no held-out text is short enough to be begun and completed in the model's context")
    prompts = [
        ([model.start_id, *engine.tokenizer.encode(begun)], sampling_params(model.sampling, seed=first_seed + seed))
        for begun, _ in beginnings
        for seed in range(plan.completions)
    ]
    written = complete(engine, prompts)
    completed = [Exercise(beginnings[place // plan.completions][0], one.text) for place, one in enumerate(written)]
    originals = [Exercise(begun, rest) for begun, rest in beginnings]
    answers = judge.grade([*completed, *originals])
    of_model = [answers[place : place + plan.completions] for place in range(0, len(completed), plan.completions)]
    of_people = [[answer] for answer in answers[len(completed) :]]
    return Graded(
        judge=plan.model,
        figures=_means(of_model),
        reference=_means(of_people),
        details={
            "model": plan.model,
            "beginnings": len(beginnings),
            "completions": len(completed),
            "ages": _ages(of_model),
            "ages_of_originals": _ages(of_people),
            "examples": [
                {"beginning": one.beginning, "completion": one.completion, **answer.grades, "said": answer.assessment}
                for one, answer in zip(completed, answers, strict=False)
                if answer is not None
            ][:3],
        },
        ungraded=sum(answer is None for answer in answers),
    )


def _means(groups: Sequence[Sequence[Grades | None]]) -> dict[str, Figure]:
    """The mean of each beginning's mean. Raises ValueError when there is no grade at all."""
    known = [[answer for answer in group if answer is not None] for group in groups]
    known = [group for group in known if group]
    if not known:
        raise ValueError("the judge graded nothing; look at its answers in judge.jsonl, or ask another one")
    return {
        f"judged_{name}": mean([sum(answer.grades[name] for answer in group) / len(group) for group in known])
        for name in GRADES
    }


def _ages(groups: Sequence[Sequence[Grades | None]]) -> dict[str, int]:
    return dict(Counter(answer.age for group in groups for answer in group if answer is not None).most_common())
