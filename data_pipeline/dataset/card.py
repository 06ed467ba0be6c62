"""The dataset's card: front matter that `datasets` and the hub read, and what a person should know before using it."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Final

from data_pipeline.dataset.plots import COMPOSITION, LENGTHS, THEMES
from data_pipeline.dataset.rows import COLUMNS, MEANINGS, Configuration, DatasetRow, Split
from data_pipeline.rows import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from data_pipeline.dataset.tables import Tables
    from data_pipeline.results import Summary

SIZES: Final = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""The hub's names for how many rows there are, each with its upper end."""
BEYOND_SIZES: Final = "1M<n<10M"

RIGHTS: Final = {
    Source.REDDIT_TEXT: "posted on Reddit as text. The rights are their authors'; Reddit's terms say what may be done "
    "with them. `origin` is the post's id.",
    Source.REDDIT_OCR: "read by OCR from screenshots of an image board that were posted on Reddit. Their authors are "
    "anonymous and gave no licence. `origin` is the post's id; the pictures are not part of the dataset.",
    Source.SYNTHETIC: "written by language models. `origin` names the prompt's version and the model; some providers "
    "restrict what may be trained on their models' answers.",
    Source.WRITTEN: "written by people for this purpose, under the dataset's licence.",
}

INTRODUCTION: Final = """\
Short wholesome stories in the form that image boards call greentext: a few lines, each beginning with `>`."""

SPLITS: Final = """\
A text is in one split, in whichever configurations it is, and so are its near duplicates: texts whose word trigrams
have a Jaccard similarity of {threshold:g} or more, directly or through others. Splits follow a hash of the texts'
letters, so that the same text is in the same split tomorrow."""

PRIVACY: Final = """\
User names are in no column, and were not kept when the texts were gathered. If a text is yours and you want it gone,
tell the publisher its `id`."""

LIMITS: Final = """\
Filters for content are word lists and a small classifier: they miss some, and drop some that is harmless. OCR misreads
letters. Nobody checked that the stories are true. The language is that of image boards, made friendly; it is English
only, and its jokes assume much."""

HASH: Final = """\
`{sha256}` is the SHA-256 of the rows, free of files' dates and compression; `dataset.json` has it for programs. Record
it with what you train."""

CAPTIONS: Final = {
    LENGTHS: "How long the texts are",
    COMPOSITION: "Where each configuration's texts are from",
    THEMES: "Themes, where one is known",
}

COLUMN_NOTES: Final = {
    "id": "unique over all sources",
    "text": r"lines joined by `\n`, each beginning with `>`",
    "genre": "`thanks` where somebody is thanked in the last two lines, else `general`",
    "source": "`reddit-text`, `reddit-ocr`, `synthetic` or `written`",
    "kind": "what a synthetic text was asked to be; empty for others",
    "theme": "what it is about, where that is known",
    "simple": "whether all its words are simple",
    "lines": "how many",
    "origin": "what to look up when a text is doubted",
    "cluster": "the same for near duplicates, which share a split",
}


def card(
    *,
    name: str,
    license_name: str,
    sha256: str,
    threshold: float,
    tables: Tables,
    sizes: Mapping[str, int],
    plots: Sequence[str],
    made_by: Iterable[Summary],
) -> str:
    """The whole `README.md`.

    Args:
        name: The dataset's, for its title.
        license_name: As the hub spells it.
        sha256: The dataset's hash.
        threshold: Similarity from which texts count as near duplicates.
        tables: What is in it.
        sizes: Bytes of each table in memory, by `CONFIGURATION/SPLIT`.
        plots: Files of pictures, relative to the card.
        made_by: What the stages before kept and dropped.
    """
    full = _rows(tables[next(iter(tables))])
    first = next(iter(tables))
    parts = [
        _front_matter(name, license_name, tables, sizes, len(full)),
        f"# {name}\n\n{INTRODUCTION}\n",
        f'```python\nfrom datasets import load_dataset\n\ntexts = load_dataset("WHERE IT IS", "{first}")\n```\n',
        _example(full),
        "## Configurations\n",
        _counts(tables),
        SPLITS.format(threshold=threshold) + "\n",
        _pictures(plots),
        "## Columns\n",
        _table(("column", "type", "meaning"), [(f"`{c}`", kind, COLUMN_NOTES[c]) for c, kind in COLUMNS.items()]),
        "## Sources and rights\n",
        _sources(full),
        f"{PRIVACY}\n",
        "## How it was made\n",
        _made_by(made_by),
        f"## Limits\n\n{LIMITS}\n",
        f"## Hash\n\n{HASH.format(sha256=sha256)}\n",
    ]
    return "\n".join(part for part in parts if part)


def _front_matter(name: str, license_name: str, tables: Tables, sizes: Mapping[str, int], rows: int) -> str:
    size = next((label for end, label in SIZES if rows < end), BEYOND_SIZES)
    lines = [
        "---",
        f"pretty_name: {json.dumps(name, ensure_ascii=False)}",
        f"license: {json.dumps(license_name, ensure_ascii=False)}",
        "language:\n- en",
        "task_categories:\n- text-generation",
        f"size_categories:\n- {size}",
        "tags:\n- greentext\n- wholesome\n- short-stories",
        "configs:",
    ]
    for position, (configuration, splits) in enumerate(tables.items()):
        lines.append(f"- config_name: {configuration}")
        if position == 0:
            lines.append("  default: true")
        lines.append("  data_files:")
        for split in splits:
            lines += [f"  - split: {split}", f"    path: {configuration}/{split}.parquet"]
    lines.append("dataset_info:")
    for configuration, splits in tables.items():
        lines += [f"- config_name: {configuration}", "  features:"]
        for column, kind in COLUMNS.items():
            lines += [f"  - name: {column}", f"    dtype: {kind}"]
        lines.append("  splits:")
        for split, part in splits.items():
            num_bytes = sizes[f"{configuration}/{split}"]
            lines += [f"  - name: {split}", f"    num_bytes: {num_bytes}", f"    num_examples: {len(part)}"]
    lines.append("---\n")
    return "\n".join(lines)


def _example(rows: Sequence[DatasetRow]) -> str:
    """The shortest text: a card is no place for a long one, and choosing by hand would flatter."""
    text = min(rows, key=lambda row: (len(row.text), row.id)).text
    return f"```\n{text.replace('```', '')}\n```\n"


def _counts(tables: Tables) -> str:
    rows = []
    for configuration, splits in tables.items():
        counts = [f"{len(splits.get(split, ())):,}" for split in Split]
        rows.append((f"`{configuration}`", MEANINGS[configuration], *counts))
    missing = [configuration for configuration in Configuration if configuration not in tables]
    note = f"No text belongs to {', '.join(f'`{name}`' for name in missing)}.\n" if missing else ""
    return _table(("configuration", "texts", *Split), rows) + (f"\n{note}" if note else "")


def _sources(rows: Sequence[DatasetRow]) -> str:
    counts = Counter(row.source for row in rows)
    lines = [f"- **{source}** ({counts[source]:,}): {RIGHTS[source]}" for source in Source if counts[source]]
    return "\n".join([*lines, ""])


def _made_by(summaries: Iterable[Summary]) -> str:
    rows: list[tuple[str, str, str]] = []
    for summary in summaries:
        rows.append((summary.stage, "kept", f"{summary.kept:,}"))
        rows += [("", f"dropped: `{reason}`", f"{count:,}") for reason, count in summary.dropped.items()]
    return _table(("stage", "outcome", "texts"), rows) if rows else "By hand, from files of texts.\n"


def _pictures(names: Sequence[str]) -> str:
    return "\n".join([*(f"![{CAPTIONS[name]}]({name})" for name in names), ""])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), ""])


def _rows(splits: Mapping[Split, Sequence[DatasetRow]]) -> list[DatasetRow]:
    return [row for part in splits.values() for row in part]
