import hashlib
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import zstandard

from data_pipeline import build_vocabulary
from data_pipeline.build_vocabulary import StoriesError, count_words, read_lines, vocabulary_file
from data_pipeline.filters import content_training, train_content
from data_pipeline.filters.content_training import (
    LEARNT,
    Example,
    LabelledLine,
    examples,
    fit,
    out_of_fold,
    quantised,
    read_labelled,
    rows_of,
    thresholds_of,
    with_words,
    write,
)
from data_pipeline.filters.train_content import DOCUMENT, MARKS, tallies
from greentext.content import Category
from greentext.content_classifier import default_classifier, default_features, load
from greentext.vocabulary import read_words

BAD = [f"those {name} people are filthy, send them away" for name in ("green", "blue", "red", "tall", "short")]
GOOD = [f"my {name} friend brings soup and a hat" for name in ("green", "blue", "red", "tall", "short")]


def lines(count: int = 5) -> list[Example]:
    bad = [LabelledLine(text=f">{text}", labels=(Category.HATEFUL,), split="train") for text in BAD[:count]]
    return examples([*bad, *(LabelledLine(text=f">{text}", labels=(), split="train") for text in GOOD[:count])])


def test_it_learns_what_words_have_in_common() -> None:
    features = default_features()
    weights, biases = fit(rows_of(lines(4), features.of), features.size)
    classifier = quantised(weights, biases, np.full(len(LEARNT), 0.5))
    hateful = LEARNT.index(Category.HATEFUL)
    unseen = [example.words for example in lines()]
    chances = classifier.probabilities(unseen)
    assert chances[4, hateful] > 0.5 > chances[9, hateful]
    assert (np.delete(chances, hateful, axis=1) < 0.5).all()


def test_probabilities_out_of_fold_are_of_models_that_have_not_seen_the_line() -> None:
    # A line that nothing else is like: its own model would know it by heart.
    odd = examples([LabelledLine(text=">zyx wvu tsr", labels=(Category.VIOLENT,), split="train")])
    chosen = [*lines(), *odd]
    assert out_of_fold(chosen)[-1, LEARNT.index(Category.VIOLENT)] < 0.5


def test_thresholds_let_hardly_a_wholesome_line_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_training, "ALLOWED_SHARE", 0.1)
    wholesome = np.linspace(0, 0.9, 100)[:, None].repeat(4, axis=1)
    reached = (wholesome >= thresholds_of(wholesome)).sum(axis=0)
    assert (reached <= 10).all()
    assert (reached >= 8).all()
    assert (thresholds_of(np.zeros((100, 4))) == content_training.MIN_THRESHOLD).all()


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    features = default_features()
    weights, biases = fit(rows_of(lines(), features.of), features.size)
    classifier = quantised(weights, biases, np.full(len(LEARNT), 0.25))
    digests = set()
    for name in "ab":
        write(classifier, tmp_path / name)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1
    again = load(tmp_path / "a")
    words = [example.words for example in lines()]
    assert (again.probabilities(words) == classifier.probabilities(words)).all()


def test_the_document_tells_the_figures_of_the_weights_that_are_shipped() -> None:
    held_out = with_words(examples([line for line in read_labelled() if line.split == "test"]))
    classifier = default_classifier()
    chances = classifier.probabilities([example.words for example in held_out]).astype(np.float64)
    counted = tallies(held_out, chances, classifier.thresholds.astype(np.float64))
    figures = DOCUMENT.read_text().partition(MARKS[0])[2].partition(MARKS[1])[0]
    for name, tally in counted.items():
        row = next(line for line in figures.split("\n") if line.startswith(f"| {name} |"))
        assert row.endswith(f"| {tally.cells()} |"), (
            f"run `python -m data_pipeline.filters.train_content STORIES --write`: {row}"
        )
    starter = re.search(r"by the model as it is shipped: \d+ of \d+ \(([\d.]+)%\)", figures)
    assert starter is not None
    assert float(starter[1]) < 0.5


def test_splits_are_told_by_the_text_alone() -> None:
    counts = Counter(line.split for line in read_labelled())
    assert 0.15 < counts["test"] / counts.total() < 0.3


def test_data_that_cannot_be_read_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_content.main([str(tmp_path / "nothing")]) == 1
    assert "nothing" in capsys.readouterr().err


# ---------------------------------------------------------------------------------- build_vocabulary


def test_owners_are_counted_and_slips_and_numbers_are_not() -> None:
    counts = count_words(["The dog's bone.<|endoftext|>The DOG", "don't 7 café naïve", "dogs' " + "x" * 30])
    assert counts == {"the": 2, "dog": 2, "bone": 1, "don't": 1, "dogs": 1}


def test_a_list_is_sorted_wrapped_and_read_back(tmp_path: Path) -> None:
    words = {f"word{'abcdefghij'[number % 10]}{'klmnopqrst'[number // 10]}": number % 4 for number in range(100)}
    text = vocabulary_file(Counter(words), 2)
    assert max(map(len, text.split("\n"))) <= 120
    path = tmp_path / "words.txt"
    path.write_text(text)
    assert read_words(path) == {word for word, count in words.items() if count >= 2}


@pytest.mark.parametrize("compressed", [False, True])
def test_stories_are_read_plain_and_compressed(tmp_path: Path, compressed: bool) -> None:
    story = "Once a frog met a frog. It was a good frog.\n" * 3
    path = tmp_path / "stories"
    path.write_bytes(zstandard.compress(story.encode()) * 2 if compressed else story.encode() * 2)
    out = tmp_path / "words.txt"
    assert build_vocabulary.main([str(path), "--min-count", "7", "--out", str(out)]) == 0
    assert read_words(out) == {"a", "frog"}
    first = out.read_bytes()
    assert build_vocabulary.main([str(path), "--min-count", "7", "--out", str(out)]) == 0
    assert out.read_bytes() == first


def test_stories_that_cannot_be_read_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "stories.zst"
    damaged.write_bytes(zstandard.compress(b"frog " * 1000)[:8] + b"rubbish" * 9)
    with pytest.raises(StoriesError, match="is damaged"):
        list(read_lines(damaged))
    with pytest.raises(StoriesError, match="cannot be read"):
        list(read_lines(tmp_path / "nothing"))
    out = tmp_path / "words.txt"
    assert build_vocabulary.main([str(damaged), "--out", str(out)]) == 1
    assert "damaged" in capsys.readouterr().err
    assert not out.exists()
