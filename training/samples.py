"""Unselected samples: what a model writes for seeds 0, 1, 2, ..., through the engine that serves it.

A sample depends on its seed alone, not on who was sampled beside it or before an interruption: that is the engine's
promise, and why thousands of them can be kept in a file and gone on with.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import structlog

from service.engine.llm_engine import EngineConfig, LLMEngine
from service.engine.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from greentext.bundle import DefaultSampling
    from service.engine.llm_engine import Completion

log = structlog.get_logger(__name__)

LINE_EVERY_S = 15.0


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


def sample_into(
    path: Path,
    engine: LLMEngine,
    prompt_ids: Sequence[int],
    sampling: DefaultSampling,
    *,
    seeds: Sequence[int],
    made_by: dict[str, Any],
    prefix: str = "",
) -> list[Sample]:
    """One text for each seed, kept in a file of JSON Lines as they come; those that the file has are not made again.

    Args:
        path: Its first line is ``made_by``; a file of something else is replaced.
        engine: The model.
        prompt_ids: What every text begins with, the start token among them.
        sampling: How to sample.
        seeds: In the order of the answer.
        made_by: What the texts depend on beside their seeds: hashes of the model, sampling, prompt.
        prefix: The prompt's text, which is put before what the model wrote.
    """
    have = _read(path, made_by)
    missing = [seed for seed in seeds if seed not in have]
    if missing:
        if have:
            log.info("going on", samples=len(have), of=len(seeds))
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, made_by, have.values())  # also: what was cut off is gone
        requests = [(list(prompt_ids), sampling_params(sampling, seed=seed)) for seed in missing]
        told = time.monotonic()
        with path.open("a", encoding="utf-8") as file:
            for place, completion in completions(engine, requests):
                one = Sample(missing[place], prefix + completion.text, completion.finish_reason == "end")
                have[one.seed] = one
                file.write(json.dumps(asdict(one)) + "\n")
                if time.monotonic() - told > LINE_EVERY_S:
                    told = time.monotonic()
                    file.flush()
                    log.info("sampling", done=len(have), of=len(seeds))
        # In the order of seeds, whoever ended first: the same samples are the same file.
        _write(path, made_by, have.values())
    return [have[seed] for seed in seeds]


def complete(engine: LLMEngine, prompts: Sequence[tuple[list[int], SamplingParams]]) -> list[Completion]:
    """Runs prompts (token ids, how to sample) to their ends, and returns what came of each, in their order."""
    done = dict(completions(engine, prompts))
    return [done[place] for place in range(len(prompts))]


def completions(
    engine: LLMEngine, prompts: Sequence[tuple[list[int], SamplingParams]]
) -> Iterator[tuple[int, Completion]]:
    """Runs prompts to their ends, and gives each as it ends, with its place among the prompts.

    As many wait in the engine's queue as keep its slots full. Every prompt asks for one text (``n`` is 1).
    """
    places: dict[int, int] = {}
    given = 0
    while given < len(prompts) or engine.has_work:
        while given < len(prompts) and engine.scheduler.room_for(1) and len(places) < 2 * engine.scheduler.slots:
            [sequence] = engine.make_sequences(*prompts[given], stream=False)
            engine.add([sequence])
            places[sequence.sequence_id] = given
            given += 1
        for sequence, event in engine.step():
            if event.finished is not None:
                yield places.pop(sequence.sequence_id), event.finished


def _read(path: Path, made_by: dict[str, Any]) -> dict[int, Sample]:
    """The samples of a file that was made by the same."""
    if not path.is_file():
        return {}
    rows = path.read_text(encoding="utf-8").splitlines()
    have = {}
    with suppress(ValueError, TypeError, KeyError):  # the last row was cut off, or the first never written
        if json.loads(rows[0] if rows else "{}") != made_by:
            log.warning("samples of another model, or sampled otherwise, are replaced", path=str(path))
            return {}
        for row in rows[1:]:
            one = Sample(**json.loads(row))
            have[one.seed] = one
    return have


def _write(path: Path, made_by: dict[str, Any], samples: Iterable[Sample]) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(json.dumps(made_by) + "\n")
        for one in sorted(samples, key=lambda sample: sample.seed):
            file.write(json.dumps(asdict(one)) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
