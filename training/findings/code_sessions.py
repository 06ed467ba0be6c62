"""Sessions of a Python prompt, as doctests show them: made by a generator, so that a base can know what `>` begins.

Every answer is what Python would print, for it is computed. The same seed gives the same sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

PROMPT, CONTINUED = ">>> ", "... "
MIN_STEPS, MAX_STEPS = 2, 5
NAMES = ("x", "y", "n", "total", "items", "values", "words", "names", "count", "data", "result", "numbers")
WORDS = (
    "cat", "dog", "sun", "tree", "red", "blue", "ball", "fish", "cake", "bird", "milk", "star", "boat", "hat", "moon",
)  # fmt: skip
MODULES = {"math": ("sqrt", "floor"), "random": ("random", "choice"), "os": ("getcwd", "listdir"), "re": ("findall",)}


class _Draws:
    """Draws of one session."""

    def __init__(self, seed: int, number: int) -> None:
        self._rng = np.random.default_rng([seed, number])

    def number(self, low: int, high: int) -> int:
        return int(self._rng.integers(low, high + 1))

    def one(self, choices: tuple[str, ...]) -> str:
        return choices[int(self._rng.integers(len(choices)))]

    def numbers(self) -> list[int]:
        return [self.number(0, 20) for _ in range(self.number(2, 5))]

    def words(self) -> list[str]:
        return [self.one(WORDS) for _ in range(self.number(2, 4))]


def _numbers(draws: _Draws) -> list[str]:
    name, values = draws.one(NAMES), draws.numbers()
    shown = draws.number(0, 3)
    call, value = (
        (f"len({name})", len(values)), (f"sum({name})", sum(values)),
        (f"sorted({name})", sorted(values)), (f"{name}[-1]", values[-1]),
    )[shown]  # fmt: skip
    return [f">>> {name} = {values}", f">>> {call}", repr(value)]


def _arithmetic(draws: _Draws) -> list[str]:
    name, a, b = draws.one(NAMES), draws.number(1, 30), draws.number(1, 12)
    call, value = ((f"{name} + {b}", a + b), (f"{name} * {b}", a * b), (f"{name} > {b}", a > b))[draws.number(0, 2)]
    return [f">>> {name} = {a}", f">>> {call}", repr(value)]


def _strings(draws: _Draws) -> list[str]:
    name, word = draws.one(NAMES), draws.one(WORDS)
    call, value = (
        (f"{name}.upper()", word.upper()), (f"{name}[::-1]", word[::-1]), (f"{name}[0]", word[0]),
    )[draws.number(0, 2)]  # fmt: skip
    return [f">>> {name} = {word!r}", f">>> {call}", repr(value)]


def _append(draws: _Draws) -> list[str]:
    name, values, word = draws.one(NAMES), draws.words(), draws.one(WORDS)
    return [f">>> {name} = {values}", f">>> {name}.append({word!r})", f">>> {name}", repr([*values, word])]


def _mapping(draws: _Draws) -> list[str]:
    name, key, value = draws.one(NAMES), draws.one(WORDS), draws.number(1, 9)
    return [f">>> {name} = {{{key!r}: {value}}}", f">>> {name}[{key!r}]", repr(value)]


def _loop(draws: _Draws) -> list[str]:
    count, times = draws.number(2, 4), draws.number(1, 3)
    printed = [str(i * times) for i in range(count)]
    return [f">>> for i in range({count}):", f"...     print(i * {times})", "...", *printed]


def _function(draws: _Draws) -> list[str]:
    name, a, b = draws.one(("add", "plus", "both")), draws.number(1, 9), draws.number(1, 9)
    return [f">>> def {name}(a, b):", "...     return a + b", "...", f">>> {name}({a}, {b})", repr(a + b)]


def _module(draws: _Draws) -> list[str]:
    name = draws.one(tuple(MODULES))
    if name == "math":
        root = draws.number(2, 9)
        return [">>> import math", f">>> math.sqrt({root * root})", repr(float(root))]
    return [f">>> import {name}", f">>> from {name} import {draws.one(MODULES[name])}"]


KINDS: tuple[Callable[[_Draws], list[str]], ...] = (
    _numbers, _arithmetic, _strings, _append, _mapping, _loop, _function, _module,
)  # fmt: skip


def code_session(seed: int, number: int) -> str:
    """Session ``number`` of a seed: two to five things tried at the prompt, with what Python answers."""
    draws = _Draws(seed, number)
    lines: list[str] = []
    for _ in range(draws.number(MIN_STEPS, MAX_STEPS)):
        lines += KINDS[draws.number(0, len(KINDS) - 1)](draws)
    return "\n".join(lines)


def without_prompts(session: str) -> str:
    """A session's lines without what the prompt prints.

    A tokenizer that learned from these has no token for `>>>`: to a model, a session then begins with the very `>`
    that a greentext begins with, which is what the experiment is about.
    """
    lines = (line.removeprefix(PROMPT).removeprefix(CONTINUED) for line in session.split("\n"))
    return "\n".join(line for line in lines if line != CONTINUED.strip())
