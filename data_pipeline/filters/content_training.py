"""Teaches the content classifier: from labelled lines to 8-bit weights.

Examples are lines; texts are not torn apart by folds. Nothing is drawn at random: the same lines give the same weights,
byte for byte. How good the result is, `train_content` measures.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict

from data_pipeline.build_vocabulary import read_lines
from greentext.content import Category
from greentext.content_classifier import HASHED, Classifier, default_features
from greentext.content_terms import default_terms
from greentext.personal_data import personal_data

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

ROOT: Final = Path(__file__).parent.parent.parent
LABELLED: Final = ROOT / "data" / "content_labelled.jsonl"
STARTER: Final = ROOT / "data" / "greentexts" / "starter.jsonl"

LEARNT: Final = (Category.SEXUAL, Category.VIOLENT, Category.HATEFUL, Category.SELF_HARM)
"""What the classifier judges; the other categories are words and forms."""
FOLDS: Final = 10
ALLOWED_SHARE: Final = 1 / 6000
"""Of the wholesome lines, those that may be found in each category, out of fold, where its threshold is."""
STORIES: Final = 1000
"""Stories to learn from, and as many to measure by, taken evenly from all over the file."""
MIN_THRESHOLD: Final = 0.2
WORD_DECAY: Final = 6.0
KIND_DECAY: Final = 3.0
"""L2 penalties: less for kinds of words, so that they learn what words share."""
FOUND_WEIGHT: Final = 10.0
LABELLED_WEIGHT: Final = 3.0
"""Weights of a labelled line that is of some category, and of one that is of none; a starter line weighs 1."""
GROUPS: Final = (
    *(
        "gay",
        "lesbian",
        "trans",
        "bisexual",
        "queer",
        "female",
        "feminist",
        "black",
        "white",
        "brown",
        "asian",
        "african",
    ),
    *("indian", "chinese", "mexican", "arab", "irish", "russian", "polish", "german", "french", "american", "jewish"),
    *(
        "muslim",
        "christian",
        "hindu",
        "deaf",
        "blind",
        "autistic",
        "disabled",
        "homeless",
        "poor",
        "old",
        "fat",
        "ugly",
    ),
    *("immigrant", "refugee", "foreign"),
)
FRAMES: Final = (
    "{}",
    "anon is {}",
    "i am {}",
    "she was born {}",
    "my {} friend makes me laugh",
    "he was a {} boy, and he was very smart",
    "{} people are nice",
    "the {} girls in my class sing",
    "all my {} neighbors come to dinner",
    "{} women and men dance in the street",
    "never met a {} guy who cooks that well",
    "i love my {} mom",
)
"""Frames for `neutral_examples`; tests use others."""
STEPS: Final = 150
RATE: Final = 0.1


_SENTENCE_END: Final = re.compile(r"(?<=[.!?\"])\s+")


class LabelledLine(BaseModel):
    """A line of `data/content_labelled.jsonl`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    labels: tuple[Category, ...]
    split: Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class Example:
    """A line to learn from, or to be measured by."""

    line: str
    labels: frozenset[Category]
    words: tuple[str, ...]
    listed: frozenset[Category]
    """What words and patterns find."""
    text: str
    """What it is part of: texts are not torn apart by folds."""
    weight: float


def read_labelled(path: Path = LABELLED) -> list[LabelledLine]:
    """The labelled lines. Raises OSError, and ValueError for a line that is none."""
    return [LabelledLine.model_validate_json(line) for line in path.read_bytes().splitlines()]


def examples(lines: Sequence[LabelledLine]) -> list[Example]:
    """Labelled lines as examples."""
    return [
        _example(line.text, line.labels, line.text, FOUND_WEIGHT if line.labels else LABELLED_WEIGHT) for line in lines
    ]


def starter_examples(path: Path = STARTER) -> list[Example]:
    """The lines of wholesome texts. Raises OSError."""
    texts = [orjson.loads(line)["text"] for line in path.read_bytes().splitlines()]
    return [_example(line, (), text, 1.0) for text in texts for line in text.split("\n")]


def story_examples(path: Path) -> tuple[list[Example], list[Example]]:
    """The sentences of stories to learn from, and of others to measure by. Raises StoriesError."""
    stories = "".join(read_lines(path)).split("<|endoftext|>")
    chosen = stories[:: max(1, len(stories) // (2 * STORIES))][: 2 * STORIES]
    parts = [
        [_example(sentence, (), story, 1.0) for story in part for sentence in _SENTENCE_END.split(story)]
        for part in (chosen[::2], chosen[1::2])
    ]
    return parts[0], parts[1]


def neutral_examples() -> list[Example]:
    """Sentences that name a group of people and say nothing bad of it: a name by itself must mean nothing."""
    return [_example(frame.format(name), (), name, LABELLED_WEIGHT) for name in GROUPS for frame in FRAMES]


def _example(line: str, labels: Sequence[Category], text: str, weight: float) -> Example:
    read = default_terms().read(line)
    listed = {Category(section) for section, _ in read.found}
    if any(True for _ in personal_data(line)):
        listed.add(Category.PERSONAL_DATA)
    return Example(line, frozenset(labels), tuple(read.words), frozenset(listed), text, weight)


@dataclass(frozen=True, slots=True)
class Rows:
    """Examples as numbers: which features each has, laid end to end."""

    features: NDArray[np.int64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    targets: Matrix
    """[rows, categories]."""
    weights: Matrix


def rows_of(chosen: Sequence[Example], number: Callable[[Sequence[str]], set[int]]) -> Rows:
    """Examples as numbers. Each must have a feature at least; `with_words` picks those."""
    found = [number(example.words) for example in chosen]
    counts = np.array([len(features) for features in found], np.int64)
    return Rows(
        np.concatenate([np.array(sorted(features), np.int64) for features in found]),
        np.concatenate([[0], np.cumsum(counts)[:-1]]),
        counts,
        np.array([[category in example.labels for category in LEARNT] for example in chosen], np.float64),
        np.array([example.weight for example in chosen]),
    )


def with_words(chosen: Sequence[Example]) -> list[Example]:
    """Examples that the classifier sees something of."""
    return [example for example in chosen if any(example.words)]


def fit(rows: Rows, size: int) -> tuple[Matrix, Matrix]:
    """Weights [size, categories] and biases of logistic regressions, by Adam (Kingma and Ba, 2015)."""
    categories = rows.targets.shape[1]
    decay = np.full((size, 1), WORD_DECAY)
    decay[HASHED:] = KIND_DECAY
    # The biases are the last row, unpenalised.
    parameters = np.zeros((size + 1, categories))
    parameters[-1] = -3.0
    mean = np.zeros_like(parameters)
    square = np.zeros_like(parameters)
    gradient = np.empty_like(parameters)
    for step in range(1, STEPS + 1):
        wrong = (_probabilities(rows, parameters) - rows.targets) * rows.weights[:, None]
        spread = np.repeat(wrong, rows.counts, axis=0)
        for at in range(categories):
            gradient[:-1, at] = np.bincount(rows.features, weights=spread[:, at], minlength=size)
        gradient[:-1] += decay * parameters[:-1]
        gradient[-1] = wrong.sum(axis=0)
        mean += 0.1 * (gradient - mean)
        square += 0.01 * (gradient**2 - square)
        rate = RATE * (1 - 0.9 * step / STEPS)
        parameters -= rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-4)
    return parameters[:-1], parameters[-1]


def _probabilities(rows: Rows, parameters: Matrix) -> Matrix:
    logits = np.add.reduceat(parameters[rows.features], rows.starts, axis=0) + parameters[-1]
    chances: Matrix = 1 / (1 + np.exp(-logits))
    return chances


def out_of_fold(chosen: Sequence[Example]) -> Matrix:
    """Each example's probabilities by a model that has not seen its text: [examples, categories]."""
    features = default_features()
    folds = np.array([hashlib.sha256(example.text.encode()).digest()[1] % FOLDS for example in chosen])
    chances = np.zeros((len(chosen), len(LEARNT)))
    for fold in range(FOLDS):
        held = np.flatnonzero(folds == fold).tolist()
        if not held:
            continue
        others = [example for example, its_fold in zip(chosen, folds, strict=True) if its_fold != fold]
        weights, biases = fit(rows_of(others, features.of), features.size)
        rows = rows_of([chosen[at] for at in held], features.of)
        chances[held] = _probabilities(rows, np.vstack([weights, biases]))
    return chances


def thresholds_of(wholesome: Matrix) -> Matrix:
    """The lowest probability of each category that at most `ALLOWED_SHARE` of the wholesome lines reach."""
    highest = -np.sort(-wholesome, axis=0)[int(ALLOWED_SHARE * len(wholesome))]
    limits: Matrix = np.maximum(np.ceil(highest * 100 + 0.5) / 100, MIN_THRESHOLD)
    return limits


def quantised(weights: Matrix, biases: Matrix, thresholds: Matrix) -> Classifier:
    """The classifier with 8-bit weights."""
    scales = np.abs(weights).max(axis=0) / 127
    return Classifier(
        default_features(),
        tuple(category.value for category in LEARNT),
        np.rint(weights / scales).astype(np.int8),
        scales.astype(np.float32),
        biases.astype(np.float32),
        thresholds.astype(np.float32),
    )


def write(classifier: Classifier, path: Path) -> None:
    """Writes weights, byte for byte the same for the same classifier."""
    arrays = {
        "categories": np.array(classifier.categories),
        "weights": classifier.weights,
        "scales": classifier.scales,
        "biases": classifier.biases,
        "thresholds": classifier.thresholds,
    }
    part = path.with_name(f"{path.name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            buffer = BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            # Without a date of its own: `np.savez` writes the time of day into the archive.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED)
    part.replace(path)
