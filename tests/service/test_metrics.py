from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from service.engine.llm_engine import Completion
from service.engine.sequence import FinishReason
from service.metrics import (
    BATCH_BUCKETS,
    LATENCY_BUCKETS_S,
    STEP_BUCKETS_S,
    TOKEN_BUCKETS,
    EngineMetrics,
    WeightedHistogram,
)


def samples(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    return {
        (sample.name.removeprefix("a_").removeprefix("b_"), sample.labels.get("le", "")): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.001, 0.0011, 0.5, 1.0, 2.0, 1e9]), st.integers(0, 70))))
def test_many_observations_at_once_count_as_many_one_by_one(observed: list[tuple[float, int]]) -> None:
    one, many = CollectorRegistry(), CollectorRegistry()
    slow = Histogram("a_h", "", buckets=STEP_BUCKETS_S, registry=one)
    quick = WeightedHistogram("b_h", "", buckets=STEP_BUCKETS_S, registry=many)
    for amount, count in observed:
        quick.observe_many(amount, count)
        for _ in range(count):
            slow.observe(amount)
    expected = samples(one)
    for key, value in samples(many).items():
        assert abs(value - expected[key]) <= 1e-9 * abs(value)


def test_buckets_go_up() -> None:
    for buckets in (STEP_BUCKETS_S, BATCH_BUCKETS, LATENCY_BUCKETS_S, TOKEN_BUCKETS):
        assert list(buckets) == sorted(set(buckets))


def finished(reason: FinishReason, tokens: int) -> Completion:
    return Completion("", (), (), reason, 1, 5, tokens, queue_s=0.1, prefill_s=0.02, decode_s=0.03, total_s=0.15)


def test_a_text_that_never_had_a_slot_has_no_times_of_one() -> None:
    registry = CollectorRegistry()
    metrics = EngineMetrics(registry)
    metrics.follow(lambda: SimpleNamespace(running=0, waiting=0, slots=64))  # type: ignore[arg-type, return-value]
    metrics.tell_model("greentext-thanks", edition="0123456789ab", precision="int8")
    for tokens in (0, 1, 4):
        metrics.on_finish(finished(FinishReason.ABORT if tokens == 0 else FinishReason.END, tokens))

    def value(name: str) -> float | None:
        return registry.get_sample_value(f"greentext_{name}")

    assert value("request_time_seconds_count") == value("request_generation_tokens_count") == 3
    assert value("request_prefill_time_seconds_count") == value("request_decode_time_seconds_count") == 2
    assert value("request_time_per_output_token_seconds_count") == 1
    assert value("request_time_per_output_token_seconds_sum") == pytest.approx(0.01)
    assert value("slots") == 64
    labels = {"model": "greentext-thanks", "edition": "0123456789ab", "precision": "int8"}
    assert registry.get_sample_value("greentext_model_info", labels) == 1


def test_a_warm_up_is_not_counted() -> None:
    registry = CollectorRegistry()
    metrics = EngineMetrics(registry)

    def something_happens() -> None:
        metrics.on_queue(0.1)
        metrics.on_first_token(0.1)
        metrics.on_inter_token(0.1, 3)
        metrics.on_step(3, 5, 0, 0.1)
        metrics.on_finish(finished(FinishReason.END, 4))

    something_happens()
    assert registry.get_sample_value("greentext_generation_tokens_total") == 0
    metrics.follow(lambda: SimpleNamespace(running=2, waiting=1, slots=64))  # type: ignore[arg-type, return-value]
    something_happens()
    assert registry.get_sample_value("greentext_generation_tokens_total") == 4
    assert registry.get_sample_value("greentext_prompt_tokens_total") == 5
    assert registry.get_sample_value("greentext_inter_token_latency_seconds_count") == 3
    assert registry.get_sample_value("greentext_request_success_total", {"finish_reason": "end"}) == 1
    assert registry.get_sample_value("greentext_requests_running") == 2
    assert registry.get_sample_value("greentext_requests_waiting") == 1


def test_a_step_of_a_full_batch_is_told_in_microseconds() -> None:
    metrics = EngineMetrics(CollectorRegistry())
    metrics.follow(lambda: SimpleNamespace(running=64, waiting=1, slots=64))  # type: ignore[arg-type, return-value]
    rounds = 2000
    best_s = 1.0
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(rounds):
            metrics.on_inter_token(0.008, 64)
            metrics.on_step(64, 0, 64, 0.008)
        best_s = min(best_s, (time.perf_counter() - started) / rounds)
    # 2 microseconds for each token would be 128.
    assert best_s < 100e-6
