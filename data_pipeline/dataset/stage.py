"""The stage `dataset`: from texts to tables with splits, a card, plots and a hash.

    published/          what others get: load_dataset("…/published", "full")
        README.md         the card
        dataset.json      counts and the hash, for programs
        full/ simple/ thanks/ real/   train.parquet, validation.parquet, test.parquet
        plots/
    kept.jsonl          the same rows, each with its split: what a later `--previous` reads

All texts are in memory at once: about 2 kB each.
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Self

import orjson
from pydantic import Field, model_validator

from data_pipeline.atomic import sync
from data_pipeline.dataset.rows import DatasetRow, Split
from data_pipeline.dataset.splits import assign, cluster_names
from data_pipeline.dataset.tables import MANIFEST, sha256_of_tables, tables_of, write_manifest, write_tables
from data_pipeline.errors import StageError
from data_pipeline.filters.duplicates import DEFAULT_THRESHOLD, MIN_THRESHOLD, clusters
from data_pipeline.results import KEPT, Summary, read_rows, read_summary, sha256_of
from data_pipeline.rows import Source, TextRow
from data_pipeline.settings import Settings
from data_pipeline.stage import Drop, StageRun, progress_bar
from greentext.genres import classify
from greentext.text import normalise
from greentext.vocabulary import is_simple

VERSION: Final = 1
"""Of the stage's judgement: a change of it makes other datasets from the same texts."""
PUBLISHED: Final = "published"
SOURCES_BY_WORTH: Final = (Source.WRITTEN, Source.REDDIT_TEXT, Source.REDDIT_OCR, Source.SYNTHETIC)
"""Of the same text from several sources, the first's row stays."""


class DatasetSettings(Settings):
    """What the stage `dataset` can be told."""

    name: str = Field("wholesome-greentext", min_length=1, max_length=96, description="the dataset's name, on its card")
    license: str = Field("other", min_length=1, max_length=64, description="the licence's name as the hub spells it")
    validation: float = Field(0.05, ge=0, lt=1, description="share of texts that go to validation, of 1")
    test: float = Field(0.1, ge=0, lt=1, description="share of texts that go to test, of 1")
    similarity: float = Field(
        DEFAULT_THRESHOLD, ge=MIN_THRESHOLD, le=1, description="from which texts are near duplicates and share a split"
    )
    previous: Path | None = Field(
        None, description="folder of an earlier dataset stage, whose texts keep their splits whatever is added"
    )
    push_to: str = Field("", description="hub repository, OWNER/NAME, to publish in; the token comes from HF_TOKEN")
    private: bool = Field(True, description="make a repository that is not there yet a private one")

    @model_validator(mode="after")
    def _leave_something_to_train_on(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together leave nothing to train on")
        return self


def run(inputs: Sequence[Path], folder: Path, settings: DatasetSettings, *, restart: bool = False) -> Summary:
    """Makes a dataset of `TextRow` files, and pushes it where the settings say so.

    Raises:
        StageError: An input cannot be used, no text is left, or the hub refuses.
        OSError: The disk is full, or fails.
    """
    if not inputs:
        raise StageError("dataset needs texts: name the folder that filters wrote")
    previous = settings.previous
    if previous and previous.resolve() in (folder.resolve(), (folder / KEPT).resolve()):
        raise StageError(f"{previous} is where the new dataset goes: name another folder for it")
    made_from = {
        "version": VERSION,
        # Sorted: the order of inputs changes nothing.
        "inputs": sorted(sha256_of(path) for path in inputs),
        "previous": sha256_of(previous) if previous else None,
        **settings.model_dump(mode="json", exclude={"previous", "push_to", "private"}),
    }
    with StageRun(folder, "dataset", made_from, restart=restart) as stage:
        if stage.summary is None:
            _gather(stage, inputs, settings)
            rows = [DatasetRow.model_validate(row, strict=False) for _, kept, _ in stage.entries() for row in kept]
            if not rows:
                raise StageError("no text is left: look at what was dropped before, or name more inputs")
            _publish(rows, folder, settings, _summaries(inputs))
            stage.finish()
        summary = stage.finish()
    sha256 = published_sha256(folder)
    if settings.push_to:
        from data_pipeline.dataset.hub import push  # noqa: PLC0415  only who publishes needs the hub

        print(push(folder / PUBLISHED, settings.push_to, private=settings.private, sha256=sha256))
    return summary


def published_sha256(folder: Path) -> str:
    """The hash of the dataset that a finished stage published.

    Raises:
        StageError: There is none.
    """
    path = folder / PUBLISHED / MANIFEST
    try:
        return str(orjson.loads(path.read_bytes())["sha256"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StageError(f"{path} is not there or damaged: --restart to make the dataset again") from error


def _gather(stage: StageRun, inputs: Sequence[Path], settings: DatasetSettings) -> None:
    """Records each text with its split, or why it is left out."""
    texts = [row for path in inputs for row in read_rows(path, TextRow)]
    # By worth and not as they came: which of two equal texts stays must not depend on the order of inputs.
    texts.sort(key=lambda row: (SOURCES_BY_WORTH.index(row.source), row.id, row.text))
    drops = _unusable(texts)
    good = [row for position, row in enumerate(texts) if position not in drops]
    known = {row.text: row.split for row in read_rows(settings.previous, DatasetRow)} if settings.previous else {}
    # Texts that are gone count too: their near duplicates belong where models have met them.
    all_texts = list(dict.fromkeys([*(row.text for row in good), *known]))
    cluster_of = clusters(all_texts, settings.similarity)
    splits = assign(
        all_texts,
        cluster_of,
        validation=settings.validation,
        test=settings.test,
        known=known,
        threshold=settings.similarity,
    )
    places = dict(zip(all_texts, zip(cluster_names(all_texts, cluster_of), splits, strict=True), strict=True))
    with progress_bar("dataset", len(texts), "text", done=stage.done) as bar:
        for position, row in enumerate(texts):
            key = str(position)
            if stage.is_done(key):
                continue
            drop = drops.get(position)
            cluster, split = ("", None) if drop else places[row.text]
            if split is None:
                stage.record(position, key, dropped=[drop or Drop("joins_splits", row, f"cluster {cluster}")])
            else:
                stage.record(position, key, kept=[_dataset_row(row, cluster, split)])
            bar.update()


def _unusable(rows: Sequence[TextRow]) -> dict[int, Drop]:
    """What is wrong with rows, by their position."""
    drops: dict[int, Drop] = {}
    id_of: dict[str, str] = {}
    ids: set[str] = set()
    for position, row in enumerate(rows):
        if not row.text or normalise(row.text) != row.text:
            drops[position] = Drop("not_canonical", row, "write it as greentext.text.normalise does")
        elif row.text in id_of:
            drops[position] = Drop("same_text", row, f"as {id_of[row.text]}")
        elif row.id in ids:
            drops[position] = Drop("same_id", row, "another text has this id")
        else:
            id_of[row.text] = row.id
            ids.add(row.id)
    return drops


def _dataset_row(row: TextRow, cluster: str, split: Split) -> DatasetRow:
    return DatasetRow(
        id=row.id,
        text=row.text,
        genre=row.genre or classify(row.text),
        source=row.source,
        kind=row.kind,
        theme=row.theme,
        simple=is_simple(row.text),
        lines=row.text.count("\n") + 1,
        origin=row.origin,
        cluster=cluster,
        split=split,
    )


def _publish(rows: Sequence[DatasetRow], folder: Path, settings: DatasetSettings, made_by: Iterable[Summary]) -> None:
    """Writes `published`, whole: the stage is not finished before it is there."""
    from data_pipeline.dataset.card import card  # noqa: PLC0415  with the plots, what --help need not pay
    from data_pipeline.dataset.plots import draw  # noqa: PLC0415

    tables = tables_of(rows)
    sha256 = sha256_of_tables(tables)
    part = folder / f"{PUBLISHED}.part"
    for left in (part, folder / PUBLISHED):  # of a run that was killed here
        shutil.rmtree(left, ignore_errors=True)
    part.mkdir()
    sizes = write_tables(part, tables)
    text = card(
        name=settings.name,
        license_name=settings.license,
        sha256=sha256,
        threshold=settings.similarity,
        tables=tables,
        sizes=sizes,
        plots=draw(part, tables),
        made_by=made_by,
    )
    (part / "README.md").write_text(text, encoding="utf-8")
    write_manifest(part, settings.name, sha256, tables)
    for path in part.rglob("*"):
        sync(path)
    part.rename(folder / PUBLISHED)


def _summaries(inputs: Sequence[Path]) -> list[Summary]:
    """What the stages before kept and dropped, where the inputs are stages' folders."""
    folders = [path if path.is_dir() else path.parent for path in inputs if path.is_dir() or path.name == KEPT]
    return [summary for folder in folders if (summary := read_summary(folder)) is not None]
