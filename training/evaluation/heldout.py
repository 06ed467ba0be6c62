"""Likelihood of held-out texts through the serving graph: bits per byte and perplexity, text by text."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from service.engine.model_runner import ModelRunner
from service.engine.tokenizer import Tokenizer
from training.evaluate import held_out_of, nats_of_texts
from training.evaluation.figures import ratio
from training.evaluation.result import HeldOutScores

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from training.corpus import Document
    from training.evaluation.figures import Figure
    from training.evaluation.served import ServedModel

SLOTS = 32


def held_out_scores(
    model: ServedModel, documents: Sequence[Document], path: Path, *, threads: int = 0
) -> tuple[HeldOutScores, list[Document]]:
    """Scores of the documents that fit the context, and those documents; kept at ``path`` for the next time.

    Raises ValueError when none fits.
    """
    tokenizer = Tokenizer(model.tokenizer)
    encoded = [tokenizer.encode(document.text) for document in documents]
    # The start and the end token stand around a text.
    fitting = [place for place, ids in enumerate(encoded) if len(ids) + 2 <= model.context_length]
    if not fitting:
        raise ValueError(f"none of {len(documents)} held-out texts fits a context of {model.context_length} tokens")
    scored = [documents[place] for place in fitting]
    texts = [document.text for document in scored]
    texts_sha256 = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    made_from = {"model": model.sha256, "texts": texts_sha256}
    if (known := _read(path, made_from)) is not None:
        return known, scored
    held_out = held_out_of(
        texts, [encoded[place] for place in fitting], model.start_id, model.end_id, model.context_length
    )
    runner = ModelRunner(model.graph, slots=min(SLOTS, len(texts)), threads=threads)
    scores = HeldOutScores(
        texts_sha256=texts_sha256,
        nats=tuple(round(float(nats), 4) for nats in nats_of_texts(runner, held_out)),
        tokens=tuple(len(document) - 1 for document in held_out.documents),
        text_bytes=tuple(len(text.encode()) for text in texts),
        left_out=len(documents) - len(texts),
    )
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps({"made_from": made_from, "scores": asdict(scores)}) + "\n", encoding="utf-8")
    part.replace(path)
    return scores, scored


def bits_per_byte(scores: HeldOutScores, places: Sequence[int] | None = None) -> Figure:
    """Of all texts, or of those at ``places``; the interval is over texts."""
    nats, text_bytes = np.array(scores.nats), np.array(scores.text_bytes, np.float64)
    chosen = slice(None) if places is None else list(places)
    return ratio(nats[chosen] / math.log(2), text_bytes[chosen])


def perplexity(scores: HeldOutScores) -> Figure:
    """Exp of the nats a token; the interval is over texts."""
    return ratio(scores.nats, scores.tokens).mapped(math.exp)


def _read(path: Path, made_from: dict[str, str]) -> HeldOutScores | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["made_from"] != made_from:
            return None
        return HeldOutScores.from_json(content["scores"])
    except (ValueError, KeyError, TypeError):  # of another version
        return None
