r"""Whether a text looks like program code. After `>`, a model that has seen doctests may go on with `>> import os`.

The rule goes line by line, a leading `>` or doctest prompt aside. A mark is strong or weak:

    strong   prompt        `>>> x`, `>... x`: a doctest's prompts
             statement     `def f(`, `class A:`, `import os`, `from os import path`, `for x in y:`, `while x:`, `try:`,
                           `return f(x)`, `print(`, `#include`, `function f(`, `};`
             call          `f(x, y)` all of it, or assigned: `x = f(y)`
    weak     assignment    `x = 3`, `x.y += 1`, `x[0] = y`
             operator       `==`, `!=`, `->`, `=>`, `+=`, `&&`, `||`, `::`
             brackets      `[1, 2]`, `{'a': 1}`, `x[0]`
             dotted        `os.path`, `snake_case`
             indentation   two spaces or more, or a tab, before words
             literal       a line that is a number, a quoted string, True, False or None and nothing else

A text looks like code when a line has a strong mark, or when two lines have weak ones, or one line has two of them.
Measured: 0 of the 680 greentexts of `data/greentexts/starter.jsonl`; of 3,000 doctests in the sources of Python, numpy
and scipy all with their prompts, 97 % with `>` in the prompts' place, 90 % by a first line alone.
"""

from __future__ import annotations

import re

WEAK_NEEDED = 2

_NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_STATEMENT = re.compile(
    rf"""
      (?:async\s+)?def\s+\w+\s*\(
    | class\s+\w+\s*(?:\([^)]*\))?:\s*$
    | import\s+\w+(?:\.\w+)*(?:\s+as\s+\w+)?(?:\s*,\s*\w+)*\s*;?$
    | from\s+\.*\w+(?:\.\w+)*\s+import\s+[\w*(]
    | (?:async\s+)?for\s+[\w,\s()]+\s+in\s+\S.*:$
    | (?:while|if|elif|with)\s+\S.*[\w)\]'"]:$
    | (?:try|else|finally):$
    | except\b[^.!?]*:$
    | return\s+{_NAME}\s*[\[(]
    | raise\s+[A-Z]\w*\(
    | print\s*\(
    | \#include\b
    | function\s*\w*\s*\(
    | (?:var|let|const)\s+\w+\s*=
    | [{{}}]\s*;?$
    | .*[)\w\]]\s*;\s*$
    | @\w+(?:\.\w+)*\([^)]*\)$
    | Traceback\s\(most\srecent
    """,
    re.VERBOSE,
)
# A name and its bracket touch, which prose hardly ever has: `mom(she is nice)` and `f(x)` differ by what is in it.
_CALL = re.compile(
    rf"(?:{_NAME}\s*=\s*)?(?:await\s+)?{_NAME}\([^()]*(?:\([^()]*\)[^()]*)*\)(?:\.\w+(?:\([^()]*\))?)*;?$"
)
_PROMPT = re.compile(r">>>?(?:\s|$)|\.\.\.(?:\s{2,}\S)")
_WEAK = {
    "assignment": re.compile(rf"{_NAME}(?:\[[^\]]*\])?(?:\s*,\s*{_NAME})*\s*[-+*/%|&]?=\s*[\w'\"\[({{-]"),
    "operator": re.compile(r"==|!=|->|=>|\+=|&&|\|\||::|<="),
    "brackets": re.compile(r"\[[^\]]*[,'\":][^\]]*\]|\{[^}]*[:,][^}]*\}|\w\[[-\w:'\"]+\]|\[\]|\{\}"),
    "dotted": re.compile(r"\b[a-z_]\w*\.(?:[a-z_]\w*\(|[a-z]+_\w+)|\b[a-z]+_[a-z_]+\b|__\w+__"),
    "indentation": re.compile(r"^(?: {2,}|\t+)\S"),
    "literal": re.compile(r"^\s*(?:-?\d+\.\d+|-?\d{1,9}|'[^']*'|True|False|None)\s*$"),
}


def code_marks(text: str) -> list[str]:
    """The names of the marks of code in a text, in order of appearance, a strong one with a ``!`` behind it."""
    return [mark for line in text.split("\n") for mark in _marks_of(line)]


def looks_like_code(text: str) -> bool:
    """Whether a text has a strong mark of code, or two weak ones."""
    marks = code_marks(text)
    return any(mark.endswith("!") for mark in marks) or len(marks) >= WEAK_NEEDED


def _marks_of(line: str) -> list[str]:
    body = line.removeprefix(">")
    found = []
    if _PROMPT.match(line) or _PROMPT.match(body):
        found.append("prompt!")
    bare = re.sub(r"^(?:>{1,3}|\.\.\.)?\s*", "", body)
    if _STATEMENT.match(bare):
        found.append("statement!")
    elif _CALL.match(bare):
        found.append("call!")
    return found + [name for name, pattern in _WEAK.items() if pattern.search(body if name == "indentation" else bare)]
