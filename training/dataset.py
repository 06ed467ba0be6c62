"""Greentexts to tune on, from whatever they are in, split for good.

Read are: a dataset that ``gtx-data`` published or any other that ``datasets`` loads (its configurations and its own
splits are kept), JSON Lines, and text files with blank lines between greentexts. What is no greentext is counted and
left out. Where there are no splits, a text's letters decide (``corpus.split_of``); a training text that is held out
under another spelling is dropped. Knows nothing of the hub, and of tokens only how many a text has.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

import structlog

from greentext.genres import Genre, classify, ends_with_thanks
from greentext.text import GreentextError, parse
from greentext.vocabulary import is_simple
from training.corpus import CorpusError, Document, Split, letters_of, sha256_of, splits_of
from training.dataset_files import find_files, read_splits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

log = structlog.get_logger(__name__)

Choice = Literal["full", "simple", "thanks", "real"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
SPLITS: tuple[Split, ...] = get_args(Split)
VALIDATION_SHARE = 0.05
TEST_SHARE = 0.1
CORPUS = "corpus.json"
REAL_SOURCES = ("reddit-text", "reddit-ocr")
"""Of a dataset by ``gtx-data``: texts that people posted."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Split greentexts. ``sha256`` is the dataset's own hash where it has one, else of all texts."""

    name: str
    sha256: str
    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    test: tuple[Document, ...]
    dropped: dict[str, int] = field(default_factory=dict)
    """How many texts were left out, by reason."""

    @property
    def all_texts(self) -> list[str]:
        """The texts of every split."""
        return [document.text for split in SPLITS for document in self.split(split)]

    def split(self, name: Split) -> tuple[Document, ...]:
        """The documents of one split."""
        documents: tuple[Document, ...] = getattr(self, name)
        return documents


def read_corpus(path: Path, choice: Choice, *, configuration: str = "", column: str = "text", name: str = "") -> Corpus:
    """The greentexts of ``choice`` at ``path``: a dataset's configuration of that name, or a choice among all texts.

    Raises CorpusError when nothing can be read, or nothing is left to train on, to validate on, or to test on.
    """
    files = find_files(path)
    found, configured = read_splits(files, configuration or choice, column=column)
    chosen: Callable[[Document], bool] = (lambda _: True) if configured else _CHOSEN[choice]
    dropped: Counter[str] = Counter()
    splits: dict[Split, list[Document]] = {split: [] for split in SPLITS}
    for split, documents in found.items():
        for document in documents:
            cleaned = _cleaned(document, dropped)
            if cleaned is not None and chosen(cleaned):
                splits[split].append(cleaned)
    _complete(splits)
    _drop_leaks(splits, dropped)
    total = sum(map(len, splits.values()))
    if dropped:
        log.warning("texts left out", path=str(path), kept=total, **dropped)
    published, published_sha256 = files.published
    name = name or published or path.resolve().name.split(".")[0]
    corpus = Corpus(
        name=f"{name} ({choice})",
        sha256=published_sha256 or sha256_of([document for split in SPLITS for document in splits[split]]),
        train=tuple(splits["train"]),
        validation=tuple(splits["validation"]),
        test=tuple(splits["test"]),
        dropped=dict(dropped),
    )
    return _checked(corpus, f"{path} ({choice})")


def only(corpus: Corpus, wanted: Callable[[str], bool], reason: str) -> Corpus:
    """The corpus without the texts that are not wanted, which are counted under ``reason``. Raises CorpusError."""
    kept = {split: tuple(d for d in corpus.split(split) if wanted(d.text)) for split in SPLITS}
    left_out = sum(len(corpus.split(split)) - len(kept[split]) for split in SPLITS)
    if not left_out:
        return corpus
    log.warning("texts left out", corpus=corpus.name, kept=sum(map(len, kept.values())), **{reason: left_out})
    fewer = replace(
        corpus,
        train=kept["train"],
        validation=kept["validation"],
        test=kept["test"],
        dropped={**corpus.dropped, reason: left_out},
    )
    return _checked(fewer, f"{corpus.name}, without what is {reason}")


def write_corpus(corpus: Corpus, directory: Path) -> None:
    """Writes ``SPLIT.jsonl`` for each split, and ``corpus.json`` with counts and the hash."""
    directory.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        rows = [{"text": d.text, "genre": d.genre, "theme": d.theme, "source": d.source} for d in corpus.split(split)]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (directory / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    facts = {
        "name": corpus.name,
        "sha256": corpus.sha256,
        "texts": {split: len(corpus.split(split)) for split in SPLITS},
        "dropped": corpus.dropped,
    }
    (directory / CORPUS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def load_corpus(directory: Path) -> Corpus:
    """What ``write_corpus`` wrote. Raises CorpusError when it is not there or not whole."""
    try:
        facts = json.loads((directory / CORPUS).read_text(encoding="utf-8"))
        splits = {
            split: tuple(
                Document(**json.loads(line))
                for line in (directory / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")
                if line
            )
            for split in SPLITS
        }
        counts = {split: len(documents) for split, documents in splits.items()}
        if counts != facts["texts"]:
            raise CorpusError(f"{directory} has {counts} texts, its record says {facts['texts']}; remove it")
        return Corpus(name=facts["name"], sha256=facts["sha256"], dropped=facts["dropped"], **splits)
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise CorpusError(f"{directory} holds no texts to tune on ({error}); run gtx-train data first") from error


def _cleaned(document: Document, dropped: Counter[str]) -> Document | None:
    """The document in canonical form, with its genre; None where it is no greentext."""
    try:
        text = str(parse(document.text))
    except GreentextError as error:
        dropped[_REASONS.get(type(error).__name__, "not_a_greentext")] += 1
        return None
    genre = document.genre if document.genre in list(Genre) else classify(text).value
    return replace(document, text=text, genre=genre)


_REASONS = {
    "EmptyTextError": "empty",
    "LineWithoutMarkerError": "line_without_marker",
    "NestedQuoteError": "nested_quote",
}
_CHOSEN: dict[Choice, Callable[[Document], bool]] = {
    "full": lambda _: True,
    "simple": lambda document: is_simple(document.text),
    "thanks": lambda document: ends_with_thanks(document.text),
    "real": lambda document: document.source in REAL_SOURCES,
}


def _complete(splits: dict[Split, list[Document]]) -> None:
    """Takes what is missing to validate and to test on out of the training texts, in place."""
    validation = 0.0 if splits["validation"] else VALIDATION_SHARE
    test = 0.0 if splits["test"] else TEST_SHARE
    if not (validation or test):
        return
    documents, splits["train"] = splits["train"], []
    for document, split in zip(documents, splits_of(documents, validation=validation, test=test), strict=True):
        splits[split].append(document)


def _drop_leaks(splits: dict[Split, list[Document]], dropped: Counter[str]) -> None:
    """Removes from each split what is in a split that is held out longer, and repetitions, in place."""
    seen: set[str] = set()
    for split in ("test", "validation", "train"):
        kept = []
        for document in splits[split]:
            letters = letters_of(document.text)
            if letters in seen:
                dropped["same_text"] += 1
            else:
                seen.add(letters)
                kept.append(document)
        splits[split] = kept


def _checked(corpus: Corpus, what: str) -> Corpus:
    empty = [split for split in SPLITS if not corpus.split(split)]
    if empty:
        counts = ", ".join(f"{len(corpus.split(split))} {split}" for split in SPLITS)
        reasons = f"; left out were {_counted(corpus.dropped)}" if corpus.dropped else ""
        raise CorpusError(
            f"{what} leaves nothing for {', '.join(empty)} ({counts}{reasons}); give more texts, a hundred at least"
        )
    return corpus


def _counted(dropped: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in dropped.items())


def described(corpora: Iterable[Corpus]) -> Sequence[str]:
    """A sentence for each, for a model card."""
    return [
        f"{corpus.name}: {len(corpus.train):,} texts to train on, {len(corpus.validation):,} to stop in time, "
        f"{len(corpus.test):,} to test; SHA-256 {corpus.sha256[:16]}."
        for corpus in corpora
    ]
