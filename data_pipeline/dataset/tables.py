"""The published tables: Parquet files that any version of `datasets` loads, and a hash of what they hold.

The same rows give the same hash wherever, whenever and in whatever order they were gathered; files' dates, names and
compression do not count.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import orjson

from data_pipeline.dataset.rows import COLUMNS, Configuration, DatasetRow, Split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROWS_PER_GROUP: Final = 10_000
SCHEMA_VERSION: Final = 1
MANIFEST: Final = "dataset.json"

Tables = dict[Configuration, dict[Split, list[DatasetRow]]]


def mixed(rows: Sequence[DatasetRow]) -> list[DatasetRow]:
    """The rows in the order of a hash of their text: sources and themes mixed, and the same whatever order they had."""
    return sorted(rows, key=lambda row: (hashlib.sha256(row.text.encode()).digest(), row.id))


def tables_of(rows: Sequence[DatasetRow]) -> Tables:
    """Configurations and their splits, in the order of `mixed`; those without rows are left out."""
    ordered = mixed(rows)
    tables: Tables = {}
    for configuration in Configuration:
        splits = {split: [row for row in ordered if row.split is split] for split in Split}
        chosen = {split: [row for row in part if row.belongs_to(configuration)] for split, part in splits.items()}
        if filled := {split: part for split, part in chosen.items() if part}:
            tables[configuration] = filled
    return tables


def sha256_of_tables(tables: Tables) -> str:
    """The dataset's hash: what a model that learnt from it records."""
    digest = hashlib.sha256()
    for configuration, splits in tables.items():
        for split, rows in splits.items():
            digest.update(orjson.dumps([configuration, split, len(rows)], option=orjson.OPT_APPEND_NEWLINE))
            for row in rows:
                digest.update(orjson.dumps(_published(row), option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE))
    return digest.hexdigest()


def write_tables(folder: Path, tables: Tables) -> dict[str, int]:
    """Writes `CONFIGURATION/SPLIT.parquet` and answers how many bytes each table has in memory, by its name."""
    import pyarrow as pa  # noqa: PLC0415  half a second that --help need not pay
    from pyarrow import parquet  # noqa: PLC0415

    types = {"string": pa.string(), "bool": pa.bool_(), "int32": pa.int32()}
    schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    sizes = {}
    for configuration, splits in tables.items():
        (folder / configuration).mkdir()
        for split, rows in splits.items():
            table = pa.Table.from_pylist([_published(row) for row in rows], schema=schema)
            path = folder / configuration / f"{split}.parquet"
            parquet.write_table(table, path, compression="zstd", row_group_size=ROWS_PER_GROUP)
            sizes[f"{configuration}/{split}"] = table.nbytes
    return sizes


def write_manifest(folder: Path, name: str, sha256: str, tables: Tables) -> None:
    """Writes `dataset.json`: for programs what the card is for people."""
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "sha256": sha256,
        "columns": COLUMNS,
        "rows": {
            configuration.value: {split.value: len(rows) for split, rows in splits.items()}
            for configuration, splits in tables.items()
        },
    }
    (folder / MANIFEST).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _published(row: DatasetRow) -> dict[str, Any]:
    return row.model_dump(mode="json", include=set(COLUMNS))
