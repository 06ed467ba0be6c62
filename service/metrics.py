"""What the engine does, as Prometheus metrics: told on the engine's thread, so told cheaply.

BentoML gives each worker's numbers a file of its own and adds the files up when `/metrics` is read, so that one
exposition holds its metrics and ours, of all workers. prometheus_client must find that directory when it is imported;
BentoML names it to its workers before they start.
"""

import bisect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, multiprocess

from service.engine.sequence import FinishReason

if TYPE_CHECKING:
    from service.engine.async_engine import EngineStats
    from service.engine.llm_engine import Completion

LATENCY_BUCKETS_S: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
STEP_BUCKETS_S: Final = (
    0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0,
)  # fmt: skip
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256)
TOKEN_BUCKETS: Final = (1, 2, 5, 10, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000, 2000, 4000)


class WeightedHistogram(Histogram):
    """A histogram that takes many equal observations at the price of one."""

    def observe_many(self, amount: float, count: int) -> None:
        """The same as `count` calls of `observe(amount)`."""
        self._sum.inc(amount * count)
        self._buckets[bisect.bisect_left(self._upper_bounds, amount)].inc(count)


class EngineMetrics:
    """An `EngineObserver` that counts, from `follow` on: a warm-up is nobody's request."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        def histogram(name: str, text: str, buckets: Sequence[float]) -> WeightedHistogram:
            return WeightedHistogram(name, text, buckets=buckets, registry=registry)

        self._stats: Callable[[], EngineStats] | None = None
        self._last = (-1, -1, -1)
        self._time_to_first_token = histogram(
            "greentext_time_to_first_token_seconds", "From a request to its first token.", LATENCY_BUCKETS_S
        )
        self._inter_token_latency = histogram(
            "greentext_inter_token_latency_seconds", "From one token of a text to its next.", STEP_BUCKETS_S
        )
        self._queue_time = histogram("greentext_queue_time_seconds", "Waiting for a slot.", LATENCY_BUCKETS_S)
        self._request_time = histogram(
            "greentext_request_time_seconds", "From a request to the last token of a text.", LATENCY_BUCKETS_S
        )
        self._prefill_time = histogram(
            "greentext_request_prefill_time_seconds", "From a slot to the first token of a text.", STEP_BUCKETS_S
        )
        self._decode_time = histogram(
            "greentext_request_decode_time_seconds", "From the first token of a text to its last.", LATENCY_BUCKETS_S
        )
        self._time_per_output_token = histogram(
            "greentext_request_time_per_output_token_seconds",
            "From the first token of a text to its last, by the tokens that it took.",
            STEP_BUCKETS_S,
        )
        self._request_prompt_tokens = histogram(
            "greentext_request_prompt_tokens", "Tokens of a prompt, the start token among them.", TOKEN_BUCKETS
        )
        self._request_generation_tokens = histogram(
            "greentext_request_generation_tokens", "Tokens written for a text.", TOKEN_BUCKETS
        )
        self._step_tokens = histogram("greentext_step_tokens", "Tokens that a step read or wrote.", TOKEN_BUCKETS)
        self._step_time = histogram("greentext_step_time_seconds", "One step of the engine.", STEP_BUCKETS_S)
        self._batch_size = histogram("greentext_batch_size", "Texts in a step of the engine.", BATCH_BUCKETS)
        self._running = Gauge(
            "greentext_requests_running", "Texts in a slot.", multiprocess_mode="livesum", registry=registry
        )
        self._waiting = Gauge(
            "greentext_requests_waiting", "Texts in the queue.", multiprocess_mode="livesum", registry=registry
        )
        self._slots = Gauge(
            "greentext_slots", "Texts that can be written at once.", multiprocess_mode="livesum", registry=registry
        )
        self._model_info = Gauge(
            "greentext_model_info",
            "1 for the default model.",
            ["model", "edition", "precision"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._prompt_tokens = Counter("greentext_prompt_tokens", "Tokens read.", registry=registry)
        self._generation_tokens = Counter("greentext_generation_tokens", "Tokens written.", registry=registry)
        success = Counter(
            "greentext_request_success", "Texts that ended, by the reason.", ["finish_reason"], registry=registry
        )
        self._success = {reason: success.labels(reason.value) for reason in FinishReason}
        self._event_loop_lag = histogram(
            "greentext_event_loop_lag_seconds", "How much later than asked the event loop woke up.", STEP_BUCKETS_S
        )

    def follow(self, stats: "Callable[[], EngineStats]") -> None:
        """Where to look up how many texts run and wait."""
        self._stats = stats
        self.refresh()

    def refresh(self) -> None:
        """Sets the gauges, if they changed."""
        if self._stats is None:
            return
        stats = self._stats()
        now = (stats.running, stats.waiting, stats.slots)
        if now != self._last:
            self._last = now
            self._running.set(stats.running)
            self._waiting.set(stats.waiting)
            self._slots.set(stats.slots)

    def tell_model(self, name: str, *, edition: str, precision: str) -> None:
        """Names the default model."""
        self._model_info.labels(name, edition, precision).set(1)

    def on_step(self, batch_size: int, prefill_tokens: int, decode_tokens: int, seconds: float) -> None:
        """A step has run."""
        if self._stats is None:
            return
        self._batch_size.observe_many(batch_size, 1)
        self._step_time.observe_many(seconds, 1)
        self._step_tokens.observe_many(prefill_tokens + decode_tokens, 1)
        if prefill_tokens:
            self._prompt_tokens.inc(prefill_tokens)
        self.refresh()

    def on_queue(self, seconds: float) -> None:
        """A text has left the queue."""
        if self._stats is not None:
            self._queue_time.observe_many(seconds, 1)

    def on_first_token(self, seconds: float) -> None:
        """A text has its first token."""
        if self._stats is not None:
            self._time_to_first_token.observe_many(seconds, 1)

    def on_inter_token(self, seconds: float, count: int) -> None:
        """Texts got their next token."""
        if self._stats is not None:
            self._inter_token_latency.observe_many(seconds, count)

    def on_finish(self, completion: "Completion") -> None:
        """A text has ended."""
        if self._stats is None:
            return
        tokens = completion.completion_tokens
        self._success[completion.finish_reason].inc()
        self._generation_tokens.inc(tokens)
        self._request_time.observe_many(completion.total_s, 1)
        self._request_prompt_tokens.observe_many(completion.prompt_tokens, 1)
        self._request_generation_tokens.observe_many(tokens, 1)
        if tokens:  # it had a slot, and a first token
            self._prefill_time.observe_many(completion.prefill_s, 1)
            self._decode_time.observe_many(completion.decode_s, 1)
        if tokens > 1:
            self._time_per_output_token.observe_many(completion.decode_s / (tokens - 1), 1)
        self.refresh()

    def on_event_loop_lag(self, seconds: float) -> None:
        """The event loop woke up so much later than asked."""
        self._event_loop_lag.observe_many(seconds, 1)


def forget_dead_workers() -> None:
    """Takes back what workers that were killed said of the present, such as how many requests they run."""
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not directory:
        return
    for path in Path(directory).glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            multiprocess.mark_process_dead(int(pid), directory)  # type: ignore[no-untyped-call]
