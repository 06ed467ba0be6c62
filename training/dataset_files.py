"""The files that greentexts come in, read into documents by split: what there is, as it is.

Knows formats, and nothing of what a good greentext is.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from training.corpus import CorpusError, Document, Split, read_greentexts, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

Kind = Literal["dataset", "saved", "lines", "texts"]
MANIFEST = "dataset.json"
"""What ``gtx-data`` writes beside the tables of a dataset."""
PUBLISHED = "published"
LINES = (".jsonl", ".ndjson", ".jsonl.zst", ".ndjson.zst")
TEXTS = (".txt", ".txt.zst")
SPLIT_NAMES: dict[str, Split] = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "eval": "test",
}  # fmt: skip
COLUMNS = ("greentexts", "greentext")
"""Where the texts are when there is no column of the name asked for; the original project's datasets have these."""
BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")


@dataclass(frozen=True, slots=True)
class Files:
    """What lies at a path. ``published`` is a gtx-data dataset's name and hash, empty for others."""

    path: Path
    kind: Kind
    files: tuple[Path, ...] = ()
    published: tuple[str, str] = ("", "")


def find_files(path: Path) -> Files:
    """What a path holds. Raises CorpusError when there is nothing, or nothing that can be read."""
    if path.is_file():
        if path.name.endswith(LINES):
            return Files(path, "lines", (path,))
        if path.name.endswith(TEXTS):
            return Files(path, "texts", (path,))
        if path.suffix == ".parquet":
            return Files(path, "dataset", (path,))
        raise CorpusError(f"{path} is of no kind that can be read; give {', '.join((*LINES, *TEXTS, '.parquet'))}")
    if not path.is_dir():
        raise CorpusError(
            f"{path} does not exist; name a folder of texts, a .jsonl file, a dataset, or a hub's dataset"
        )
    if (path / PUBLISHED / MANIFEST).is_file():
        path /= PUBLISHED
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return Files(path, "saved")
    there = sorted(file for file in path.rglob("*") if file.is_file() and not _hidden(file.relative_to(path)))
    kinds: tuple[tuple[Kind, tuple[str, ...]], ...] = (("dataset", (".parquet",)), ("lines", LINES), ("texts", TEXTS))
    for kind, endings in kinds:
        if files := tuple(file for file in there if file.name.endswith(endings)):
            return Files(path, kind, files, _published(path))
    raise CorpusError(f"{path} holds no .txt, .jsonl or .parquet file; put your texts there, blank lines between them")


def read_splits(files: Files, configuration: str, *, column: str = "text") -> tuple[dict[Split, list[Document]], bool]:
    """Documents by split, and whether they are those of a configuration of that name rather than all there is.

    What has no splits is all in ``train``. Raises CorpusError.
    """
    if files.kind == "texts":
        return {"train": [document for file in files.files for document in _blocks(file)]}, False
    if files.kind == "lines":
        return _read_lines(files.files), False
    try:
        return _read_dataset(files, configuration, column)
    except CorpusError:
        raise
    except Exception as error:  # pyarrow and datasets raise types of their own for each kind of damage
        raise CorpusError(f"{files.path} cannot be read as a dataset: {type(error).__name__}: {error}") from error


def _read_lines(files: Sequence[Path]) -> dict[Split, list[Document]]:
    """JSON Lines; files named after splits are those splits."""
    names = [SPLIT_NAMES.get(file.name.split(".", 1)[0].lower()) for file in files]
    splits: dict[Split, list[Document]] = {}
    for file, name in zip(files, names, strict=True):
        splits.setdefault(name or "train", []).extend(read_greentexts(file))
    return splits


def _blocks(file: Path) -> Iterable[Document]:
    """The texts of a plain file: blank lines stand between them."""
    content = read_text(file).replace("\r\n", "\n").replace("\r", "\n").strip()
    return [Document(text=block, source=file.name) for block in BLANK_LINES.split(content) if block.strip()]


def _read_dataset(files: Files, configuration: str, column: str) -> tuple[dict[Split, list[Document]], bool]:
    # Imported here: it takes a second, and texts of other kinds do not need it.
    import datasets  # noqa: PLC0415

    configured = False
    if files.kind == "saved":
        loaded: Any = datasets.load_from_disk(str(files.path))
    elif files.path.is_file():
        loaded = datasets.load_dataset("parquet", data_files=str(files.path), streaming=True)
    else:
        names = datasets.get_dataset_config_names(str(files.path))
        configured = configuration in names
        if not configured and len(names) > 1:
            raise CorpusError(f"{files.path} has no configuration {configuration}; it has {', '.join(names)}")
        # Streamed: nothing is copied into a cache that nobody empties.
        loaded = datasets.load_dataset(str(files.path), configuration if configured else names[0], streaming=True)
    splits = loaded if isinstance(loaded, dict) else {"train": loaded}
    found: dict[Split, list[Document]] = {}
    for name, rows in splits.items():
        split = SPLIT_NAMES.get(str(name).lower())
        if split is None:
            raise CorpusError(f"{files.path} has a split {name}; splits are train, validation and test")
        found.setdefault(split, []).extend(_documents(rows, column, files.path))
    return found, configured


def _documents(rows: Any, column: str, path: Path) -> Iterable[Document]:
    text_column = ""
    for row in rows:
        if not text_column:
            text_column = next((name for name in (column, *COLUMNS) if name in row), "")
            if not text_column:
                raise CorpusError(f"{path} has no column {column}; it has {', '.join(row)}")
        text = row[text_column]
        yield Document(
            text=text if isinstance(text, str) else "",
            **{key: str(row.get(key) or "") for key in ("genre", "theme", "source")},
        )


def _published(path: Path) -> tuple[str, str]:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        return str(manifest["name"]), str(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)
