"""The Batch API as a mode: the same texts, paid for once, whatever becomes of a batch or of the run that waits."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from data_pipeline.results import read_rows
from data_pipeline.rows import TextRow
from data_pipeline.synthesis import SynthesisSettings, run
from data_pipeline.synthesis.errors import BatchError, BudgetSpentError, ServerRefusesError
from data_pipeline.synthesis.errors import UnansweredError as Unanswered
from data_pipeline.synthesis.ledger import FILE, MICRO, Ledger
from data_pipeline.synthesis.settings import Mode
from tests.data_pipeline import fake_openai
from tests.data_pipeline.fake_openai import KEY, MODEL, FakeOpenAI, story

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with fake_openai.serve() as server:
        yield server


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("data_pipeline.synthesis.pace.FIRST_DELAY_S", 0.01)


def settings(fake: FakeOpenAI, **more: Any) -> SynthesisSettings:
    values: dict[str, Any] = {
        "model": MODEL, "base_url": fake.url, "themes": ("food", "animals"), "samples": 2, "texts_per_request": 3,
        "vocabulary_words": 20, "mode": Mode.BATCH, "batch_poll_s": 0.02, "prices": (f"{MODEL}=1000,2000",),
    }  # fmt: skip
    return SynthesisSettings(**{**values, **more})


def texts(folder: Path) -> Counter[str]:
    return Counter(row.text for row in read_rows(folder, TextRow))


def test_the_same_texts_as_live_at_half_the_price(fake: FakeOpenAI, tmp_path: Path) -> None:
    batch = run([], tmp_path / "batch", settings(fake))
    live = run([], tmp_path / "live", settings(fake, mode=Mode.LIVE))
    assert batch.kept_sha256 == live.kept_sha256
    assert batch.kept == 36
    assert batch.counted["cost_microdollars"] == pytest.approx(live.counted["cost_microdollars"] / 2, abs=12)
    assert len(fake.batches) == 1


def test_answers_serve_both_modes(fake: FakeOpenAI, tmp_path: Path) -> None:
    run([], tmp_path / "out", settings(fake))
    run([], tmp_path / "out", settings(fake, mode=Mode.LIVE), restart=True)
    assert len(fake.asked) == 12


def test_what_a_batch_file_holds(fake: FakeOpenAI, tmp_path: Path) -> None:
    run([], tmp_path / "out", settings(fake, batch_requests=5))
    assert [batch["request_counts"]["total"] for batch in fake.batches.values()] == [5, 5, 2]
    for batch in fake.batches.values():
        lines = [orjson.loads(line) for line in fake.files[batch["input_file_id"]].splitlines()]
        assert all(set(line) == {"custom_id", "method", "url", "body"} for line in lines)
        assert all(line["body"]["response_format"]["type"] == "json_schema" for line in lines)


def test_lines_that_failed_go_into_another_batch(fake: FakeOpenAI, tmp_path: Path) -> None:
    faults = ("500", "429", "nonsense", "", "fence")
    fake.fault = lambda _: faults[len(fake.asked) % 5] if len(fake.asked) <= 60 else ""
    summary = run([], tmp_path / "out", settings(fake, samples=10))
    assert summary.kept == 180
    assert len(fake.batches) >= 2
    assert set(fake.billed.values()) == {1}
    assert summary.counted["failed_http_500"] == 12
    assert summary.dropped == {"malformed": 12}


@pytest.mark.parametrize("formats", [("json_object",), ()])
def test_a_format_that_the_server_refuses_is_lowered_in_the_next_batch(
    fake: FakeOpenAI, tmp_path: Path, formats: tuple[str, ...]
) -> None:
    fake.formats = formats
    assert run([], tmp_path / "out", settings(fake)).kept == 36
    assert len(fake.batches) == 3 - len(formats)


def test_a_batch_refused_as_a_whole_costs_nothing_and_says_why(fake: FakeOpenAI, tmp_path: Path) -> None:
    fake.batch_fault = "failed"
    with pytest.raises(BatchError, match=r"token_limit_exceeded.*--batch-requests"):
        run([], tmp_path / "out", settings(fake))
    with Ledger(tmp_path / "out.answers") as ledger:
        assert (ledger.spent, ledger.reserved, ledger.batches) == (0, 0, ())
    fake.batch_fault = ""
    assert run([], tmp_path / "out", settings(fake)).kept == 36


def test_an_expired_batch_keeps_what_it_has(fake: FakeOpenAI, tmp_path: Path) -> None:
    fake.batch_fault = "expires_half"
    with pytest.raises(Unanswered, match=r"expired, 6 requests"):
        run([], tmp_path / "out", settings(fake))
    fake.batch_fault = ""
    assert run([], tmp_path / "out", settings(fake)).kept == 36
    assert set(fake.billed.values()) == {1}


def test_a_batch_past_the_deadline_is_cancelled_and_what_it_has_is_kept(fake: FakeOpenAI, tmp_path: Path) -> None:
    fake.batch_fault = "stuck"
    with pytest.raises(Unanswered, match="cancelled, 6 requests"):
        run([], tmp_path / "out", settings(fake, batch_deadline_s=0.5))
    assert run([], tmp_path / "out", settings(fake, mode=Mode.LIVE)).kept == 36
    assert set(fake.billed.values()) == {1}


def test_a_batch_whose_creation_went_unanswered_is_found_and_not_created_again(
    fake: FakeOpenAI, tmp_path: Path
) -> None:
    fake.batch_fault = "create_500_after"
    assert run([], tmp_path / "out", settings(fake)).kept == 36
    assert len(fake.batches) == 1


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(Mode))
def test_a_run_killed_while_it_waits_finds_its_batch_again(fake: FakeOpenAI, tmp_path: Path, mode: Mode) -> None:
    fake.batch_fault = "stuck"
    made = settings(fake)
    _kill_once(tmp_path, made, until=lambda: bool(fake.batches) and fake._looks["batch_000000"] > 1)
    assert fake.billed == {}
    fake.batch_fault = ""
    summary = run([], tmp_path / "out", made.model_copy(update={"mode": mode}))
    assert summary.kept == 36
    assert len(fake.batches) == 1
    assert set(fake.billed.values()) == {1}
    assert summary.counted["cost_microdollars"] == pytest.approx(_batch_cost(fake), abs=12)


@pytest.mark.parametrize("moment", ["created", "not_created"])
def test_a_run_killed_between_creating_a_batch_and_writing_it_down(
    fake: FakeOpenAI, tmp_path: Path, moment: str
) -> None:
    """Three older batches of others stand in front of ours in the server's list, which comes in pages of two."""
    made = settings(fake)
    run([], tmp_path / "out", made)
    path = tmp_path / "out.answers" / FILE
    lines = path.read_bytes().splitlines(keepends=True)
    begun = next(number for number, line in enumerate(lines) if line.startswith(b'{"batch":'))
    path.write_bytes(b"".join(lines[: begun + 1]))
    if moment == "not_created":
        fake.batches.clear()
        fake.billed.clear()
    for number in range(3):
        fake.batches[f"batch_9{number}"] = {**fake_batch(), "id": f"batch_9{number}"}
    summary = run([], tmp_path / "out", made, restart=True)
    assert summary.kept == 36
    ours = [batch for batch in fake.batches.values() if batch["metadata"] and "gtx_batch" in batch["metadata"]]
    assert len(ours) == 1
    assert set(fake.billed.values()) == {1}


def fake_batch() -> dict[str, Any]:
    return {
        "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-x", "completion_window": "24h",
        "status": "completed", "created_at": int(time.time()), "metadata": None,
    }  # fmt: skip


def _kill_once(tmp_path: Path, made: SynthesisSettings, until: Any) -> None:
    program = (
        "import sys; from pathlib import Path; from data_pipeline.synthesis import SynthesisSettings, run\n"
        "run([], Path(sys.argv[1]), SynthesisSettings.model_validate_json(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "out"), made.model_dump_json()]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL) as process:
        while not until():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()


def _batch_cost(fake: FakeOpenAI) -> float:
    usages = [fake.completion(asked.body, asked.id, asked.fault)["usage"] for asked in fake.asked]
    return sum(500 * usage["prompt_tokens"] + 1000 * usage["completion_tokens"] for usage in usages)


def test_the_budget_bounds_batches_and_is_mostly_used(fake: FakeOpenAI, tmp_path: Path) -> None:
    made = settings(fake, samples=20, budget_dollars=20.0, max_output_tokens=1000, vocabulary_words=0)
    with pytest.raises(BudgetSpentError, match="--budget-dollars"):
        run([], tmp_path / "out", made)
    assert 15 * MICRO < _batch_cost(fake) <= 20 * MICRO
    assert len(fake.batches) > 1, "what the first batch left over pays for another"
    more = made.model_copy(update={"budget_dollars": 1000.0})
    assert run([], tmp_path / "out", more).kept == 360
    assert set(fake.billed.values()) == {1}


def test_refused_requests_are_kept_as_such(fake: FakeOpenAI, tmp_path: Path) -> None:
    fake.fault = lambda asked: "refusal"
    summary = run([], tmp_path / "out", settings(fake, extra_asks=0))
    assert summary.dropped == {"refused": 12}


def test_a_server_without_batches_says_so(fake: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.data_pipeline.fake_openai.Route", _only_chat)
    with fake_openai.serve() as chat_only, pytest.raises(ServerRefusesError, match="takes no batches"):
        run([], tmp_path / "out", settings(chat_only))


def _only_chat(path: str, endpoint: Any, **more: Any) -> Any:
    from starlette.routing import Route

    return Route(path if path.endswith("completions") else f"/nowhere{path}", endpoint, **more)


def test_lines_about_strangers_and_damaged_lines_are_passed_over(fake: FakeOpenAI, tmp_path: Path) -> None:
    finish = fake._finish

    def spoilt(batch: dict[str, Any], status: str, *, half: bool) -> None:
        finish(batch, status, half=half)
        output = batch["output_file_id"]
        stranger = b'{"id":"x","custom_id":"stranger","response":{"status_code":200,"body":{}},"error":null}\n'
        odd = b'no json\n[]\n{"custom_id":5}\n{"custom_id":"a","response":{"status_code":"x"}}\n'
        twice = fake.files[output].splitlines(keepends=True)[0]
        fake.files[output] = stranger + odd + fake.files[output] + twice + b"\n"

    fake._finish = spoilt  # type: ignore[method-assign]
    assert run([], tmp_path / "out", settings(fake)).kept == 36
    expected = Counter(story(f"{asked.id}/{number}") for asked in fake.asked for number in range(3))
    assert texts(tmp_path / "out") == expected
