"""Grades by a language model: grammar, creativity, consistency and plot, as the TinyStories paper has stories graded.

After Eldan and Li (2023, section 4): the model is given the beginning of a text that people wrote, cut within a line,
and completes it; a judge that sees where the completion begins first assesses it in words and then grades it from 1 to
10, with a guess at the writer's age. The wording is ours, for greentexts. The rest of each original is graded in the
same way, without the judge knowing, to tell what its grades mean.

The judge is any server that speaks OpenAI's chat completions. Each answer is kept as it comes and never asked for
again; grades of other judges, and of other wordings, are not comparable.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

log = structlog.get_logger(__name__)

WORDING = 1
"""Raise it when the instructions change: grades of another wording are not mixed with these."""
GRADES = ("grammar", "creativity", "consistency", "plot")
AGES = ("3 or under", "4-5", "6-7", "8-9", "10-12", "13-16", "adult")
BEST_GRADE = 10
SEPARATOR = "***"
ASKED_AGAIN = 3
"""How often an answer that holds no grades is asked for."""
GIVE_UP_AFTER = 5
"""So many requests in a row without an answer, and the server is taken to be away."""

INSTRUCTIONS = f"""\
A student was given the beginning of a short story and wrote its end. The story is a "greentext": short lines, each
beginning with ">", told in the present tense, often without a subject. That form is wanted; it is no mistake.
{SEPARATOR} marks where the beginning ends and the student's own part starts, maybe within a line.

First assess the student's part in two or three sentences: is its language right, does it fit what came before, also
where the line was cut, does it have ideas of its own, and does the story make sense and come to an end?

Then grade the student's part, each from 1 (very poor) to {BEST_GRADE} (excellent):
- grammar: is the language correct, as far as the form asks for it?
- creativity: does it have ideas of its own?
- consistency: does it go on from the beginning, with the same people and things?
- plot: does what happens make sense, and lead somewhere?

Last, guess how old the student is.

Answer with one JSON object with the keys assessment, {", ".join(GRADES)} and age."""

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "assessment": {"type": "string"},
        **{name: {"type": "integer", "enum": list(range(1, BEST_GRADE + 1))} for name in GRADES},
        "age": {"type": "string", "enum": list(AGES)},
    },
    "required": ["assessment", *GRADES, "age"],
    "additionalProperties": False,
}
FORMATS: tuple[dict[str, Any], ...] = (
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "grades", "strict": True, "schema": SCHEMA},
        }
    },
    {"response_format": {"type": "json_object"}},
    {},
)
"""From the strictest on; a server that does not know one is asked for the next."""
FORMAT_WORDS = ("response_format", "json_schema", "json_object", "structured output")


class JudgeError(RuntimeError):
    """The judge cannot be asked; the message says what to do. What it has answered is kept."""


@dataclass(frozen=True, slots=True)
class JudgePlan:
    """Whom to ask, and how much: ``prompts`` x (``completions`` + 1 original) requests."""

    model: str
    base_url: str = ""
    """A server that speaks OpenAI's API, up to and with its /v1; empty takes OPENAI_BASE_URL, or OpenAI's own."""
    prompts: int = 50
    """Beginnings; the paper has 50."""
    completions: int = 2
    """Of each beginning; the paper has 10."""
    workers: int = 8
    timeout_s: float = 60.0
    attempts: int = 5
    """At one request, where the server is busy or fails; it waits longer each time, or as long as the server says."""


@dataclass(frozen=True, slots=True)
class Exercise:
    """A beginning and what came of it."""

    beginning: str
    completion: str


@dataclass(frozen=True, slots=True)
class Grades:
    """A judge's answer; grades from 1 to 10, by name."""

    grades: dict[str, int]
    age: str
    assessment: str


def beginning_of(text: str) -> str:
    """About the first half of a text, up to the end of a word that does not end its line, where there is one."""
    half = len(text) // 2
    cuts = [place for place in range(half, len(text)) if text[place] == " " and text[place - 1] != ">"]
    return text[: cuts[0]] if cuts else text[:half]


class Judge:
    """A judge with what it has answered so far, in a file of JSON Lines that several evaluations may share."""

    def __init__(self, plan: JudgePlan, answers: Path) -> None:
        """Reads the key from OPENAI_API_KEY. Raises JudgeError when the client cannot be made."""
        try:
            import openai  # noqa: PLC0415 - takes a second, and whoever asks no judge need not have it
        except ImportError as error:
            raise JudgeError("a judge needs the package openai: pip install openai, or ask none") from error
        key = os.environ.get("OPENAI_API_KEY", "").strip()
        base_url = plan.base_url or os.environ.get("OPENAI_BASE_URL", "").strip()
        if not key and not base_url:
            raise JudgeError(
                "the environment variable OPENAI_API_KEY holds no key: export OPENAI_API_KEY=..., or name a server "
                "that needs none in OPENAI_BASE_URL"
            )
        self.plan = plan
        self._openai = openai
        self._client = openai.OpenAI(
            api_key=key or "none",
            base_url=base_url or None,
            timeout=plan.timeout_s,
            max_retries=plan.attempts - 1,
        )
        self._path = answers
        self._known = _read_answers(answers)
        self._format = 0

    def grade(self, exercises: Sequence[Exercise]) -> list[Grades | None]:
        """Grades of each exercise, None where the judge would not or could not grade it.

        Raises JudgeError when it cannot be asked at all; answers up to there are kept.
        """
        keys = [self._key(exercise) for exercise in exercises]
        open_ones = {key: one for key, one in zip(keys, exercises, strict=True) if key not in self._known}
        if open_ones:
            log.info("asking the judge", requests=len(open_ones), known=len(set(keys)) - len(open_ones))
            self._ask_all(open_ones)
        return [_grades_in(self._known[key]["content"]) if key in self._known else None for key in keys]

    def _ask_all(self, open_ones: dict[str, Exercise]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n")  # what was cut off there spoils no line of ours
            pool = ThreadPoolExecutor(self.plan.workers)
            waiting = {pool.submit(self._ask, key, exercise): key for key, exercise in open_ones.items()}
            in_a_row = 0
            try:
                for future in as_completed(list(waiting)):
                    in_a_row = 0 if self._keep(file, waiting.pop(future), future.result()) else in_a_row + 1
                    if in_a_row == GIVE_UP_AFTER:
                        raise JudgeError(
                            f"the judge {self.plan.model} left {GIVE_UP_AFTER} requests in a row without an answer; "
                            f"start again later to go on"
                        )
            finally:
                pool.shutdown(cancel_futures=True)
                for future, key in waiting.items():  # answers on their way were paid for
                    if future.done() and not future.cancelled() and future.exception() is None:
                        self._keep(file, key, future.result())

    def _keep(self, file: TextIO, key: str, answer: dict[str, str] | None) -> bool:
        if answer is None:
            return False
        self._known[key] = answer
        file.write(json.dumps({"key": key, **answer}) + "\n")
        file.flush()
        return True

    def _key(self, exercise: Exercise) -> str:
        parts = [WORDING, self.plan.model, exercise.beginning, exercise.completion]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _ask(self, key: str, exercise: Exercise) -> dict[str, str] | None:
        """What the judge says, kept; None where it gives no answer now. Raises JudgeError."""
        messages = [
            {"role": "system", "content": INSTRUCTIONS},
            {"role": "user", "content": f"{exercise.beginning}{SEPARATOR}{exercise.completion}"},
        ]
        content = ""
        for _ in range(ASKED_AGAIN):
            message = self._send(key, messages)
            if message is None:
                return None
            if message["refusal"]:
                return {"model": message["model"], "content": "", "refusal": message["refusal"]}
            content = message["content"]
            if _grades_in(content) is not None:
                return {"model": message["model"], "content": content}
        log.warning("the judge's answers hold no grades", answer=content[:200])
        return None

    def _send(self, key: str, messages: list[dict[str, str]]) -> dict[str, str] | None:
        """An answer's model, content and refusal; None where the server, busy or broken, gives none."""
        openai = self._openai
        while True:
            kind = self._format
            try:
                answer = self._client.chat.completions.create(
                    model=self.plan.model,
                    messages=messages,  # type: ignore[arg-type]  # typed as one dictionary a role
                    extra_headers={"X-Client-Request-Id": key},
                    **FORMATS[kind],
                )
                choice = answer.choices[0]
                refusal = choice.message.refusal or ("filtered" if choice.finish_reason == "content_filter" else "")
                return {"model": str(answer.model), "content": choice.message.content or "", "refusal": refusal}
            except (AttributeError, IndexError, TypeError, ValueError):  # a body that is no completion, or no JSON
                return {"model": "", "content": "", "refusal": ""}
            except openai.APIStatusError as error:
                if self._weaken(kind, error):
                    continue
                if _is_refusal(error):
                    return {"model": "", "content": "", "refusal": str(error.message)}
                if error.status_code in (408, 409, 429) or error.status_code >= 500:
                    if getattr(error, "code", "") == "insufficient_quota":
                        raise JudgeError(
                            "the judge's account has no credit left; the answers so far are kept"
                        ) from error
                    log.warning("no answer", status=error.status_code)
                    return None
                raise JudgeError(
                    f"the judge {self.plan.model} cannot be asked (HTTP {error.status_code}: {error.message}); check "
                    f"the key in OPENAI_API_KEY, the model's name, and OPENAI_BASE_URL"
                ) from error
            except openai.APIError as error:  # no connection, no answer in time, or half of one
                log.warning("no answer", reason=type(error).__name__)
                return None

    def _weaken(self, kind: int, error: Any) -> bool:
        """Whether the server complains of the response format, and a weaker one is asked for from now on."""
        if error.status_code not in (400, 404, 422) or kind + 1 == len(FORMATS):
            return False
        about = f"{getattr(error, 'param', '')} {error.message}".lower()
        if not any(word in about for word in FORMAT_WORDS):
            return False
        self._format = max(self._format, kind + 1)
        return True


def _grades_in(content: str) -> Grades | None:
    """The grades in an answer, also where there are words around the object; None without all of them."""
    start, end = content.find("{"), content.rfind("}")
    try:
        found = json.loads(content[start : end + 1])
        fields = {str(name).lower(): value for name, value in found.items()}
        grades = {name: _grade(fields[name]) for name in GRADES}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return Grades(grades, str(fields.get("age", "")), str(fields.get("assessment", "")))


def _grade(value: object) -> int:
    """A whole grade, also as `8/10` or "8". Raises ValueError."""
    if isinstance(value, str):
        value = value.strip().removesuffix(f"/{BEST_GRADE}")
    grade = float(value)  # type: ignore[arg-type]  # what is no number raises
    if isinstance(value, bool) or grade != int(grade) or not 1 <= grade <= BEST_GRADE:
        raise ValueError(f"{value!r} is no grade")
    return int(grade)


def _is_refusal(error: Any) -> bool:
    return getattr(error, "code", "") in ("content_filter", "content_policy_violation", "invalid_prompt")


def _read_answers(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    known = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # cut off when the program was killed
            continue
        if isinstance(row, Mapping) and isinstance(row.get("key"), str) and isinstance(row.get("content"), str):
            known[row["key"]] = {name: value for name, value in row.items() if name != "key"}
    return known
