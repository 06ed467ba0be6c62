from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.data_pipeline.fake_openai import KEY, MODEL, Asked, FakeOpenAI, serve
from training.evaluation.judge import (
    GRADES,
    INSTRUCTIONS,
    SEPARATOR,
    Exercise,
    Grades,
    Judge,
    JudgeError,
    JudgePlan,
    beginning_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EXERCISES = [Exercise(f">be me\n>find {number}", f" buns\n>eat {number} of them") for number in range(12)]


@dataclass
class FakeJudge(FakeOpenAI):
    """Grades by the number of words in the student's part."""

    def completion(self, body: dict[str, Any], seed: str, fault: str = "") -> dict[str, Any]:
        system, user = (message["content"] for message in body["messages"])
        assert system == INSTRUCTIONS
        part = user.split(SEPARATOR)[1]
        grade = min(10, max(1, len(part.split())))
        given: dict[str, Any] = {"assessment": "Short, but sound.", **dict.fromkeys(GRADES, grade), "age": "6-7"}
        if fault == "out_of_range":
            given["plot"] = 11
        if fault == "missing":
            del given["grammar"]
        if fault == "written":
            given = {name.capitalize(): f"{value}/10" if name in GRADES else value for name, value in given.items()}
        completion = super().completion(body, seed, fault)
        message = completion["choices"][0]["message"]
        if fault not in ("refusal", "filter", "nonsense", "empty"):
            message["content"] = json.dumps(given)
        if fault == "fence":
            message["content"] = f"Here you are:\n```json\n{message['content']}\n```"
        return completion


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeJudge]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with serve(FakeJudge()) as server:
        assert isinstance(server, FakeJudge)
        yield server


def judge_of(fake: FakeJudge, directory: Path, **changes: Any) -> Judge:
    plan = replace(JudgePlan(MODEL, base_url=fake.url, timeout_s=10, attempts=3, workers=4), **changes)
    return Judge(plan, directory / "judge.jsonl")


def first_time(fault: str) -> Callable[[Asked], str]:
    return lambda asked: fault if asked.attempt == 1 else ""


def test_grades_come_in_the_order_of_the_exercises(fake: FakeJudge, tmp_path: Path) -> None:
    exercises = [Exercise(">be", " me" * count) for count in (3, 1, 7)]
    graded = judge_of(fake, tmp_path).grade(exercises)
    assert graded == [Grades(dict.fromkeys(GRADES, count), "6-7", "Short, but sound.") for count in (3, 1, 7)]
    sent = fake.asked[0].body
    schema = sent["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert set(schema["schema"]["required"]) == set(schema["schema"]["properties"])


def test_what_was_answered_is_never_asked_again(fake: FakeJudge, tmp_path: Path) -> None:
    first = judge_of(fake, tmp_path).grade(EXERCISES[:8])
    assert judge_of(fake, tmp_path).grade(EXERCISES) == first + judge_of(fake, tmp_path).grade(EXERCISES[8:])
    assert set(fake.billed.values()) == {1}
    assert len(fake.billed) == len(EXERCISES)


def test_a_text_graded_twice_is_asked_for_once(fake: FakeJudge, tmp_path: Path) -> None:
    one, other = judge_of(fake, tmp_path).grade([EXERCISES[0], EXERCISES[0]])
    assert one == other
    assert fake.billed.total() == 1


def test_another_judge_is_asked_anew(fake: FakeJudge, tmp_path: Path) -> None:
    judge_of(fake, tmp_path).grade(EXERCISES[:2])
    with pytest.raises(JudgeError, match=r"HTTP 404.*name"):
        judge_of(fake, tmp_path, model="another").grade(EXERCISES[:2])


@pytest.mark.parametrize(
    "fault", ["429", "500", "502", "503", "cut", "half_body", "out_of_range", "missing", "nonsense", "html", "empty"]
)
def test_what_fails_once_is_asked_again(fake: FakeJudge, tmp_path: Path, fault: str) -> None:
    fake.fault = first_time(fault)
    assert None not in judge_of(fake, tmp_path).grade(EXERCISES[:4])
    assert set(fake.attempts().values()) == {2}


@pytest.mark.parametrize("fault", ["fence", "written"])
def test_grades_are_read_however_they_are_written(fake: FakeJudge, tmp_path: Path, fault: str) -> None:
    fake.fault = lambda asked: fault
    assert None not in judge_of(fake, tmp_path).grade(EXERCISES[:2])
    assert fake.attempts().total() == 2


@pytest.mark.parametrize("fault", ["refusal", "filter", "policy"])
def test_a_refusal_is_no_grade_and_final(fake: FakeJudge, tmp_path: Path, fault: str) -> None:
    fake.fault = lambda asked: fault if "find 1" in asked.body["messages"][1]["content"] else ""
    for _ in range(2):
        graded = judge_of(fake, tmp_path).grade(EXERCISES[:3])
        assert [one is None for one in graded] == [False, True, False]
    assert fake.attempts().total() == 3


@pytest.mark.parametrize(("formats", "asked"), [(("json_object",), "json_object"), ((), None)])
def test_servers_without_structured_outputs_are_asked_in_words(
    fake: FakeJudge, tmp_path: Path, formats: tuple[str, ...], asked: str | None
) -> None:
    fake.formats = formats
    assert None not in judge_of(fake, tmp_path, workers=1).grade(EXERCISES)
    kinds = Counter(one.body.get("response_format", {}).get("type") for one in fake.asked)
    assert kinds[asked] == len(EXERCISES)
    assert kinds["json_schema"] == 1  # once, and never again


def test_answers_so_far_are_kept_when_the_credit_runs_out(fake: FakeJudge, tmp_path: Path) -> None:
    fake.fault = lambda asked: "quota" if len(fake.billed) >= 5 else ""
    with pytest.raises(JudgeError, match="credit"):
        judge_of(fake, tmp_path, workers=1, attempts=1).grade(EXERCISES)
    fake.fault = lambda asked: ""
    assert None not in judge_of(fake, tmp_path).grade(EXERCISES)
    assert set(fake.billed.values()) == {1}


def test_a_wrong_key_is_told_at_once(fake: FakeJudge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    with pytest.raises(JudgeError, match="check the key in OPENAI_API_KEY"):
        judge_of(fake, tmp_path, workers=1).grade(EXERCISES)
    assert not fake.asked


def test_a_server_that_is_away_is_given_up(fake: FakeJudge, tmp_path: Path) -> None:
    fake.fault = lambda asked: "503"
    with pytest.raises(JudgeError, match="in a row without an answer; start again"):
        judge_of(fake, tmp_path, attempts=1, workers=1).grade(EXERCISES)
    assert len(fake.asked) < len(EXERCISES)


def test_a_server_that_hangs_is_not_waited_for(fake: FakeJudge, tmp_path: Path) -> None:
    fake.fault = first_time("hang")
    assert None not in judge_of(fake, tmp_path, timeout_s=0.5).grade(EXERCISES[:2])


def test_answers_cut_off_by_a_crash_spoil_nothing(fake: FakeJudge, tmp_path: Path) -> None:
    judge_of(fake, tmp_path).grade(EXERCISES[:3])
    path = tmp_path / "judge.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-30], encoding="utf-8")
    assert None not in judge_of(fake, tmp_path).grade(EXERCISES[:4])
    assert sorted(fake.billed.values()) == [1, 1, 1, 2]
    judge_of(fake, tmp_path).grade(EXERCISES[:4])
    assert fake.billed.total() == 5


def test_without_a_key_or_a_server_there_is_no_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(JudgeError, match="OPENAI_API_KEY"):
        Judge(JudgePlan(MODEL), tmp_path / "judge.jsonl")


@pytest.mark.parametrize("text", [">be me\n>find a red ball\n>give it back", ">a b c d e f g h"])
def test_beginnings_are_half_a_text_cut_within_a_line(text: str) -> None:
    begun = beginning_of(text)
    assert text.startswith(begun)
    assert len(text) // 2 <= len(begun) < len(text)
    assert re.match(r" \w", text[len(begun) :])
