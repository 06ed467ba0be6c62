"""Unselected samples: what a model writes for seeds 0, 1, 2, ..., through the engine that serves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.engine.llm_engine import EngineConfig, LLMEngine
from service.engine.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from greentext.bundle import DefaultSampling
    from service.engine.llm_engine import Completion


@dataclass(frozen=True, slots=True)
class Sample:
    """A text with the seed that gives it again. ``ended``: the model ended it, rather than the limit of tokens."""

    seed: int
    text: str
    ended: bool


def sampling_params(sampling: DefaultSampling, *, seed: int) -> SamplingParams:
    """A bundle's default sampling as the engine takes it."""
    return SamplingParams(**sampling.model_dump(), seed=seed)


def sample(
    model: Path, tokenizer: Path, start_id: int, end_id: int, sampling: DefaultSampling, *, seeds: Sequence[int]
) -> list[Sample]:
    """One text for each seed, from the start token alone."""
    engine = LLMEngine(
        EngineConfig(model_path=model, tokenizer_path=tokenizer, end_token_id=end_id, max_slots=max(1, len(seeds)))
    )
    prompts = [([start_id], sampling_params(sampling, seed=seed)) for seed in seeds]
    return [
        Sample(seed, completion.text, completion.finish_reason == "end")
        for seed, completion in zip(seeds, complete(engine, prompts), strict=True)
    ]


def complete(engine: LLMEngine, prompts: Sequence[tuple[list[int], SamplingParams]]) -> list[Completion]:
    """Runs prompts (token ids, how to sample) to their ends, and returns what came of each, in their order."""
    sequences = []
    for prompt_ids, params in prompts:
        made = engine.make_sequences(prompt_ids, params, stream=False)
        engine.add(made)
        sequences += made
    done: dict[int, Completion] = {}
    while engine.has_work:
        for sequence, event in engine.step():
            if event.finished is not None:
                done[sequence.sequence_id] = event.finished
    return [done[sequence.sequence_id] for sequence in sequences]
