"""A real Prometheus scrapes a real service with the shipped rules: alerts fire when they should, and clear.

The rules are those of the shipped PrometheusRule, in a hurry: where `for`, a window or an offset says minutes, it says
as many seconds, and nothing else is changed (`hurried`; test_shipped.py holds it to that). Thresholds stay, and so does
the `< 60` of GreentextStoreAway. Prometheus scrapes and evaluates twice a second, where the ServiceMonitor says every
15 s. The true durations are in `tests/k8s/rule_cases.yaml`, which promtool plays to the rules as they are.

The service is the one that ships, with its model and a database, but one slot and few places to wait, so that some
people are enough to fill it.
"""

from __future__ import annotations

import math
import os
import random
import re
import shutil
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from loadtests.load.cost import tree
from loadtests.load.servers import Server, free_port, start_service
from tests.loadtests.crowd import Crowd
from tests.loadtests.prometheus import POD, Prometheus, start_prometheus
from tests.loadtests.shipped import hurried, panel_queries, rule_groups, scaling_query, scraped, selectors

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = {
    "GREENTEXT_MAX_SLOTS": "1",
    # Few, but on a quick machine, too, the last of them is to be more than 2.5 s away from the slot.
    "GREENTEXT_MAX_WAITING": "127",
    "GREENTEXT_THREADS": "1",
}
LONG = {"n": 8, "min_new_tokens": 250, "max_new_tokens": 250}
PEOPLE = 24
"""A third of them finds no place: 16 requests for 8 texts each take all 128."""
WINDOW = "5s"
REST_S = 4.0
LOAD_ALERTS = {"GreentextRefuses", "GreentextQueue"}
DOWN_ALERTS = {"GreentextDown", "GreentextPodDown"}
NOT_HERE = {
    "container_": "the kubelet's metrics: no container is here",
    'http_response_code=~"5.."': "a series begins with the first answer of its status, and here no answer is an error",
}
EMPTY_PANELS = {
    "Memory, by pod": "the kubelet's metrics",
    "Processors, by pod": "the kubelet's metrics",
    "Since the database last failed": "it never did",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def need_prometheus() -> None:
    """Skips a test where there is no Prometheus; where others judge by the run, that is a failure."""
    if shutil.which("prometheus") is None:
        said = "no prometheus: on Debian, apt-get install prometheus"
        pytest.fail(said) if os.environ.get("CI") else pytest.skip(said)


def lasting_port() -> int:
    """A port that nothing listens on, and that nobody is given while the service is down: Linux hands out others."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    below = range(max(1024, first - 10000), first)
    for port in random.sample(below, len(below)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    return free_port()


@dataclass
class Watched:
    """A service, and the Prometheus that watches it."""

    service: Server
    prometheus: Prometheus
    folder: Path

    def kill(self) -> None:
        for process in tree(self.service.pid):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.service.process.wait()

    def start_again(self) -> None:
        port = int(self.service.url.rpartition(":")[2])
        self.service = start_service(self.folder, port=port, settings=SETTINGS)
        self.service.wait_until_ready()

    def wait_until_quiet(self) -> None:
        """Until it is scraped and no alert is firing or pending."""
        job, _, _ = scraped()
        # Prometheus looks for its targets 5 s after its start; until then, hurried, the service counts as down.
        self.prometheus.wait_until("up", lambda: self.prometheus.query(f'up{{job="{job}"}}') == [1.0])
        self.prometheus.wait_until("quiet", lambda: not self.prometheus.alerts())

    def wait_until_firing(self, names: set[str]) -> dict[str, dict[str, Any]]:
        """These alerts, and what else is firing by then."""
        found: dict[str, dict[str, Any]] = {}

        def all_fire() -> bool:
            nonlocal found
            found = self.prometheus.firing()
            return names <= found.keys()

        self.prometheus.wait_until(f"{sorted(names)} fire", all_fire)
        return found


@dataclass(frozen=True)
class Rush:
    """What was seen while more people came than there was room for; by now they are gone."""

    peak_s: float
    """The time (since 1970) at which the alerts had fired and everybody was still there."""
    firing: dict[str, dict[str, Any]]
    rule_healths: dict[str, tuple[str, str]]
    statuses: dict[int | str, int]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    need_prometheus()
    folder = tmp_path_factory.mktemp("watched")
    job, namespace, path = scraped()
    port = lasting_port()
    with start_prometheus(
        folder / "prometheus",
        service=f"127.0.0.1:{port}",
        job=job,
        namespace=namespace,
        path=path,
        groups=hurried(rule_groups()),
    ) as prometheus:
        watched = Watched(
            start_service(folder / "service", port=port, settings=SETTINGS), prometheus, folder / "service"
        )
        try:
            prometheus.wait_until_ready("/-/ready")
            watched.service.wait_until_ready()
            yield watched
        finally:
            watched.service.stop()


@pytest.fixture(scope="module")
def rush(watched: Watched) -> Rush:
    watched.wait_until_quiet()
    with Crowd(watched.service.url, PEOPLE, LONG) as crowd:
        firing = watched.wait_until_firing(LOAD_ALERTS)
        peak_s = time.time()
        healths = watched.prometheus.rule_healths()
    return Rush(peak_s, firing, healths, dict(crowd.statuses))


def shipped_alerts() -> set[str]:
    return {rule["alert"] for group in rule_groups() for rule in group["rules"]}


def all_well() -> dict[str, tuple[str, str]]:
    return dict.fromkeys(shipped_alerts(), ("ok", ""))


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_without_prometheus_tests_are_skipped_or_fail(
    ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="apt-get install prometheus"):
        need_prometheus()


def test_at_rest_the_service_is_up_and_nothing_fires(watched: Watched) -> None:
    prometheus = watched.prometheus
    watched.wait_until_quiet()
    (target,) = prometheus.ask("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    end_s = time.monotonic() + REST_S
    while time.monotonic() < end_s:
        assert prometheus.firing() == {}
        time.sleep(0.2)
    assert prometheus.rule_healths() == all_well()


def test_under_more_load_than_there_is_room_for_its_alerts_fire_and_no_others(rush: Rush) -> None:
    assert rush.firing.keys() >= LOAD_ALERTS
    (load,) = (group for group in rule_groups() if group["name"] == "wholesome-greentext.load")
    assert rush.firing.keys() <= {rule["alert"] for rule in load["rules"]}
    assert rush.statuses.keys() == {200, 429}
    assert rush.rule_healths == all_well()
    refuses, queue = (
        rush.firing[name]["annotations"]["description"] for name in ("GreentextRefuses", "GreentextQueue")
    )
    assert re.fullmatch(r"[\d.]+% of the requests in greentext are answered with 429\.", refuses)
    assert re.fullmatch(r"One text in ten waits longer than [\dms. ]+s for a slot in greentext\.", queue)


def test_when_everybody_has_gone_they_clear(rush: Rush, watched: Watched) -> None:
    watched.wait_until_quiet()
    assert watched.prometheus.firing() == {}
    query, _ = scaling_query()
    assert watched.prometheus.query(query) == [0]


def test_all_series_that_rules_and_dashboard_ask_for_are_there(rush: Rush, watched: Watched) -> None:
    asked = [rule["expr"] for group in hurried(rule_groups()) for rule in group["rules"]]
    asked += [query for _, query in panel_queries(WINDOW)]
    found = set().union(*(selectors(query) for query in asked))
    assert len(found) > 20
    empty = {each for each in found if not watched.prometheus.query(each, rush.peak_s)}
    for part in NOT_HERE:
        assert any(part in each for each in found), part
    assert empty == {each for each in found if any(part in each for part in NOT_HERE)}


def test_all_panels_show_numbers(rush: Rush, watched: Watched) -> None:
    empty = set()
    for title, query in panel_queries(WINDOW):
        values = watched.prometheus.query(query, rush.peak_s)
        assert all(math.isfinite(value) for value in values), query
        if not values:
            empty.add(title)
    assert empty == EMPTY_PANELS.keys()


def test_the_autoscaler_would_be_told_of_the_rush(rush: Rush, watched: Watched) -> None:
    query, enough = scaling_query()
    (texts,) = watched.prometheus.query(query, rush.peak_s)
    assert enough < texts <= int(SETTINGS["GREENTEXT_MAX_SLOTS"]) + int(SETTINGS["GREENTEXT_MAX_WAITING"])


def test_a_service_that_is_killed_is_told_of_until_it_is_back(watched: Watched) -> None:
    watched.wait_until_quiet()
    watched.kill()
    try:
        firing = watched.wait_until_firing(DOWN_ALERTS)
        healths = watched.prometheus.rule_healths()
    finally:
        watched.start_again()
    assert firing.keys() == DOWN_ALERTS
    assert firing["GreentextDown"]["labels"] == {"alertname": "GreentextDown", "severity": "critical"}
    assert firing["GreentextPodDown"]["labels"]["pod"] == POD
    assert POD in firing["GreentextPodDown"]["annotations"]["description"]
    assert healths == all_well()
    watched.wait_until_quiet()
    assert watched.prometheus.firing() == {}
