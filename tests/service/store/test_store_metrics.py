from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from service.store.metrics import StoreMetrics
from service.store.records import Rating
from service.store.store import Store
from tests.service.store.places import Place, record, wait_for

if TYPE_CHECKING:
    import pytest


def test_each_row_is_counted_by_what_became_of_it(place: Place) -> None:
    registry = CollectorRegistry()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    store = Store(place.settings(database_queue=10))
    store.start(StoreMetrics(registry))
    wait_for(lambda: store._sink and store._sink.is_ready)
    one = record()
    store.record(one)
    store.rate(one.id, "s", Rating.GOOD).result(10)
    place.take_away()
    for _ in range(15):
        store.record(record())
    wait_for(lambda: store.stats.away)
    wait_for(lambda: value("greentext_store_pending_rows") == 10)
    place.bring_back()
    wait_for(lambda: value("greentext_store_pending_rows") == 0, 20)
    stats = store.stop(5)
    store.record(record())
    rows = "greentext_store_rows_total"
    assert value(rows, kind="generation", outcome="saved") == stats.saved - 1 == 11
    assert value(rows, kind="rating", outcome="saved") == 1
    assert value(rows, kind="generation", outcome="queue_full") == 5
    assert value(rows, kind="generation", outcome="stopping") == 1
    error_s = value("greentext_store_last_error_timestamp_seconds")
    assert error_s is not None
    assert 0 <= time.time() - error_s < 60


def test_rows_that_nothing_can_keep_are_counted_too(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    monkeypatch.setenv("GREENTEXT_DATA_DIR", f"{tmp_path}/file")
    from pathlib import Path

    from service.settings import Settings

    Path(f"{tmp_path}/file").touch()
    store = Store(Settings(data_dir=Path(f"{tmp_path}/file")))
    store.start(StoreMetrics(registry))
    store.record(record())
    assert registry.get_sample_value("greentext_store_rows_total", {"kind": "generation", "outcome": "database"}) == 1
