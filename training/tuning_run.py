"""A recipe that begins with a published model, run step by step: base, data, fine-tunings, trimming, bundle.

In the work directory, each step's files and the record of what they were made from:

    pins.json            which commit each branch of the hub was
    base/checkpoint      the model with its start token
    data/NAME/           the texts by split, and corpus.json with the dataset's hash
    finetune-STAGE/      checkpoint, log, figures
    trim/checkpoint      the last one with a smaller vocabulary, where the recipe trims
    portable/ formats/   exports; parity.json

A step that is done is not done again; an interrupted one goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from greentext.bundle import Dataset, ModelManifest
from greentext.vocabulary import is_simple
from training.base import prepare_base
from training.bundling import BundleTexts, drawn, make_bundle_of
from training.checkpoint import load_checkpoint, save_checkpoint
from training.dataset import described, load_corpus, only, read_corpus, write_corpus
from training.finetune import TuningTexts, finetune_on
from training.hub import Found, Pins, fetch_base, fetch_dataset, fetch_tokenizer
from training.package import CardFacts
from training.processes import on_first
from training.recipe import Base, Source
from training.steps import RECORD, StepError, once, sha256_of_file
from training.tokenizer import encode_plain
from training.trim import trim

if TYPE_CHECKING:
    from collections.abc import Iterable

    from training.checkpoint import Checkpoint
    from training.dataset import Corpus
    from training.recipe import Recipe, Stage

log = structlog.get_logger(__name__)

MAX_VALIDATION_TEXTS = 2000
"""More would make an evaluation longer than the training between two of them, and tell no more."""


@dataclass(frozen=True, slots=True)
class TuningRun:
    """A recipe, where it works, and what is taken in place of its base and its data.

    ``base`` and ``data`` are paths or ids of the hub (with ``@REVISION`` where it is not the main branch).
    """

    recipe: Recipe
    work: Path
    base: str | None = None
    data: str | None = None
    renew_pins: bool = False

    @property
    def pins(self) -> Pins:
        """The commits that this work directory has settled on."""
        return Pins(self.work / "pins.json", renew=self.renew_pins)


def run_recipe(run: TuningRun, bundle: Path) -> ModelManifest:
    """Every step, to the bundle, in the first process; training in all of them."""
    base = prepare(run)
    prepare_data(run, base)
    tuned = run_stages(run, base)
    return package_tuned(run, trim_tuned(run, tuned), bundle)


def prepare(run: TuningRun) -> Path:
    """The base with its start token, fetched where it is the hub's; its checkpoint's directory."""
    base, context = _base_of(run), run.recipe.tokens.context_length
    directory = run.work / "base"

    def make() -> None:
        source = _fetch_base(run, base)
        tokenizer = source.directory
        if base.tokenizer_revision:
            tokenizer = fetch_tokenizer(base.id, base.tokenizer_revision, run.pins)
        prepare_base(source.directory, tokenizer, context, directory / "checkpoint")

    made_from = on_first(lambda: {**_identity(run, base), "context_length": context})
    once(directory, made_from, make)
    return directory / "checkpoint"


def prepare_data(run: TuningRun, base: Path) -> dict[str, Corpus]:
    """The texts of each of the recipe's stages, by stage, read from where they are unless that is done."""
    tokenizer = sha256_of_file(base / "tokenizer.json")
    for stage in run.recipe.stages:
        on_first(partial(_prepare_texts, run, stage, base, tokenizer))
    return {stage.name: load_corpus(_data_directory(run, stage)) for stage in run.recipe.stages}


def run_stages(run: TuningRun, base: Path) -> Path:
    """Runs every fine-tuning that is not done, and returns the last one's checkpoint."""
    for stage in run.recipe.stages:
        directory, data = run.work / f"finetune-{stage.name}", _data_directory(run, stage)
        corpus = load_corpus(data)
        tuning = stage.tuning
        context = load_context_length(base)
        if tuning.row_tokens > context:
            tuning = replace(tuning, row_tokens=0)
        texts = TuningTexts(corpus.train, drawn(corpus.validation, MAX_VALIDATION_TEXTS))
        made_from = {
            "tuning": asdict(tuning),
            "plan": asdict(stage.plan),
            "base": sha256_of_file(base / "model.safetensors"),
            "data": sha256_of_path(data),
        }
        once(directory, made_from, partial(finetune_on, base, texts, tuning, stage.plan, directory), everywhere=True)
        base = directory / "checkpoint"
    return base


def trim_tuned(run: TuningRun, checkpoint: Path) -> Path:
    """The checkpoint with the vocabulary that the recipe asks for; itself where it asks for none."""
    trim_to = run.recipe.tokens.trim_to
    if not trim_to:
        return checkpoint
    directory = run.work / "trim"
    made_from = {
        "base": sha256_of_file(checkpoint / "model.safetensors"),
        "data": [sha256_of_path(_data_directory(run, stage)) for stage in run.recipe.stages],
        "trim_to": trim_to,
    }

    def make() -> None:
        texts = [text for stage in run.recipe.stages for text in load_corpus(_data_directory(run, stage)).all_texts]
        trimmed = trim_to_size(load_checkpoint(checkpoint), texts, trim_to)
        save_checkpoint(trimmed.model, trimmed.tokenizer, directory / "checkpoint")

    once(directory, made_from, make)
    return directory / "checkpoint"


def trim_to_size(checkpoint: Checkpoint, texts: Iterable[str], size: int) -> Checkpoint:
    """The checkpoint with ``size`` tokens, or as many as the texts need if that is more. Raises TrimError."""
    texts = list(texts)
    least = trim(checkpoint, texts)
    if len(least.kept_ids) >= size:
        return least.checkpoint
    return trim(checkpoint, texts, vocab_size=min(size, least.vocab_size_before)).checkpoint


def package_tuned(run: TuningRun, checkpoint: Path, bundle: Path) -> ModelManifest:
    """The bundle of a tuned checkpoint: figures are of the last stage's texts."""
    corpora = [load_corpus(_data_directory(run, stage)) for stage in run.recipe.stages]
    texts = BundleTexts(corpora[-1].train, corpora[-1].validation, corpora[-1].test)
    return make_bundle_of(checkpoint, texts, _facts(run, corpora), run.recipe, work=run.work, bundle=bundle)


def load_context_length(checkpoint: Path) -> int:
    """How many tokens a checkpoint holds, from its configuration alone."""
    from transformers import AutoConfig  # noqa: PLC0415 - what loads models has it imported already

    config = AutoConfig.from_pretrained(checkpoint, local_files_only=True, trust_remote_code=False)
    return int(config.max_position_embeddings)


def sha256_of_path(path: Path) -> str:
    """A hash of a file, or of all files below a directory with their names. Raises StepError when there is none."""
    if path.is_file():
        return sha256_of_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.endswith(".part"))
    if not files:
        raise StepError(f"{path} holds no file")
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(path).as_posix()}\0{sha256_of_file(file)}\n".encode())
    return digest.hexdigest()


def _base_of(run: TuningRun) -> Base:
    if run.base is not None:
        if Path(run.base).exists():
            return Base(run.base)
        name, _, revision = run.base.partition("@")
        return Base(name, revision or "main")
    if run.recipe.base is None:
        raise StepError(
            f"the recipe {run.recipe.card.name} pretrains its own model (gtx-train embedded); to tune, name a --base"
        )
    return run.recipe.base


def _fetch_base(run: TuningRun, base: Base) -> Found:
    return fetch_base(base.id, base.revision, run.pins, tokenizer_elsewhere=bool(base.tokenizer_revision))


def _identity(run: TuningRun, base: Base) -> dict[str, Any]:
    """What a base is made from: a commit, or a directory's files."""
    path = Path(base.id)
    if path.is_dir():
        weights = sorted(path.glob("*.safetensors"))
        return {
            "base": path.resolve().name,
            "files": [sha256_of_file(file) for file in (*weights, path / "config.json", path / "tokenizer.json")],
        }
    commit = run.pins.commit("model", base.id, base.revision) or _fetch_base(run, base).commit
    return {"base": f"{base.id}@{commit}", "tokenizer_revision": base.tokenizer_revision}


def _base_name(run: TuningRun) -> str:
    """What the base was, by the record of the step that prepared it."""
    record = run.work / "base" / RECORD
    if not record.is_file():
        return str(_identity(run, _base_of(run))["base"])
    return str(json.loads(record.read_text(encoding="utf-8"))["base"])


def _prepare_texts(run: TuningRun, stage: Stage, base: Path, tokenizer: str) -> None:
    source = _source_of(run, stage)
    pins = run.pins
    commit = None if Path(source.id).exists() else pins.commit("dataset", source.id, source.revision)
    # Where the commit is known nothing is asked of the hub until the texts are needed.
    found = Found(Path(), source.id, commit) if commit else fetch_dataset(source.id, source.revision, pins)
    local = {} if found.commit else {"files": sha256_of_path(found.directory)}
    made_from = {
        "data": found.described,
        **local,
        "choice": stage.data,
        "configuration": source.configuration,
        "column": source.column,
        "only_simple": stage.only_simple,
        "tokenizer": tokenizer,
        "context_length": load_context_length(base),
    }
    directory = _data_directory(run, stage)

    def make() -> None:
        there = found if not commit else fetch_dataset(source.id, source.revision, pins)
        corpus = read_corpus(
            there.directory,
            stage.data,
            configuration=source.configuration,
            column=source.column,
            name=there.described if there.commit else "",
        )
        if stage.only_simple:
            corpus = only(replace(corpus, name=f"{corpus.name}, simple words only"), is_simple, "not_simple")
        write_corpus(_fitting(corpus, load_checkpoint(base)), directory)

    once(directory, made_from, make)


def _source_of(run: TuningRun, stage: Stage) -> Source:
    if run.data is not None:
        if Path(run.data).exists():
            return Source(run.data)
        name, _, revision = run.data.partition("@")
        return Source(name, revision or "main")
    if stage.data not in run.recipe.data:
        raise StepError(f"the recipe {run.recipe.card.name} names no data; give your own: --data PATH")
    return run.recipe.data[stage.data]


def _fitting(corpus: Corpus, checkpoint: Checkpoint) -> Corpus:
    """The texts that the model's context holds, start and end token included."""
    texts = corpus.all_texts
    encoded = encode_plain(checkpoint.tokenizer, texts)
    too_long = {text for text, ids in zip(texts, encoded, strict=True) if len(ids) + 2 > checkpoint.context_length}
    return only(corpus, lambda text: text not in too_long, "longer_than_the_context")


def _data_directory(run: TuningRun, stage: Stage) -> Path:
    return run.work / "data" / (f"{stage.data}-simple" if stage.only_simple else stage.data)


def _facts(run: TuningRun, corpora: list[Corpus]) -> CardFacts:
    card, name = run.recipe.card, _base_name(run)
    last = corpora[-1]
    return CardFacts(
        name=card.name,
        description=card.description,
        base_model=name,
        license=card.license,
        trained_on=(f"Pretraining: {name}, as published.", *described(corpora), *card.trained_on),
        limits=card.limits,
        sampling=run.recipe.sampling,
        dataset=Dataset(name=last.name[:128], sha256=last.sha256, documents=len(last.train)),
    )
