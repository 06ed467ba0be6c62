"""What is asked of each text by itself, the same of samples and of texts that people wrote."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greentext.content import judge
from greentext.genres import ends_with_thanks
from greentext.text import validate
from greentext.vocabulary import is_simple, unknown_words, words_of
from training.evaluation.code_shape import code_marks, looks_like_code
from training.evaluation.figures import Figure, mean, share

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class TextChecks:
    """What was found in a text."""

    words: int
    problems: tuple[str, ...]
    """Names of what is wrong with its shape, each once; see ``greentext.text.validate``."""
    thanks: bool
    simple: bool
    unknown_words: tuple[str, ...]
    flags: tuple[str, ...]
    """Categories of content that is not wholesome, each once; see ``greentext.content``."""
    code: bool
    code_marks: tuple[str, ...]


def check(text: str) -> TextChecks:
    """All checks of a text."""
    return TextChecks(
        words=len(words_of(text)),
        problems=_once(problem.name.value for problem in validate(text)),
        thanks=ends_with_thanks(text),
        simple=is_simple(text),
        unknown_words=tuple(unknown_words(text)),
        flags=_once(finding.category.value for finding in judge(text)),
        code=looks_like_code(text),
        code_marks=_once(code_marks(text)),
    )


def rates(checks: Sequence[TextChecks]) -> dict[str, Figure]:
    """The share of texts that pass or have each thing, and the mean length. Raises ValueError for no text."""
    of = len(checks)
    return {
        "valid_shape": share(sum(not one.problems for one in checks), of),
        "thanks_ending": share(sum(one.thanks for one in checks), of),
        "simple_words": share(sum(one.simple for one in checks), of),
        "content_flags": share(sum(bool(one.flags) for one in checks), of),
        "looks_like_code": share(sum(one.code for one in checks), of),
        "words": mean([one.words for one in checks]),
    }


def details(checks: Sequence[TextChecks]) -> dict[str, Any]:
    """How many texts have which problem, flag and mark of code, and the commonest unknown words."""
    return {
        "problems": _counted(one.problems for one in checks),
        "flags": _counted(one.flags for one in checks),
        "code_marks": _counted(one.code_marks for one in checks if one.code),
        "unknown_words": dict(list(_counted(one.unknown_words for one in checks).items())[:20]),
    }


def _once(names: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _counted(each: Any) -> dict[str, int]:
    counts = Counter(name for names in each for name in names)
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
