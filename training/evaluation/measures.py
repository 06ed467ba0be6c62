"""The names of all measures, what they are called in a report, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from training.evaluation.novelty import LONG_RUN_WORDS


@dataclass(frozen=True, slots=True)
class Measure:
    """How a measure is shown. ``better`` is empty where that is a matter of what is wanted."""

    title: str
    meaning: str
    better: Literal["higher", "lower", ""] = ""
    digits: int = 2
    """Behind the point, for numbers; shares are percentages with one."""


MEASURES = {
    "bits_per_byte": Measure("bits per byte", "held-out texts, comparable across tokenizers", "lower", 4),
    "perplexity": Measure("perplexity per token", "held-out texts, for models with the same tokenizer", "lower"),
    "valid_shape": Measure("valid shape", "3 to 30 lines, each `>` and words, as `greentext.text` has it", "higher"),
    "ends_by_itself": Measure("ends by itself", "within the limit of tokens", "higher"),
    "thanks_ending": Measure("thank-you ending", "somebody is thanked in the last two lines"),
    "simple_words": Measure("only simple words", "words of TinyStories and a short list besides"),
    "content_flags": Measure("content flags", "something the content policy names", "lower"),
    "looks_like_code": Measure("looks like code", "the rule of `training/evaluation/code_shape.py`", "lower"),
    "repeated": Measure("repeated", "the same words as another of these texts", "lower"),
    "words": Measure("words a text", "mean", "", 1),
    "distinct_1": Measure("distinct-1", "different words of all, at equal numbers of words", "", 3),
    "distinct_2": Measure("distinct-2", "different pairs of words of all", "", 3),
    "distinct_3": Measure("distinct-3", "different triples of words of all", "", 3),
    "self_bleu_4": Measure("self-BLEU-4", "how like one another, at equal numbers of texts", "lower", 3),
    "exact_copies": Measure("exact copies", "the same words as a training text", "lower"),
    "long_shared_runs": Measure(
        "long shared runs", f"more than {LONG_RUN_WORDS} words in a row as in a training text", "lower"
    ),
    "longest_shared_run": Measure("longest shared run", "words in a row as in a training text, mean", "lower", 1),
    "mauve": Measure("MAUVE", "closeness to held-out texts", "higher", 3),
    "judged_grammar": Measure("grammar", "the judge's grade, 1 to 10", "higher"),
    "judged_creativity": Measure("creativity", "the judge's grade, 1 to 10", "higher"),
    "judged_consistency": Measure("consistency", "the judge's grade, 1 to 10", "higher"),
    "judged_plot": Measure("plot", "the judge's grade, 1 to 10", "higher"),
}
"""In the order of a report's table."""
