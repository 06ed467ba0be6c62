"""The four claims: which conditions are made for each, what is compared, and what would speak for the claim.

All of it is fixed before anything is measured. A claim's verdict rests on its deciding comparisons alone; the others
are there to understand it by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from training.findings.cells import Cell

if TYPE_CHECKING:
    from training.findings.scales import Scale

Direction = Literal["lower", "higher"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """``one`` less ``other``, both labels of conditions, in an outcome; the claim may say which way it goes."""

    one: str
    other: str
    outcome: str
    expected: Direction | None = None
    """None where the claim says nothing of it: shown for comparison."""
    decides: bool = False


@dataclass(frozen=True, slots=True)
class Experiment:
    """A claim with what it takes to test it. ``conditions`` are cells of seed 0, by label."""

    name: str
    title: str
    claim: str
    method: tuple[str, ...]
    conditions: dict[str, Cell]
    comparisons: tuple[Comparison, ...]
    outcomes: tuple[str, ...]
    """What is shown of every condition; the first is plotted."""

    def cells(self, label: str, seeds: int) -> list[Cell]:
        """A condition's cells, one for each seed."""
        return [replace(self.conditions[label], seed=seed) for seed in range(seeds)]


def experiments(scale: Scale, thanks_texts: int) -> list[Experiment]:
    """The four, at a scale, where there are so many thanks texts to train on."""
    return [_specific(thanks_texts), _size(scale), _start(scale), _words(scale)]


def _specific(thanks_texts: int) -> Experiment:
    thanks, mixed = Cell(base="large", genre="thanks"), Cell(base="large")
    after = Cell(base="large", genre="thanks", after="all")
    quarter, half = round(thanks_texts / 4), round(thanks_texts / 2)
    few = {f"thanks, {count} texts": replace(thanks, texts=count) for count in (quarter, half)}
    conditions = {**few, "thanks, all": thanks, "mixed, all": mixed, "mixed, then thanks": after}
    # The sequence has more steps and more texts than either: it shows what both together are worth.
    beside = [("mixed, then thanks", other) for other in ("mixed, all", "thanks, all")]
    return Experiment(
        name="specific",
        title="Specific data beats more data",
        claim=(
            "To write greentexts that end in a thank-you, it is better to tune on those alone than on all genres, "
            "although all are more texts."
        ),
        method=(
            (
                "The same base is tuned on thanks texts only (all of them, half, and a quarter), on all texts of both "
                "genres (which hold every thanks text), and on all texts first and the thanks texts then."
            ),
            (
                "Every tuning may take equally many steps, on batches of one size; passes over few texts are "
                "bounded, and the sequence takes as many steps twice. Which step's weights are taken "
                "is decided by the condition's own validation texts."
            ),
        ),
        conditions=conditions,
        comparisons=(
            Comparison("thanks, all", "mixed, all", "thanks_bits", "lower", decides=True),
            *(Comparison(label, "mixed, all", "thanks_bits", "lower") for label in few),
            *(Comparison(*pair, "thanks_bits") for pair in beside),
            Comparison("thanks, all", "mixed, all", "thanks", "higher"),
            *(Comparison(label, "mixed, all", "thanks", "higher") for label in few),
            *(Comparison(*pair, "thanks") for pair in beside),
        ),
        outcomes=("thanks_bits", "thanks", "valid"),
    )


def _size(scale: Scale) -> Experiment:
    conditions = {
        "small, thanks": Cell(base="small", genre="thanks"),
        "small, mixed": Cell(base="small"),
        "large, thanks": Cell(base="large", genre="thanks"),
        "large, mixed": Cell(base="large"),
    }
    ratio = parameters(scale, "large") / parameters(scale, "small")
    return Experiment(
        name="size",
        title="Genre-specific beats general at a fifth of the size",
        claim="A model tuned on one genre writes it better than one of five times the size that is tuned on all.",
        method=(
            (
                f"Two bases of {parameters(scale, 'small'):,} and {parameters(scale, 'large'):,} parameters "
                f"({ratio:.1f} to one), pretrained on the same stories in equally many steps, and each tuned on thanks "
                f"texts and on all texts. The large ones are those of the first experiment."
            ),
        ),
        conditions=conditions,
        comparisons=(
            Comparison("small, thanks", "large, mixed", "thanks_bits", "lower", decides=True),
            Comparison("small, thanks", "small, mixed", "thanks_bits"),
            Comparison("large, thanks", "large, mixed", "thanks_bits"),
            Comparison("small, thanks", "large, thanks", "thanks_bits"),
            Comparison("small, thanks", "large, mixed", "thanks", "higher"),
            Comparison("small, thanks", "large, mixed", "valid", "higher"),
        ),
        outcomes=("thanks_bits", "thanks", "valid"),
    )


def _start(scale: Scale) -> Experiment:
    conditions = {"untuned": Cell(base="code", texts=-1, start_token=False, prompted=True)}
    comparisons = []
    for number, count in enumerate((*scale.few_texts, 0)):
        said = f"{count} texts" if count else "all texts"
        with_token = Cell(base="code", texts=count, prompted=True)
        conditions[f"{said}, start token"] = with_token
        conditions[f"{said}, none"] = replace(with_token, start_token=False)
        pair = f"{said}, start token", f"{said}, none"
        comparisons += [
            Comparison(*pair, "code", "lower", decides=number == 0),
            Comparison(*pair, "prompt", "lower"),
            Comparison(*pair, "bits", "lower"),
        ]
        comparisons.append(Comparison(f"{said}, none", "untuned", "code"))
    return Experiment(
        name="start",
        title="The start token keeps `>` from being continued as code",
        claim=(
            "A base that has read code takes `>` for a prompt; a token of its own before each greentext keeps the "
            "two apart."
        ),
        method=(
            (
                "The base has read stories and, for 15 % of its tokens, sessions of a Python prompt as doctests "
                "show them "
                "(`>>> x = [1, 2]`), made by a generator. The tokenizer has learned no token for `>>>`: to the base a "
                "session begins with the token that a greentext begins with."
            ),
            (
                "It is tuned on few texts and on all, with the start token before each text or with the end "
                "token, which "
                "is what came before stories and code. Samples are begun the same way, and then with `>`."
            ),
            (
                "A start token's embedding begins as the end token's: at first the two ways are the same, and "
                "what there "
                "is between them is what tuning makes of it."
            ),
            (
                "Whether a text looks like code is decided by the rule of `training/evaluation/code_shape.py`. "
                "The chance "
                "of a second `>` behind the first is the model's own, without sampling."
            ),
        ),
        conditions=conditions,
        comparisons=tuple(comparisons),
        outcomes=("code", "prompt", "bits", "valid"),
    )


def _words(scale: Scale) -> Experiment:
    original, most = Cell(base="large"), max(scale.shares)
    rare = {f"{share:.0%} rare": replace(original, share=share) for share in scale.shares}
    known = {f"{most:.0%} known": replace(original, share=most, swap_for="known")}
    at_most = f"{most:.0%} rare"
    return Experiment(
        name="words",
        title="Words outside the base's vocabulary hurt",
        claim="Tuning texts with words that the base has never read make a worse model than texts without.",
        method=(
            (
                "In the texts to tune on, a share of the kinds of content words (four letters or more, in two texts or "
                "more, not among the 200 commonest of the stories) is swapped, each kind for a rare English word "
                "that the "
                "stories do not have, always the same one. Number of texts, lines and words stay what they were; "
                "validation and held-out texts are left as they are."
            ),
            (
                "A model that has never seen a word swapped away must do worse on it, whatever it was swapped for. "
                "So what decides is measured on the rest: bits per byte of the words that no condition swaps."
            ),
            (
                "Swapping in itself makes texts odd. So as many words are also swapped for words that the stories do "
                "have: only what rare words do beyond that speaks for the claim."
            ),
        ),
        conditions={"original": original, **rare, **known},
        comparisons=(
            Comparison(at_most, "original", "kept_bits", "higher", decides=True),
            Comparison(at_most, f"{most:.0%} known", "kept_bits", "higher", decides=True),
            *(Comparison(label, "original", "kept_bits", "higher") for label in rare if label != at_most),
            Comparison(f"{most:.0%} known", "original", "kept_bits"),
            Comparison(at_most, "original", "bits", "higher"),
            Comparison(at_most, "original", "valid", "lower"),
            Comparison(at_most, "original", "simple", "lower"),
            Comparison(at_most, "original", "distinct", "lower"),
        ),
        outcomes=("kept_bits", "bits", "valid", "simple", "distinct"),
    )


def parameters(scale: Scale, base: Literal["large", "small"]) -> int:
    """Parameters of a base: embeddings of tokens and positions, and layers of 12 times the width squared and biases."""
    shape = scale.small if base == "small" else scale.large
    width = shape.hidden_size
    layer = 12 * width**2 + 10 * width
    return (shape.vocab_size + shape.context_length) * width + shape.num_layers * layer + 2 * width
