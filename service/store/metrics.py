"""What becomes of rows, as Prometheus metrics. Made when a store starts: see `service.metrics` on why not before."""

from __future__ import annotations

from typing import get_args

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from service.store.records import Write
from service.store.writer import Outcome


class StoreMetrics:
    """An `Observer` that counts."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._rows = Counter(
            "greentext_store_rows",
            "Writes to the database that have come to an end, by what they were and what became of them.",
            ["kind", "outcome"],
            registry=registry,
        )
        for write in get_args(Write):
            for outcome in Outcome:
                # From the beginning: a counter that appears with its first event hides that event from `increase`.
                self._rows.labels(write.kind, outcome.value)
        self._pending = Gauge(
            "greentext_store_pending_rows", "Writes that wait.", multiprocess_mode="livesum", registry=registry
        )
        self._last_error = Gauge(
            "greentext_store_last_error_timestamp_seconds",
            "When the database last failed, in seconds since 1970; 0 if it never did.",
            multiprocess_mode="livemax",
            registry=registry,
        )

    def on_rows(self, kind: str, outcome: Outcome, count: int) -> None:
        """So many writes of a kind have come to this end."""
        self._rows.labels(kind, outcome.value).inc(count)

    def on_pending(self, count: int) -> None:
        """So many wait."""
        self._pending.set(count)

    def on_error(self, at_s: float) -> None:
        """The database has failed."""
        self._last_error.set(at_s)
