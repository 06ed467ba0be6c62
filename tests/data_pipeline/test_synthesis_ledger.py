"""The ledger, the pace and the settings: what is paid is known whatever happens, and nothing goes out too fast."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_pipeline.settings import SettingsError, make
from data_pipeline.synthesis.errors import AnswersError
from data_pipeline.synthesis.ledger import FILE, Answer, Ledger
from data_pipeline.synthesis.pace import LONGEST_DELAY_S, Pace, backoff_s, duration_s, retry_after_s
from data_pipeline.synthesis.settings import Mode, SynthesisSettings, price_table


def answer(cost: float, content: str = "text") -> Answer:
    return Answer(content, "stop", "", "m", "plain", 3, 4, cost)


# --------------------------------------------------------------------------------------------- ledger


def test_what_is_kept_is_there_again(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.ask("a", 10.0)
        assert (ledger.spent, ledger.reserved, "a" in ledger) == (0.0, 10.0, False)
        ledger.keep("a", answer(4.0, "ünï\n\ud83d"))
        assert (ledger.spent, ledger.reserved, "a" in ledger) == (4.0, 0.0, True)
    with Ledger(tmp_path) as ledger:
        assert (ledger.spent, ledger.reserved, ledger.lost_before) == (4.0, 0.0, 0)
        assert ledger.answer("a").content.startswith("ünï\n")
        assert ledger.answer("a").cost_microdollars == 4.0
        with pytest.raises(ValueError, match="answered already"):
            ledger.ask("a", 10.0)


def test_free_costs_nothing_and_lost_costs_all_that_was_reserved(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.ask("a", 10.0)
        ledger.free("a")
        ledger.ask("a", 10.0)
        ledger.lose("a")
        ledger.ask("a", 10.0)
        ledger.keep("a", answer(1.0))
        assert (ledger.spent, ledger.reserved) == (11.0, 0.0)


def test_what_was_in_flight_at_a_kill_counts_as_spent_once(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.ask("a", 10.0)
        ledger.ask("b", 20.0)
        ledger.keep("b", answer(2.0))
    for lost in (1, 0):
        with Ledger(tmp_path) as ledger:
            assert (ledger.spent, ledger.reserved, ledger.lost_before) == (12.0, 0.0, lost)
            assert "a" not in ledger


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ledger")
    with Ledger(folder) as ledger:
        for key, cost in (("a", 3.0), ("b", 5.0), ("c", 7.0)):
            ledger.ask(key, 10.0)
            ledger.keep(key, answer(cost, key * 3))
        ledger.ask("d", 10.0)
        ledger.lose("d")
        batch = ledger.begin_batch("intent", {"e": 10.0, "f": 10.0}, "plain")
        ledger.name_batch(batch, "batch_1")
        ledger.keep("e", answer(1.0, "eee"))
        ledger.end_batch(batch)
    return folder


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_kill_at_any_byte_loses_no_answer_that_was_whole_and_forgets_no_cost(
    data: st.DataObject, written: Path, tmp_path: Path
) -> None:
    content = (written / FILE).read_bytes()
    end = data.draw(st.integers(0, len(content)))
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    (tmp_path / FILE).write_bytes(content[:end])
    whole = content[:end].count(b"\n")
    with Ledger(tmp_path) as ledger:
        there = [key for key in "abce" if key in ledger]
        assert all(ledger.answer(key).content == key * 3 for key in there)
        assert len(there) == sum(b'"answer":' in line for line in content.splitlines()[:whole])
        known = sum({"a": 3.0, "b": 5.0, "c": 7.0, "e": 1.0}[key] for key in there)
        assert ledger.spent >= known
        assert ledger.spent + ledger.reserved <= 3 + 5 + 7 + 10 + 20
        for key in {"a", "b", "c"} - set(there):
            ledger.ask(key, 10.0)
            ledger.keep(key, answer(1.0, key * 3))
    with Ledger(tmp_path) as ledger:
        assert all(key in ledger for key in "abc")


def test_a_batch_that_is_open_stays_open(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.begin_batch("one", {"a": 5.0}, "plain")
        two = ledger.begin_batch("two", {"b": 7.0, "c": 1.0}, "json_schema")
        ledger.name_batch(two, "batch_2")
        ledger.keep("b", answer(2.0))
    with Ledger(tmp_path) as ledger:
        assert [(batch.intent, batch.batch_id, batch.keys) for batch in ledger.batches] == [
            ("one", None, {"a": 5.0}),
            ("two", "batch_2", {"c": 1.0}),
        ]
        assert (ledger.spent, ledger.reserved, ledger.lost_before) == (2.0, 6.0, 0)
        for batch in ledger.batches:
            ledger.end_batch(batch)
        assert (ledger.spent, ledger.reserved, ledger.batches) == (2.0, 0.0, ())


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with Ledger(tmp_path), pytest.raises(AnswersError, match="another process"), Ledger(tmp_path):
        pass
    with Ledger(tmp_path):
        pass


@pytest.mark.parametrize("line", [b"no json\n", b"[]\n", b'{"other": 1}\n', b'{"answer": "x", "cost": "much"}\n'])
def test_damage_is_named_with_its_line_and_the_money_is_mentioned(tmp_path: Path, line: bytes) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.ask("a", 1.0)
        ledger.keep("a", answer(1.0))
    with (tmp_path / FILE).open("ab") as file:
        file.write(line)
    with pytest.raises(AnswersError, match=r"line 3.*paid"), Ledger(tmp_path):
        pass


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["keep", "free", "lose"]), st.floats(0, 1)), max_size=30
    )
)
def test_spent_and_reserved_never_pass_a_budget_that_was_asked_about(steps: list[tuple[str, str, float]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with Ledger(Path(folder)) as ledger:
            for number, (name, what, share) in enumerate(steps):
                key = f"{name}{number}"
                if not ledger.fits(10.0, 35.0):
                    break
                ledger.ask(key, 10.0)
                assert ledger.spent + ledger.reserved <= 35.01
                if what == "keep":
                    ledger.keep(key, answer(10.0 * share), sync=False)
                elif what == "lose":
                    ledger.lose(key)
                elif share < 0.5:
                    ledger.free(key)
            spent = ledger.spent + ledger.reserved
        with Ledger(Path(folder)) as again:
            assert again.spent == pytest.approx(spent)


# ----------------------------------------------------------------------------------------------- pace


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)


@given(st.floats(1, 1000), st.floats(100, 100_000), st.lists(st.integers(1, 3000), min_size=2, max_size=40))
async def test_no_stretch_of_time_sees_more_than_the_limits(rpm: float, tpm: float, sizes: list[int]) -> None:
    clock = Clock()
    pace = Pace(rpm, tpm, clock=clock, sleep=clock.sleep)
    begun: list[tuple[float, int]] = []

    async def one(tokens: int) -> None:
        await pace.wait(tokens)
        begun.append((clock.now_s, tokens))

    await asyncio.gather(*(one(tokens) for tokens in sizes))
    assert [tokens for _, tokens in begun] == sizes, "first come, first served"
    for first in range(len(begun)):
        for last in range(first + 1, len(begun)):
            stretch_s = begun[last][0] - begun[first][0]
            assert last - first <= stretch_s * rpm / 60 + 1e-6 * rpm
            assert sum(tokens for _, tokens in begun[first:last]) <= stretch_s * tpm / 60 + 1e-6 * tpm
    # Nor slower than it must.
    needed_s = sum(max(60 / rpm, tokens * 60 / tpm) for tokens in sizes[:-1])
    assert begun[-1][0] - 100.0 == pytest.approx(needed_s)


async def test_a_pause_holds_all_and_can_be_prolonged_while_they_wait() -> None:
    clock = Clock()
    pace = Pace(None, None, clock=clock, sleep=clock.sleep)
    pace.pause(5)
    waiting = asyncio.create_task(pace.wait(1))
    pace.pause(9)
    pace.pause(2)
    await waiting
    assert clock.now_s == 109.0
    await pace.wait(1)
    assert clock.now_s == 109.0


async def test_it_waits_for_the_reset_once_nothing_remains() -> None:
    clock = Clock()
    pace = Pace(None, None, clock=clock, sleep=clock.sleep)
    pace.heed({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "1m"})
    await pace.wait(1)
    assert clock.now_s == 100.0
    pace.heed({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1.5s"})
    await pace.wait(1)
    assert clock.now_s == 101.5
    pace.heed({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "200h"})
    await pace.wait(1)
    assert clock.now_s == 101.5 + LONGEST_DELAY_S


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("6m0s", 360), ("12ms", 0.012), ("1h2m3s", 3723), ("1.5s", 1.5), ("7", 7), ("", 0), ("soon", 0),
     ("-3", 0), ("nan", 0), ("inf", 0), ("1d", 0), ("5 s", 0)],
)  # fmt: skip
def test_durations_of_headers(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


def test_retry_after_in_all_its_spellings() -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    later = format_datetime(now + timedelta(seconds=90), usegmt=True)
    for headers, seconds in (
        ({}, None),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": later}, 90.0),
        ({"retry-after": format_datetime(now - timedelta(days=1))}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "1"}, 1.0),
    ):
        assert retry_after_s(headers, now=now.timestamp) == seconds


def test_back_off_doubles_is_bounded_and_differs() -> None:
    rng = random.Random(1)
    waits = [[backoff_s(failures, rng) for _ in range(50)] for failures in (1, 2, 3, 1000)]
    for wait, most in zip(waits, (0.5, 1.0, 2.0, LONGEST_DELAY_S), strict=True):
        assert all(most / 2 <= seconds <= most for seconds in wait)
        assert len(set(wait)) == 50


# ------------------------------------------------------------------------------------------- settings


def test_prices_by_model_also_for_names_with_punctuation() -> None:
    table = price_table(("gpt-4o-mini=0.15,0.6", "org/llama3:8b-q4=0,0", "a=b=1,2"))
    assert table["gpt-4o-mini"].microdollars(1_000_000, 1_000_000) == pytest.approx(750_000)
    assert table["org/llama3:8b-q4"].microdollars(5, 5) == 0
    assert table["a=b"].output == 2


@pytest.mark.parametrize("price", ["m", "m=", "m=1", "m=1,2,3", "=1,2", "m=-1,2", "m=nan,1", "m=1,inf", "m=a,b"])
def test_prices_that_are_none(price: str) -> None:
    with pytest.raises(SettingsError, match="MODEL=INPUT,OUTPUT"):
        make(SynthesisSettings, {"prices": (price,)}, "synthesis")


def test_a_budget_without_a_price_is_an_error_that_says_what_to_write() -> None:
    with pytest.raises(SettingsError, match="other-model=INPUT,OUTPUT"):
        make(SynthesisSettings, {"budget_dollars": 1.0, "model": "other-model", "prices": ("m=1,2",)}, "synthesis")


@pytest.mark.parametrize(
    "values",
    [
        {"kinds": ("full", "full")},
        {"kinds": ()},
        {"themes": ("a", "a")},
        {"base_url": "api.openai.com"},
        {"base_url": "https://me:key@x/v1"},
        {"base_url": "https://x/v1?key=5"},
        {"prices": ("m=1,2", "m=1,3")},
        {"samples": 0},
        {"temperature": 3},
        {"budget_dollars": 0},
    ],
)
def test_settings_that_cannot_be(values: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        make(SynthesisSettings, values, "synthesis")


def test_temperature_none_leaves_it_to_the_server() -> None:
    assert make(SynthesisSettings, {"temperature": "none"}, "").temperature is None


def test_the_batch_price_is_a_share_of_the_price() -> None:
    made = SynthesisSettings(model="m", prices=("m=1,2",), batch_price_factor=0.5)
    assert made.price(Mode.LIVE).output == 2  # type: ignore[union-attr]
    assert made.price(Mode.BATCH).output == 1  # type: ignore[union-attr]
    assert SynthesisSettings(model="n").price(Mode.LIVE) is None


def test_what_does_not_change_the_texts_does_not_change_what_they_are_made_from() -> None:
    base = SynthesisSettings()
    faster = SynthesisSettings(concurrency=99, mode=Mode.BATCH, prices=("gpt-4o-mini=1,1",), budget_dollars=2)
    assert base.of_the_result() == faster.of_the_result()
    assert base.of_the_result() != SynthesisSettings(samples=11).of_the_result()
