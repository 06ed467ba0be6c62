"""Many texts of one model, as rows that the data pipeline's filters read (`gtx-data filters DIR`).

A text depends on the model and its seed alone, so that a run that was stopped goes on, and a longer one begins with the
same texts. What was cut off by the limit of tokens, is no greentext, or was written before is left out and counted.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greentext.text import GreentextError, parse
from service.engine.llm_engine import EngineConfig, LLMEngine
from training.evaluation.served import open_model
from training.samples import sample_into

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from greentext.bundle import DefaultSampling
    from training.evaluation.served import ServedModel
    from training.samples import Sample

SAMPLES, ROWS = "samples.jsonl", "kept.jsonl"
SOURCE = "synthetic"
MAX_SLOTS = 64


@dataclass(frozen=True, slots=True)
class WrittenTexts:
    """What a run came to."""

    texts: list[str]
    """Those kept, in the order of their seeds."""
    dropped: dict[str, int]
    """``cut_off``, ``not_a_greentext`` and ``same_text``."""


def write_texts(
    model: Path,
    directory: Path,
    *,
    count: int,
    first_seed: int = 0,
    prompt: str = "",
    sampling: DefaultSampling | None = None,
) -> WrittenTexts:
    """Has a bundle or a checkpoint write ``count`` texts into ``directory``, and returns those that are greentexts.

    ``samples.jsonl`` has all of them, ``kept.jsonl`` the rows. ``sampling`` takes the place of the bundle's own. Raises
    ValueError for a count below 1, and what ``open_model`` raises.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    served = open_model(model, directory / "graph", sampling)
    engine = LLMEngine(
        EngineConfig(
            model_path=served.graph,
            tokenizer_path=served.tokenizer,
            end_token_id=served.end_id,
            max_slots=min(MAX_SLOTS, count),
        )
    )
    samples = sample_into(
        directory / SAMPLES,
        engine,
        [served.start_id, *engine.tokenizer.encode(prompt)],
        served.sampling,
        seeds=range(first_seed, first_seed + count),
        made_by={"model_sha256": served.sha256, "sampling": served.sampling.model_dump(), "prompt": prompt},
        prefix=prompt,
    )
    dropped: Counter[str] = Counter()
    rows = list(_rows(served, samples, dropped))
    _write(directory / ROWS, rows)
    return WrittenTexts([row["text"] for row in rows], dict(sorted(dropped.items())))


def _rows(model: ServedModel, samples: Sequence[Sample], dropped: Counter[str]) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for sample in samples:
        if not sample.ended:
            dropped["cut_off"] += 1
            continue
        try:
            text = str(parse(sample.text))
        except GreentextError:
            dropped["not_a_greentext"] += 1
            continue
        if text in seen:
            dropped["same_text"] += 1
            continue
        seen.add(text)
        yield {
            "id": f"{SOURCE}:{hashlib.sha256(text.encode()).hexdigest()[:16]}",
            "text": text,
            "source": SOURCE,
            "origin": f"{model.name} {model.sha256[:12]}, seed {sample.seed}",
        }


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
