"""Makes a bundle of a published GPT-2, GPT-Neo or Llama checkpoint: ``import_bundle``.

Safetensors only, and no code that came with it is ever run. The bundle's manifest records the commit it was made of.
What begins a text is the start token where the tokenizer has it (the original project's checkpoints do); where it does
not, it is added, and stands for what the model was pretrained to see before a text. PyTorch and the serving graph must
agree, as for a model of our own.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from greentext.bundle import Dataset, DefaultSampling
from service.engine.llm_engine import EngineConfig, LLMEngine
from service.engine.model_runner import ModelRunner
from service.engine.sampling_params import SamplingParams
from training.decoder_reader import read_decoder
from training.evaluate import SCORED_ROWS, HeldOut, held_out_of, score_runner
from training.import_source import ImportSource, ImportSourceError, find_source
from training.imported_checkpoint import ImportedCheckpoint, load_imported, write_tokenizer
from training.package import CardFacts, package
from training.parity import check_parity
from training.quantize import choose_format, write_serving_graph
from training.samples import complete, sample
from training.tokenizer import encode_plain
from training.weight_formats import Fp32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from greentext.manifest import ModelManifest
    from training.quantize import Precision

log = structlog.get_logger(__name__)

SAMPLING = DefaultSampling(temperature=0.8, top_k=50, top_p=0.95, min_p=0.0, repetition_penalty=1.2, max_new_tokens=96)
"""Where the caller says nothing: made for small models, which repeat themselves without a penalty."""
MIN_TEXTS = 6
HELD_OUT_OF = 3
"""One text in three measures formats, the others calibrate them."""
MAX_TEXTS = 300
"""More would only take longer."""
OWN_TEXTS = 24
OWN_TOKENS = 64
UNKNOWN_DATASET = Dataset(name="not told by its publisher", sha256="0" * 64, documents=1)


@dataclass(frozen=True, slots=True)
class _Texts:
    """Token ids that formats are calibrated with, and others that they are measured on."""

    calibration: list[list[int]]
    held_out: HeldOut
    measured_on: str


def import_bundle(
    id_or_path: str,
    bundle: Path,
    *,
    revision: str | None = None,
    precision: Precision | None = None,
    texts: Sequence[str] = (),
    context_length: int | None = None,
    name: str | None = None,
    license_expression: str | None = None,
    sampling: DefaultSampling | None = None,
    samples: int = 8,
    work: Path | None = None,
) -> ModelManifest:
    """Writes a bundle of a checkpoint: a directory, or the hub's repository of that id at ``revision``.

    ``texts`` are what the model is meant to write (held out from its training, best): with six or more of them all
    formats are measured and the fastest that costs at most 1 % of perplexity is taken. Without them it is fp32;
    ``precision="int8"`` asks for 8 bits all the same, measured on texts that the model itself writes (after Liu et al.
    2023, LLM-QAT). ``context_length`` lowers the model's own, in tokens; ``license_expression`` (SPDX) takes the place
    of what the model card says; ``work`` keeps the graphs that were measured, else they are removed.

    Raises ImportSourceError, UnsupportedModelError, QuantizationError when the precision asked for costs too much,
    ParityError when the serving graph and PyTorch disagree, and what ``greentext.bundle.write_bundle`` raises.
    """
    source = find_source(id_or_path, revision)
    checkpoint, added = load_imported(source, context_length)
    decoder = read_decoder(checkpoint.model)
    with tempfile.TemporaryDirectory(prefix="import-") as temporary:
        directory = work or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        tokenizer = write_tokenizer(checkpoint, directory / "tokenizer.json")
        fp32 = write_serving_graph(decoder, Fp32(), directory / "fp32.onnx")
        measured = _given_texts(checkpoint, texts) if texts else _own_texts(checkpoint, fp32, tokenizer)
        if not texts and precision is None:
            log.info("fp32, for want of texts to measure 8 bits on", texts=MIN_TEXTS)
            precision = "fp32"
        formats = choose_format(decoder, measured.calibration, measured.held_out, directory, precision=precision)
        served = directory / f"{formats.chosen}.onnx"
        parity = check_parity(
            checkpoint, measured.held_out, portable=None, serving_fp32=fp32, served=served, tokenizer=tokenizer
        )
        parity.require()
        bounded = _bounded(sampling or SAMPLING, checkpoint)
        scores = {}
        if texts:
            longest = max(map(len, measured.held_out.documents))
            scores["held_out"] = score_runner(
                ModelRunner(served, slots=SCORED_ROWS, max_len=longest), measured.held_out
            )
        start_id, end_id = checkpoint.start_id, checkpoint.end_id
        return package(
            bundle,
            checkpoint,
            decoder,
            _facts(source, measured, bounded, added=added, name=name, license_expression=license_expression),
            model=served,
            tokenizer=tokenizer,
            parity=parity,
            formats=formats,
            scores=scores,
            samples=sample(served, tokenizer, start_id, end_id, bounded, seeds=range(samples)) if samples else [],
        )


def _given_texts(checkpoint: ImportedCheckpoint, texts: Sequence[str]) -> _Texts:
    """Every third text is held out. What is longer than the context is left out."""
    encoded = encode_plain(checkpoint.tokenizer, list(texts[:MAX_TEXTS]))
    pairs = [
        (text, ids) for text, ids in zip(texts, encoded, strict=False) if len(ids) + 2 <= checkpoint.context_length
    ]
    if len(pairs) < len(encoded):
        log.warning("texts longer than the context were left out", texts=len(encoded) - len(pairs))
    if len(pairs) < MIN_TEXTS:
        raise ImportSourceError(
            f"{len(pairs)} texts fit the context, at least {MIN_TEXTS} are needed to measure formats; "
            f"give more, or none to have fp32"
        )
    start_id, end_id = checkpoint.start_id, checkpoint.end_id
    held_out = pairs[::HELD_OUT_OF]
    return _Texts(
        [[start_id, *ids, end_id] for i, (_, ids) in enumerate(pairs) if i % HELD_OUT_OF],
        held_out_of(
            [text for text, _ in held_out], [ids for _, ids in held_out], start_id, end_id, checkpoint.context_length
        ),
        f"{len(held_out)} texts given at import",
    )


def _own_texts(checkpoint: ImportedCheckpoint, fp32: Path, tokenizer: Path) -> _Texts:
    """Texts that the model writes itself, unfiltered: what it will compute with when it is served."""
    start_id, end_id = checkpoint.start_id, checkpoint.end_id
    tokens = min(OWN_TOKENS, checkpoint.context_length - 2)
    engine = LLMEngine(
        EngineConfig(
            model_path=fp32,
            tokenizer_path=tokenizer,
            end_token_id=end_id,
            max_slots=OWN_TEXTS,
            context_tokens=tokens + 2,
        )
    )
    written = complete(
        engine,
        [
            ([start_id], SamplingParams(temperature=1.0, seed=seed, max_new_tokens=tokens, ignore_eos=True))
            for seed in range(OWN_TEXTS)
        ],
    )
    documents = [(start_id, *completion.token_ids, end_id) for completion in written]
    held_out = documents[::HELD_OUT_OF]
    text_bytes = sum(len(completion.text.encode()) for completion in written[::HELD_OUT_OF])
    return _Texts(
        [list(document) for i, document in enumerate(documents) if i % HELD_OUT_OF],
        HeldOut(tuple(held_out), max(1, text_bytes)),
        f"{len(held_out)} texts that the model wrote itself",
    )


def _bounded(sampling: DefaultSampling, checkpoint: ImportedCheckpoint) -> DefaultSampling:
    """Sampling that the model's sizes allow."""
    rows = checkpoint.model.get_input_embeddings().num_embeddings
    return sampling.model_copy(
        update={
            "top_k": min(sampling.top_k, rows),
            "max_new_tokens": min(sampling.max_new_tokens, checkpoint.context_length - 1),
        }
    )


def _facts(
    source: ImportSource,
    measured: _Texts,
    sampling: DefaultSampling,
    *,
    added: str,
    name: str | None,
    license_expression: str | None,
) -> CardFacts:
    license_known = license_expression or source.license
    if not license_known:
        log.warning("the checkpoint names no licence; find it out before you pass the bundle on", source=source.name)
    limits = ["It was imported as it is: what it writes depends on what its publisher trained it on."]
    if added:
        limits.append(
            f"Its tokenizer had no start token. The one added stands for {added}, so it writes whatever its training "
            f"texts begin with; tune it on greentexts to have greentexts."
        )
    return CardFacts(
        name=name or slug_of(source.name),
        description=f"{source.name}, imported as published.",
        base_model=source.described,
        license=license_known or "LicenseRef-unknown",
        trained_on=(f"Whatever {source.described} was trained on, which its publisher may tell.",),
        limits=tuple(limits),
        sampling=sampling,
        dataset=UNKNOWN_DATASET,
        measured_on=measured.measured_on,
    )


def slug_of(name: str) -> str:
    """A bundle's name from a repository's id or a directory's name."""
    words = re.findall(r"[a-z0-9]+(?:\.[a-z0-9]+)*", name.rpartition("/")[2].lower())
    return "-".join(words)[:64].rstrip("-.") or "imported"
