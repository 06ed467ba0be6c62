"""The service with the settings of `k8s/`: it starts, answers probes, and exports what rules and panels name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.k8s.manifests import SYSTEM_VARIABLES, environment, of_kind, render, server
from tests.k8s.test_rules import alerts, queries
from tests.service.conftest import Metrics, Server, start_server, stop_server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

# Whose they are, and that they are there whatever we export.
OTHERS = {"up", "container_cpu_usage_seconds_total", "container_memory_working_set_bytes"}
TARGET_LABELS = {"job", "namespace", "pod", "container", "le"}
NAME = re.compile(r"\b([a-z][a-z0-9_]*_[a-z0-9_]+|up)\s*(?:\{([^}]*)\})?")
FUNCTIONS = {"histogram_quantile", "min_over_time", "label_values"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    manifests = render("base")
    given = environment(manifests, server(manifests))
    settings = {name: value for name, value in given.items() if isinstance(value, str) and name not in SYSTEM_VARIABLES}
    folder = tmp_path_factory.mktemp("live")
    database = f"sqlite:///{folder / 'greentext.sqlite3'}"  # its metrics are there only with one
    running = start_server(
        folder, "service.service:GreentextService", **settings | {"GREENTEXT_DATABASE_URL": database}
    )
    running.wait_until_ready()
    assert httpx.post(f"{running.url}/generate", json={"seed": 1}, timeout=30).status_code == 200
    assert httpx.post(f"{running.url}/generate", json={"n": 0}, timeout=30).status_code == 400
    yield running
    stop_server(running)


def test_the_probes_are_answered(live: Server) -> None:
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = server(render("base"))[name]["httpGet"]["path"]
        assert httpx.get(f"{live.url}{path}", timeout=10).status_code == 200


def test_every_metric_that_is_named_is_exported_with_the_labels_that_are_asked(live: Server) -> None:
    exported: dict[str, set[str]] = {}
    for sample in Metrics(live).samples:
        exported.setdefault(sample.name, set()).update(sample.labels)
    # Has no sample before a first row was saved, which may take its time.
    exported.setdefault("greentext_store_rows_total", {"kind", "outcome"})
    asked = [*queries(), *(alert["expr"] for alert in alerts())]
    for scaled in of_kind(render("overlays/production"), "ScaledObject"):
        asked += [trigger["metadata"].get("query", "") for trigger in scaled["spec"]["triggers"]]
    named = 0
    for query in asked:
        without_labels = re.sub(r"\bby \([^)]*\)", "", query)
        for name, matchers in NAME.findall(re.sub(r'"[^"]*"', '""', without_labels)):
            if name in OTHERS | FUNCTIONS:
                continue
            assert name in exported, query
            assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= exported[name] | TARGET_LABELS, query
            named += 1
        grouped = {label.strip() for found in re.findall(r"\bby \(([^)]*)\)", query) for label in found.split(",")}
        assert grouped <= TARGET_LABELS | set().union(*exported.values()), query
    assert named > 50
