"""The prompts, from files, versioned by the hash of what they say.

A folder of prompts holds `system.md`, one file for each kind (`full.md`, `simple.md`, `thanks.md`) with
`$placeholders`, `themes.toml` (name = what it is about) and `sparks.toml` (lists of hints; a spark takes one of each
list). What differs between two requests of the same kind and theme (sparks, examples, words of the vocabulary) is drawn
from the seed and the sample's number, so that a request is the same whenever it is made again.
"""

from __future__ import annotations

import hashlib
import random
import string
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from data_pipeline.errors import StageError
from greentext.genres import ends_with_thanks
from greentext.text import normalise
from greentext.vocabulary import default_vocabulary, is_simple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from data_pipeline.synthesis.settings import Kind, SynthesisSettings

BUILT_IN: Final = Path(__file__).parent / "prompts"
KINDS: Final[tuple[Kind, ...]] = ("full", "simple", "thanks")
PLACEHOLDERS: Final = frozenset(
    {"count", "theme", "description", "min_lines", "max_lines", "examples", "sparks", "words"}
)
LINES: Final[dict[Kind, tuple[int, int]]] = {"full": (4, 12), "simple": (4, 9), "thanks": (4, 10)}
"""How many lines a text is asked to have; the filter for shape has the last word."""
MAX_EXAMPLE_CHARACTERS: Final = 900
MIN_WORD_LETTERS: Final = 3


class PromptError(StageError):
    """Prompts or examples cannot be used; the message names the file."""


@dataclass(frozen=True, slots=True)
class Example:
    """A greentext to show."""

    text: str
    theme: str
    simple: bool
    thanks: bool


@dataclass(frozen=True, slots=True)
class PromptBook:
    """All that prompts are made of."""

    version: str
    """Of the prompt files: the first twelve digits of their hash."""
    templates: Mapping[str, string.Template]
    themes: Mapping[str, str]
    sparks: Mapping[str, tuple[str, ...]]
    words: tuple[str, ...]
    words_version: str
    examples: tuple[Example, ...] = ()
    _by_theme: dict[tuple[Kind, str], tuple[list[Example], list[Example]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def messages(self, kind: Kind, theme: str, sample: int, settings: SynthesisSettings) -> tuple[str, str]:
        """The system's and the user's message. The same arguments make the same messages, on every machine."""
        rng = random.Random(f"{settings.seed}/{kind}/{theme}/{sample}")
        least, most = LINES[kind]
        columns = [_dealt(choices, settings.texts_per_request, rng) for choices in self.sparks.values()]
        sparks = [f"{number}. {'; '.join(parts)}" for number, parts in enumerate(zip(*columns, strict=True), start=1)]
        words = rng.sample(self.words, min(settings.vocabulary_words, len(self.words))) if kind == "simple" else []
        user = self.templates[kind].substitute(
            count=settings.texts_per_request,
            theme=theme,
            description=self.themes[theme],
            min_lines=least,
            max_lines=most,
            examples=self._shown(kind, theme, settings.examples_per_request, rng),
            sparks="\n".join(sparks),
            words=" ".join(sorted(words)),
        )
        return self.templates["system"].template, user

    def _fitting(self, kind: Kind, theme: str) -> tuple[list[Example], list[Example]]:
        """Examples of the kind: those of the theme, and the others. Looked up once, since each request asks."""
        if (kind, theme) not in self._by_theme:
            fitting = [
                example for example in self.examples
                if (kind != "simple" or example.simple) and (kind != "thanks" or example.thanks)
            ]  # fmt: skip
            self._by_theme[kind, theme] = (
                [example for example in fitting if example.theme == theme],
                [example for example in fitting if example.theme != theme],
            )
        return self._by_theme[kind, theme]

    def _shown(self, kind: Kind, theme: str, count: int, rng: random.Random) -> str:
        """Examples of the kind, those of the theme first; empty where there are none."""
        of_theme, others = self._fitting(kind, theme)
        # Two from the theme at most, so that the theme is not taken for the examples' plots.
        shown = rng.sample(of_theme, min(2, count, len(of_theme)))
        shown += rng.sample(others, min(count - len(shown), len(others)))
        if not shown:
            return ""
        texts = "\n\n".join(example.text for example in shown)
        return f"For tone and form only, and not to be retold:\n\n{texts}\n"


def read_prompts(folder: Path | None = None) -> PromptBook:
    """The prompts of a folder, or the built-in ones, without examples.

    Raises:
        PromptError: A file is missing, or not what it should be.
    """
    folder = BUILT_IN if folder is None else folder
    names = ("system.md", *(f"{kind}.md" for kind in KINDS), "themes.toml", "sparks.toml")
    contents = {name: _content(folder / name) for name in names}
    version = hashlib.sha256(orjson.dumps(contents, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]
    templates = {}
    for name in ("system.md", *(f"{kind}.md" for kind in KINDS)):
        template = string.Template(contents[name].strip())
        allowed = PLACEHOLDERS if name != "system.md" else frozenset()
        unknown = sorted(set(template.get_identifiers()) - allowed)
        if unknown or (allowed and not template.is_valid()):
            what = ", ".join(f"${name}" for name in unknown) or "a $ without a name (write $$)"
            known = ", ".join(f"${name}" for name in sorted(allowed)) or "none"
            raise PromptError(f"{folder / name}: there is no {what}; placeholders are {known}")
        templates[name.removesuffix(".md")] = template
    themes = {name: _words(folder / "themes.toml", name, value) for name, value in _table(folder, "themes", contents)}
    sparks = {}
    for name, values in _table(folder, "sparks", contents):
        if not isinstance(values, list) or not values:
            raise PromptError(f"{folder / 'sparks.toml'}: {name} must be a list of hints")
        sparks[name] = tuple(_words(folder / "sparks.toml", name, value) for value in values)
    words = tuple(
        sorted(word for word in default_vocabulary().words if word.isalpha() and len(word) >= MIN_WORD_LETTERS)
    )
    return PromptBook(
        version=version,
        templates=templates,
        themes=themes,
        sparks=sparks,
        words=words,
        words_version=hashlib.sha256(" ".join(words).encode()).hexdigest()[:12],
    )


def read_examples(paths: Sequence[Path]) -> tuple[Example, ...]:
    r"""Examples from JSON lines with a `text`, and a `theme` where they have one: `TextRow` files, or the corpus's.

    Texts too long to show are left out.

    Raises:
        PromptError: A file cannot be read, or a line holds no text.
    """
    examples = []
    for given in paths:
        path = given / "kept.jsonl" if given.is_dir() else given
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise PromptError(f"{path} cannot be read ({error.strerror}); examples are JSON lines") from error
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
                text, theme = normalise(row["text"]), str(row.get("theme") or "")
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise PromptError(f'{path}, line {number}: an example is a JSON object with a "text"') from error
            if text and len(text) <= MAX_EXAMPLE_CHARACTERS:
                examples.append(Example(text, theme, simple=is_simple(text), thanks=ends_with_thanks(text)))
    return tuple(examples)


def _dealt(choices: Sequence[str], count: int, rng: random.Random) -> list[str]:
    """So many of the choices, none again before all had their turn."""
    dealt: list[str] = []
    while len(dealt) < count:
        dealt += rng.sample(choices, len(choices))
    return dealt[:count]


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "copy data_pipeline/synthesis/prompts and change what you like"
        raise PromptError(f"{path} cannot be read ({error}); a folder of prompts holds all files: {hint}") from error


def _table(folder: Path, name: str, contents: Mapping[str, str]) -> list[tuple[str, Any]]:
    path = folder / f"{name}.toml"
    try:
        table = tomllib.loads(contents[path.name])
    except tomllib.TOMLDecodeError as error:
        raise PromptError(f"{path} is not TOML: {error}") from error
    if not table:
        raise PromptError(f"{path} is empty")
    return list(table.items())


def _words(path: Path, name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise PromptError(f"{path}: {name} must be words in quotes")
    return value.strip()
