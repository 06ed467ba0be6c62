"""The stage against a server that speaks OpenAI's API over real sockets, and fails in all the ways it knows."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from data_pipeline.results import read_rows
from data_pipeline.rows import Source, TextRow
from data_pipeline.stage import OtherSettingsError, StageError
from data_pipeline.synthesis import SynthesisSettings, run
from data_pipeline.synthesis.errors import AnswersError, BudgetSpentError, ServerRefusesError, SynthesisError
from data_pipeline.synthesis.errors import UnansweredError as Unanswered
from data_pipeline.synthesis.ledger import FILE, MICRO, Ledger
from greentext.genres import ends_with_thanks
from greentext.text import parse
from tests.data_pipeline import fake_openai
from tests.data_pipeline.fake_openai import KEY, MODEL, Asked, FakeOpenAI, story

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THEMES = ("food", "animals")
FAULTS = ("429", "500", "502", "503", "cut", "half_body", "html", "length", "nonsense", "empty", "fence", "numbered")
PAID_IN_VAIN = ("cut", "half_body")
"""The server did its work, and nobody got it: the only answers that may be paid for again."""


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with fake_openai.serve() as server:
        yield server


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_pipeline.synthesis.pace.FIRST_DELAY_S", 0.01)


def settings(fake: FakeOpenAI, **more: Any) -> SynthesisSettings:
    values: dict[str, Any] = {
        "model": MODEL, "base_url": fake.url, "themes": THEMES, "samples": 2, "texts_per_request": 3, "timeout_s": 60.0,
        "vocabulary_words": 20,
    }  # fmt: skip
    return SynthesisSettings(**{**values, **more})


def rows(folder: Path) -> list[TextRow]:
    return list(read_rows(folder, TextRow))


def dropped(folder: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (folder / "dropped.jsonl").read_bytes().splitlines()]


def some_of_the_time(share: float, seed: int = 5) -> Callable[[Asked], str]:
    """A fault for that share of attempts. Which ones depends on the prompt and how often it came, not on ports."""
    seen: Counter[str] = Counter()

    def fault(asked: Asked) -> str:
        prompt = asked.body["messages"][1]["content"]
        seen[prompt] += 1
        rng = random.Random(f"{seed}/{prompt}/{seen[prompt]}")
        return rng.choice(FAULTS) if rng.random() < share else ""

    return fault


def assert_nothing_lost_and_nothing_paid_twice(fake: FakeOpenAI, folder: Path) -> None:
    """Every whole text that the server delivered is in the results, and it never had to answer again what arrived."""
    assert max(fake.delivered.values()) == 1
    in_vain = Counter(asked.id for asked in fake.asked if asked.fault in PAID_IN_VAIN)
    assert fake.billed == fake.delivered + in_vain
    usable = {asked.id for asked in fake.asked if asked.fault in ("", "fence", "numbered")}
    texts = Counter(row.text for row in rows(folder))
    for id_ in usable:
        for number in range(3):
            assert texts[story(f"{id_}/{number}")] == 1


# ------------------------------------------------------------------------------------------ a good day


def test_texts_of_all_kinds_and_themes(fake: FakeOpenAI, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = run([], out, settings(fake))
    assert (summary.items, summary.kept, summary.dropped) == (12, 36, {})
    assert Counter((row.kind, row.theme) for row in rows(out)) == {
        (kind, theme): 6 for kind in ("full", "simple", "thanks") for theme in THEMES
    }
    for row in rows(out):
        assert row.source is Source.SYNTHETIC
        assert str(parse(row.text)) == row.text
        assert row.origin.startswith(f"{MODEL}-2026-01-01, prompts ")
    assert len({row.id for row in rows(out)}) == 36
    assert summary.counted["answers"] == 12
    assert summary.counted["input_tokens"] == 12 * fake_openai.INPUT_TOKENS


def test_what_goes_over_the_wire(fake: FakeOpenAI, tmp_path: Path) -> None:
    run([], tmp_path / "out", settings(fake, samples=1, temperature=0.7, reasoning_effort="low", max_output_tokens=99))
    assert fake.authorisations == {f"Bearer {KEY}"}
    for asked in fake.asked:
        body = asked.body
        assert set(body) == {
            "model", "messages", "max_completion_tokens", "temperature", "reasoning_effort", "response_format"
        }  # fmt: skip
        assert (body["temperature"], body["reasoning_effort"], body["max_completion_tokens"]) == (0.7, "low", 99)
        assert body["response_format"]["json_schema"]["strict"] is True
        assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert len({asked.id for asked in fake.asked}) == 6
    assert len({asked.body["messages"][1]["content"] for asked in fake.asked}) == 6


def test_the_key_is_written_nowhere(fake: FakeOpenAI, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run([], tmp_path / "out", settings(fake, samples=1))
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()
    assert KEY not in "".join(capfd.readouterr())


def test_many_are_in_flight_but_no_more_than_said(fake: FakeOpenAI, tmp_path: Path) -> None:
    fake.latency_s = 0.1
    run([], tmp_path / "out", settings(fake, concurrency=5))
    assert fake.most_in_flight == 5


def test_the_limit_on_requests_holds(fake: FakeOpenAI, tmp_path: Path) -> None:
    run([], tmp_path / "out", settings(fake, samples=1, requests_per_minute=1200))
    begun = sorted(asked.at_s for asked in fake.asked)
    assert begun[-1] - begun[0] >= 5 * 0.05 * 0.9


def test_a_finished_run_asks_nothing_and_needs_no_key(
    fake: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run([], tmp_path / "out", settings(fake, samples=1))
    monkeypatch.delenv("OPENAI_API_KEY")
    assert run([], tmp_path / "out", settings(fake, samples=1)) == first
    assert len(fake.asked) == 6


def test_beginning_anew_pays_nothing_and_gives_the_same(fake: FakeOpenAI, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run([], out, settings(fake))
    again = run([], out, settings(fake, concurrency=1), restart=True)
    assert again.kept_sha256 == first.kept_sha256
    assert len(fake.asked) == 12


def test_more_samples_pay_only_for_those(fake: FakeOpenAI, tmp_path: Path) -> None:
    run([], tmp_path / "small", settings(fake, samples=1, answers=tmp_path / "answers"))
    run([], tmp_path / "large", settings(fake, samples=3, answers=tmp_path / "answers"))
    assert len(fake.asked) == 18
    assert max(fake.attempts().values()) == 1
    assert {row.text for row in rows(tmp_path / "small")} < {row.text for row in rows(tmp_path / "large")}


def test_examples_are_shown_and_those_of_the_kind_only(fake: FakeOpenAI, tmp_path: Path) -> None:
    examples = tmp_path / "examples.jsonl"
    texts = [">be me\n>cat sits on map\n>thank you, cat", ">be me\n>ontological perplexity ensues\n>profound"]
    examples.write_text("".join(json.dumps({"text": text, "theme": "food", "more": 1}) + "\n" for text in texts))
    run([examples], tmp_path / "out", settings(fake, samples=1))
    for asked in fake.asked:
        prompt = asked.body["messages"][1]["content"]
        simple, thanks = "readers of four years" in prompt, "the very last line thanks" in prompt
        assert ("ontological" in prompt) == (not simple and not thanks)
        assert "cat sits on map" in prompt


def test_other_examples_or_prompts_are_another_result(fake: FakeOpenAI, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run([], out, settings(fake, samples=1))
    examples = tmp_path / "examples.jsonl"
    examples.write_text(json.dumps({"text": ">be me\n>cat\n>thanks, cat"}) + "\n")
    with pytest.raises(OtherSettingsError, match="examples"):
        run([examples], out, settings(fake, samples=1))
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    for path in (Path(fake_openai.__file__).parents[2] / "data_pipeline/synthesis/prompts").iterdir():
        (prompts / path.name).write_text(path.read_text())
    assert run([], out, settings(fake, samples=1, prompts=prompts)).items == 6
    with (prompts / "full.md").open("a") as file:
        file.write("Make them rhyme.")
    with pytest.raises(OtherSettingsError, match="prompts"):
        run([], out, settings(fake, samples=1, prompts=prompts))


# ------------------------------------------------------------------------------------------- bad days


def test_with_a_third_of_all_attempts_failing_nothing_is_lost_or_paid_twice(fake: FakeOpenAI, tmp_path: Path) -> None:
    fake.fault = some_of_the_time(0.35)
    out = tmp_path / "out"
    summary = run([], out, settings(fake, samples=30, extra_asks=3, attempts=12))
    assert summary.items == 180
    assert sum(bool(asked.fault) for asked in fake.asked) > 0.3 * len(fake.asked)
    assert {asked.fault for asked in fake.asked} == {"", *FAULTS}
    assert_nothing_lost_and_nothing_paid_twice(fake, out)
    assert {(row.kind, row.theme) for row in rows(out)} == {
        (kind, theme) for kind in ("full", "simple", "thanks") for theme in THEMES
    }
    for fault in ("429", "500", "502", "503"):
        there = sum(asked.fault == fault for asked in fake.asked)
        assert summary.counted[f"failed_http_{fault}"] == there
    assert summary.counted["failed_cut_connection"] == sum(asked.fault == "cut" for asked in fake.asked)
    # What was useless is counted too, and set aside.
    assert summary.dropped["malformed"] == sum(asked.fault == "nonsense" for asked in fake.asked)
    assert summary.dropped["empty_answer"] == sum(asked.fault == "empty" for asked in fake.asked)
    assert summary.counted["answers_cut_off"] == sum(asked.fault == "length" for asked in fake.asked)
    assert sum(summary.dropped.values()) == len(dropped(out))


@pytest.mark.slow
@pytest.mark.parametrize("answers_before", [12, 50])
def test_a_kill_in_the_midst_loses_nothing_and_pays_nothing_twice(
    fake: FakeOpenAI, tmp_path: Path, answers_before: int
) -> None:
    fake.fault, fake.latency_s = some_of_the_time(0.3), 0.05
    made = settings(
        fake, samples=25, concurrency=4, extra_asks=2, attempts=12, prices=(f"{MODEL}=0.15,0.6",), budget_dollars=10
    )
    out = tmp_path / "out"
    program = (
        "import sys; from pathlib import Path; from data_pipeline.synthesis import SynthesisSettings, run\n"
        "import data_pipeline.synthesis.pace as pace; pace.FIRST_DELAY_S = 0.01\n"
        "run([], Path(sys.argv[1]), SynthesisSettings.model_validate_json(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, str(out), made.model_dump_json()]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL) as process:
        while sum(fake.delivered.values()) < answers_before and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None, "it was killed too late to test anything"
        process.send_signal(signal.SIGKILL)
    time.sleep(0.2)  # the server notices
    answers = tmp_path / "out.answers" / FILE
    kept = {orjson.loads(line).get("answer") for line in answers.read_bytes().splitlines()[:-1]}
    sent_before = len(fake.asked)
    assert len(kept) > 1
    with Ledger(tmp_path / "out.answers") as ledger:
        assert ledger.lost_before <= 4
        unknown = ledger.lost_before

    summary = run([], out, made)
    assert summary.items == 150
    assert not {asked.id for asked in fake.asked[sent_before:]} & kept, "what was paid for and kept is not asked again"
    twice = [id_ for id_, count in fake.delivered.items() if count > 1]
    assert len(twice) <= unknown + summary.counted.get("failed_timeout", 0), (
        "only what was in flight at the kill can be paid for twice"
    )
    texts = Counter(row.text for row in rows(out))
    assert max(texts.values()) == 1
    for asked in fake.asked[sent_before:]:
        if asked.fault in ("", "fence", "numbered"):
            assert texts[story(f"{asked.id}/0")] == 1
    # The books agree with the server's, but for what nobody can know: those are counted at their most.
    with Ledger(tmp_path / "out.answers") as ledger:
        assert ledger.spent >= sum(fake.billed.values()) * fake_openai.INPUT_TOKENS * 0.15


@pytest.mark.slow
def test_an_interrupt_waits_for_what_is_paid_for(fake: FakeOpenAI, tmp_path: Path) -> None:
    fake.latency_s = 0.5
    made = settings(fake, samples=5, concurrency=3)
    out = tmp_path / "out"
    program = (
        "import sys; from pathlib import Path; from data_pipeline.synthesis import SynthesisSettings, run\n"
        "try: run([], Path(sys.argv[1]), SynthesisSettings.model_validate_json(sys.argv[2]))\n"
        "except KeyboardInterrupt: sys.exit(130)"
    )
    command = [sys.executable, "-c", program, str(out), made.model_dump_json()]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        while len(fake.asked) < 3 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "waiting for 3 requests in flight" in said
    assert sum(fake.billed.values()) == 3
    with Ledger(tmp_path / "out.answers") as ledger:
        assert all(asked.id in ledger for asked in fake.asked)
        assert ledger.lost_before == 0


def test_answers_that_hold_nothing_are_asked_anew_as_often_as_said(fake: FakeOpenAI, tmp_path: Path) -> None:
    fake.fault = lambda _: "nonsense"
    summary = run([], tmp_path / "out", settings(fake, samples=1, extra_asks=2))
    assert (summary.kept, summary.dropped) == (0, {"malformed": 18})
    assert max(fake.attempts().values()) == 1, "another request each time, so that a cache of the server is no help"
    assert dropped(tmp_path / "out")[0]["row"]["raw"].startswith("As a language model")


@pytest.mark.parametrize("fault", ["refusal", "filter", "policy"])
def test_refusals_are_counted_and_kept_so_that_nobody_asks_again(fake: FakeOpenAI, tmp_path: Path, fault: str) -> None:
    fake.fault = lambda _: fault
    made = settings(fake, samples=1, extra_asks=0)
    assert run([], tmp_path / "out", made).dropped == {"refused": 6}
    assert run([], tmp_path / "out", made, restart=True).dropped == {"refused": 6}
    assert len(fake.asked) == 6


def test_a_cut_off_answer_keeps_its_whole_texts(fake: FakeOpenAI, tmp_path: Path) -> None:
    fake.fault = lambda _: "length"
    summary = run([], tmp_path / "out", settings(fake, samples=1, extra_asks=0))
    assert summary.kept == 12
    assert summary.dropped == {"cut_off": 6}
    assert summary.counted["answers_cut_off"] == 6
    delivered = {story(f"{asked.id}/{number}") for asked in fake.asked for number in (0, 1)}
    assert {row.text for row in rows(tmp_path / "out")} == delivered


@pytest.mark.parametrize("formats", [("json_object",), ()])
def test_a_server_without_structured_outputs_is_asked_for_less(
    fake: FakeOpenAI, tmp_path: Path, formats: tuple[str, ...]
) -> None:
    fake.formats = formats
    summary = run([], tmp_path / "out", settings(fake, concurrency=2))
    assert summary.kept == 36
    refused = len(fake.asked) - 12
    assert refused <= 2 * (2 - len(formats)), "asked in vain once by each that was in flight, and never again"
    # The answers are no strangers to a later run that asks the same.
    run([], tmp_path / "out", settings(fake, concurrency=2), restart=True)
    assert len(fake.asked) == 12 + refused


def test_plain_is_asked_for_where_it_is_set(fake: FakeOpenAI, tmp_path: Path) -> None:
    assert run([], tmp_path / "out", settings(fake, answer_format="plain")).kept == 36
    assert all("response_format" not in asked.body for asked in fake.asked)


@pytest.mark.parametrize(
    ("change", "settings_change", "message"),
    [
        ({}, {"model": "no-such"}, "--model"),
        ({"output_limit_names": ("max_tokens",)}, {}, "--output-limit-name max_tokens"),
        (
            {"output_limit_names": ("max_completion_tokens",)},
            {"output_limit_name": "max_tokens"},
            "max_completion_tokens",
        ),
        ({"fault": lambda _: "quota"}, {}, "credit"),
        ({"fault": lambda _: "429_long"}, {}, "--longest-wait-s"),
    ],
)
def test_what_cannot_succeed_ends_the_run_at_once_and_says_what_to_do(
    fake: FakeOpenAI, tmp_path: Path, change: dict[str, Any], settings_change: dict[str, Any], message: str
) -> None:
    for name, value in change.items():
        setattr(fake, name, value)
    with pytest.raises(ServerRefusesError, match=message):
        run([], tmp_path / "out", settings(fake, concurrency=2, **settings_change))
    assert len(fake.asked) <= 4
    assert fake.billed == {}


def test_a_wrong_key_and_a_missing_one(fake: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    with pytest.raises(ServerRefusesError, match="OPENAI_API_KEY"):
        run([], tmp_path / "out", settings(fake))
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(SynthesisError, match="export OPENAI_API_KEY"):
        run([], tmp_path / "other", SynthesisSettings())


def test_after_such_an_end_the_same_command_goes_on(fake: FakeOpenAI, tmp_path: Path) -> None:
    fake.fault = lambda asked: "quota" if len(fake.asked) > 5 else ""
    with pytest.raises(ServerRefusesError):
        run([], tmp_path / "out", settings(fake, concurrency=2))
    fake.fault = lambda _: ""
    summary = run([], tmp_path / "out", settings(fake, concurrency=2))
    assert summary.kept == 36
    assert set(fake.delivered.values()) == {1}


def test_a_server_that_is_away_is_given_up_and_asked_again_by_the_next_run(fake: FakeOpenAI, tmp_path: Path) -> None:
    away = settings(fake, samples=50, concurrency=2, attempts=2)
    fake.fault = lambda _: "503"
    with pytest.raises(Unanswered, match="start again"):
        run([], tmp_path / "out", away)
    assert len(fake.asked) < 20, "not all 300 requests are tried in vain"
    fake.fault = lambda _: ""
    assert run([], tmp_path / "out", away).kept == 900


def test_nobody_listens(tmp_path: Path) -> None:
    nobody = FakeOpenAI(url="http://127.0.0.1:9/v1")
    with pytest.raises(Unanswered, match="unreachable"):
        run([], tmp_path / "out", settings(nobody, attempts=2, prices=(f"{MODEL}=100,100",), budget_dollars=1000))
    with Ledger(tmp_path / "out.answers") as ledger:
        assert ledger.spent == 0, "what never left is not counted as spent"


def test_one_that_fails_does_not_stop_the_others(fake: FakeOpenAI, tmp_path: Path) -> None:
    fake.fault = lambda asked: "500" if "simple" not in tmp_path.name and asked.id == fake.asked[0].id else ""
    with pytest.raises(Unanswered, match="1 requests"):
        run([], tmp_path / "out", settings(fake, attempts=3))
    assert sum(fake.billed.values()) == 11
    fake.fault = lambda _: ""
    assert run([], tmp_path / "out", settings(fake, attempts=3)).kept == 36
    assert set(fake.billed.values()) == {1}


def test_an_answer_that_does_not_come_counts_as_perhaps_paid(fake: FakeOpenAI, tmp_path: Path) -> None:
    fake.fault = lambda asked: "hang" if asked.attempt == 1 else ""
    made = settings(
        fake, samples=1, themes=("food",), kinds=("full",), timeout_s=0.3, prices=(f"{MODEL}=1,1",), budget_dollars=1
    )
    summary = run([], tmp_path / "out", made)
    assert summary.counted["failed_timeout"] == 1
    with Ledger(tmp_path / "out.answers") as ledger:
        assert ledger.spent == pytest.approx(
            summary.counted["cost_microdollars"] + summary.counted["perhaps_billed_microdollars"], abs=1
        )
        assert summary.counted["perhaps_billed_microdollars"] > 2500


# --------------------------------------------------------------------------------------------- money


def spent_by_the_servers_books(fake: FakeOpenAI) -> float:
    """Microdollars, at 1000 for an input token and 2000 for an output token."""
    total = 0.0
    for asked in fake.asked:
        if asked.id in fake.billed:
            usage = fake.completion(asked.body, asked.id, asked.fault)["usage"]
            total += 1000 * usage["prompt_tokens"] + 2000 * usage["completion_tokens"]
    return total


@pytest.mark.parametrize("concurrency", [1, 8])
def test_the_budget_is_never_passed_and_mostly_used(fake: FakeOpenAI, tmp_path: Path, concurrency: int) -> None:
    fake.latency_s = 0.01
    made = settings(
        fake, samples=20, concurrency=concurrency, prices=(f"{MODEL}=1000,2000",), budget_dollars=40.0,
        max_output_tokens=1000, vocabulary_words=0,
    )  # fmt: skip
    with pytest.raises(BudgetSpentError, match=r"\$40\.0000 is spent.*--budget-dollars"):
        run([], tmp_path / "out", made)
    spent = spent_by_the_servers_books(fake)
    assert 30 * MICRO < spent <= 40 * MICRO
    asked = len(fake.asked)
    with pytest.raises(BudgetSpentError):
        run([], tmp_path / "out", made)
    assert len(fake.asked) == asked, "a second run has no budget of its own"
    more = made.model_copy(update={"budget_dollars": 1000.0})
    assert run([], tmp_path / "out", more).kept == 360
    assert set(fake.billed.values()) == {1}


def test_faults_do_not_help_to_pass_the_budget(fake: FakeOpenAI, tmp_path: Path) -> None:
    fake.fault = some_of_the_time(0.5)
    made = settings(
        fake, samples=20, attempts=30, prices=(f"{MODEL}=1000,2000",), budget_dollars=60.0, max_output_tokens=1000,
        vocabulary_words=0,
    )  # fmt: skip
    with pytest.raises(BudgetSpentError):
        run([], tmp_path / "out", made)
    billed = sum(
        fake.completion(asked.body, asked.id, asked.fault)["usage"]["completion_tokens"] * 2000
        + fake_openai.INPUT_TOKENS * 1000
        for asked in fake.asked
        if asked.fault not in ("429", "500", "502", "503", "html")
    )
    assert billed <= 60 * MICRO


def test_finishing_at_the_budget_keeps_what_there_is(fake: FakeOpenAI, tmp_path: Path) -> None:
    made = settings(
        fake, samples=20, prices=(f"{MODEL}=1000,2000",), budget_dollars=40.0, max_output_tokens=1000,
        finish_at_budget=True, vocabulary_words=0,
    )  # fmt: skip
    summary = run([], tmp_path / "out", made)
    assert summary.dropped["over_budget"] + summary.kept // 3 == summary.items == 120
    assert summary.kept > 30
    with pytest.raises(OtherSettingsError, match="budget"):
        run([], tmp_path / "out", made.model_copy(update={"budget_dollars": 41.0}))


def test_a_server_that_does_not_say_how_long_it_was_costs_the_most_it_can(fake: FakeOpenAI, tmp_path: Path) -> None:
    fake.with_usage = False
    summary = run([], tmp_path / "out", settings(fake, samples=1, prices=(f"{MODEL}=1,1",), budget_dollars=1))
    assert summary.counted["answers_of_unknown_length"] == 6
    assert summary.counted["cost_microdollars"] > 6 * 2500


# ------------------------------------------------------------------------------------------ hard edges


def test_two_runs_do_not_share_a_folder_of_answers(fake: FakeOpenAI, tmp_path: Path) -> None:
    with Ledger(tmp_path / "answers"), pytest.raises(AnswersError, match="another process"):
        run([], tmp_path / "out", settings(fake, answers=tmp_path / "answers"))
    assert fake.asked == []


def test_answers_are_not_kept_where_a_restart_would_delete_them(fake: FakeOpenAI, tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match="--restart"):
        run([], tmp_path / "out", settings(fake, answers=tmp_path / "out" / "answers"))


def test_a_full_disk_ends_the_run_and_the_next_goes_on(
    fake: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, kept = Ledger.keep, []

    def full(ledger: Ledger, key: str, *arguments: Any, **more: Any) -> None:
        if len(kept) == 4:
            raise OSError(28, "No space left on device")
        kept.append(key)
        keep(ledger, key, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "keep", full)
        with pytest.raises(OSError, match="No space"):
            run([], tmp_path / "out", settings(fake, concurrency=2))
    summary = run([], tmp_path / "out", settings(fake, concurrency=2))
    assert summary.kept == 36
    assert all(fake.billed[key] == 1 for key in kept)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("full.md", "Write $count of $what", r"full\.md: there is no \$what"),
        ("full.md", "Costs $ 5", r"write \$\$"),
        ("themes.toml", "a = ", "not TOML"),
        ("themes.toml", "a = 5", "words in quotes"),
        ("themes.toml", "", "empty"),
        ("sparks.toml", "who = []", "list of hints"),
        ("system.md", None, "cannot be read"),
    ],
)
def test_prompts_that_cannot_be_used(
    fake: FakeOpenAI, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    for path in (Path(fake_openai.__file__).parents[2] / "data_pipeline/synthesis/prompts").iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(StageError, match=message):
        run([], tmp_path / "out", settings(fake, prompts=tmp_path))


@pytest.mark.parametrize("line", ["[]", "{}", "no", '{"text": 5}', '"text"'])
def test_examples_that_are_none(fake: FakeOpenAI, tmp_path: Path, line: str) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text(f'{{"text": ">be me\\n>a"}}\n{line}\n')
    with pytest.raises(StageError, match="line 2"):
        run([path], tmp_path / "out", settings(fake))
    with pytest.raises(StageError, match="cannot be read"):
        run([tmp_path / "missing.jsonl"], tmp_path / "out", settings(fake))


def test_unknown_themes_are_named(fake: FakeOpenAI, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no theme cooking; themes are anecdote"):
        run([], tmp_path / "out", settings(fake, themes=("food", "cooking")))


def test_the_themes_are_those_of_the_starter_corpus() -> None:
    from data_pipeline.synthesis.prompts import read_prompts

    corpus = Path(fake_openai.__file__).parents[2] / "data" / "greentexts" / "starter.jsonl"
    themes = {orjson.loads(line)["theme"] for line in corpus.read_bytes().splitlines()}
    assert set(read_prompts().themes) == themes
    assert len(themes) == 12


def test_stories_of_the_fake_are_what_tests_take_them_for() -> None:
    assert ends_with_thanks(story("x"))
    assert len({story(str(number)) for number in range(1000)}) == 1000
