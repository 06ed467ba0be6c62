"""A model as the engine serves it: a bundle as it is, or a checkpoint's serving graph in fp32."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greentext.bundle import DefaultSampling, verify
from training.checkpoint import load_checkpoint
from training.decoder_reader import read_decoder
from training.quantize import write_serving_graph
from training.weight_formats import Fp32

if TYPE_CHECKING:
    from pathlib import Path

PLAIN_SAMPLING = DefaultSampling(
    temperature=0.8, top_k=50, top_p=0.95, min_p=0.0, repetition_penalty=1.0, max_new_tokens=120
)
"""For checkpoints, which say nothing of it; the embedded bundle's."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """Where a model's files are, and what must be known to run it."""

    name: str
    graph: Path
    tokenizer: Path
    start_id: int
    end_id: int
    context_length: int
    precision: str
    sampling: DefaultSampling
    sha256: str
    """Of graph and tokenizer: what samples and scores depend on."""


def open_model(path: Path, work: Path, sampling: DefaultSampling | None = None) -> ServedModel:
    """A bundle, verified, or a checkpoint, whose graph is written into ``work``.

    ``sampling`` takes the place of the bundle's own. Raises BundleError, CheckpointError, UnsupportedModelError.
    """
    if (path / "manifest.json").is_file():
        manifest = verify(path)
        tokens = manifest.control_tokens
        return ServedModel(
            name=manifest.name,
            graph=path / "model.onnx",
            tokenizer=path / "tokenizer.json",
            start_id=tokens.start.id,
            end_id=tokens.end.id,
            context_length=manifest.context_length,
            precision=manifest.precision,
            sampling=_fitting(sampling or manifest.default_sampling, manifest.context_length, manifest.vocab_size),
            sha256=_sha256(path / "model.onnx", path / "tokenizer.json"),
        )
    checkpoint = load_checkpoint(path)
    work.mkdir(parents=True, exist_ok=True)
    graph = write_serving_graph(read_decoder(checkpoint.model), Fp32(), work / "serving-fp32.onnx")
    return ServedModel(
        name=name_of(path),
        graph=graph,
        tokenizer=path / "tokenizer.json",
        start_id=checkpoint.start_id,
        end_id=checkpoint.end_id,
        context_length=checkpoint.context_length,
        precision="fp32",
        sampling=_fitting(
            sampling or PLAIN_SAMPLING, checkpoint.context_length, int(checkpoint.model.config.vocab_size)
        ),
        sha256=_sha256(graph, path / "tokenizer.json"),
    )


def sampling_of(path: Path, changes: dict[str, float | None]) -> DefaultSampling:
    """A bundle's default sampling, or a checkpoint's, with changes. Raises ValueError for a value out of range."""
    bundle = (path / "manifest.json").is_file()
    default = verify(path).default_sampling if bundle else PLAIN_SAMPLING
    if "temperature" in changes:  # of all lines, unless there is another for the first, as in a request
        changes = {"opening_temperature": None, **changes}
    return DefaultSampling.model_validate({**default.model_dump(), **changes})


def _fitting(sampling: DefaultSampling, context_length: int, vocab_size: int) -> DefaultSampling:
    """The sampling within what a small model has."""
    bounds = {
        "max_new_tokens": min(sampling.max_new_tokens, context_length - 1),
        "top_k": min(sampling.top_k, vocab_size),
    }
    return sampling.model_copy(update=bounds)


def name_of(path: Path) -> str:
    """What tells a model from others: `runs/mine/finetune-all/checkpoint` is mine-finetune-all."""
    parts = path.resolve().parts
    return parts[-1] if parts[-1] != "checkpoint" else "-".join(parts[-3:-1])


def _sha256(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
