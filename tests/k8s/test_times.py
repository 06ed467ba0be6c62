"""How a pod comes and goes: probes, rollouts, drains, and the proxy that waits for them."""

from __future__ import annotations

import re

import pytest

from service.api.app import create_app
from service.registry import Registry
from service.settings import Settings
from service.store.store import Store
from tests.k8s.manifests import (
    SERVING,
    environment,
    of_kind,
    only,
    pod_of,
    render,
    server,
    service_constant,
    settings_of,
)

LAST_ANSWERS_S: float = service_constant("LAST_ANSWERS_S")
STORE_FLUSH_S: float = service_constant("STORE_FLUSH_S")
SYSTEM_PATHS: set[str] = service_constant("SYSTEM_PATHS")
ENDPOINTS_S = 5
"""What it takes a cluster to stop sending requests to a pod, at least."""
MARGIN_S = 10


@pytest.mark.parametrize("name", SERVING)
def test_a_pod_that_is_to_go_has_time_for_every_stream(name: str) -> None:
    manifests = render(name)
    settings = settings_of(manifests)
    pod = pod_of(only(manifests, "Deployment"))["spec"]
    pre_stop = server(manifests)["lifecycle"]["preStop"]["sleep"]["seconds"]
    leaving = settings.drain_s + 2 * LAST_ANSWERS_S + STORE_FLUSH_S
    assert pre_stop >= ENDPOINTS_S
    assert settings.drain_s >= settings.deadline_s
    assert pod["terminationGracePeriodSeconds"] >= pre_stop + leaving + MARGIN_S


@pytest.mark.parametrize("name", SERVING)
def test_probes_are_patient(name: str) -> None:
    container = server(render(name))

    def patience_s(probe: str) -> int:
        return int(container[probe]["periodSeconds"]) * int(container[probe]["failureThreshold"])

    assert patience_s("startupProbe") >= 180
    assert patience_s("livenessProbe") >= 60
    assert patience_s("readinessProbe") < patience_s("livenessProbe")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["timeoutSeconds"] >= 5
    assert only(render(name), "Deployment")["spec"]["progressDeadlineSeconds"] > patience_s("startupProbe")


@pytest.mark.parametrize("name", SERVING)
def test_a_process_that_dies_is_replaced_by_one_authority(name: str) -> None:
    """BentoML then ends with its worker; it would not replace one of several."""
    manifests = render(name)
    assert environment(manifests, server(manifests))["BENTOML_CONTAINERIZED"]
    assert settings_of(manifests).workers == 1


@pytest.mark.parametrize("name", SERVING)
def test_a_rollout_takes_no_pod_away_before_another_is_there(name: str) -> None:
    manifests = render(name)
    assert only(manifests, "Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    budget = only(manifests, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert "minAvailable" not in budget


def test_the_ingress_lets_streams_flow_and_waits_longer_than_the_service() -> None:
    manifests = render("overlays/production")
    settings = settings_of(manifests)
    ingress = next(each for each in of_kind(manifests, "Ingress") if not each["metadata"]["name"].endswith("closed"))
    said = {key.rpartition("/")[2]: value for key, value in ingress["metadata"]["annotations"].items()}
    assert said["proxy-buffering"] == "off"
    assert int(said["proxy-read-timeout"]) > settings.deadline_s > settings.ping_interval_s
    assert int(said["proxy-send-timeout"]) > settings.deadline_s
    size = re.fullmatch(r"(\d+)k", said["proxy-body-size"])
    assert size
    assert int(size[1]) * 1024 > settings.max_body_bytes
    assert set(said["proxy-next-upstream"].split()) <= {"error", "timeout"}
    assert 0 < int(said["proxy-next-upstream-timeout"]) < settings.deadline_s


def test_the_ingress_opens_the_api_and_not_the_metrics() -> None:
    ingresses = {each["metadata"]["name"]: each for each in of_kind(render("overlays/production"), "Ingress")}
    paths = {
        name: [(path["path"], path["pathType"]) for rule in each["spec"]["rules"] for path in rule["http"]["paths"]]
        for name, each in ingresses.items()
    }
    assert paths == {"wholesome-greentext": [("/", "Prefix")], "wholesome-greentext-closed": [("/metrics", "Exact")]}
    closed = ingresses["wholesome-greentext-closed"]
    assert closed["metadata"]["annotations"]["nginx.ingress.kubernetes.io/whitelist-source-range"] == "127.0.0.1/32"
    assert [each["spec"]["rules"][0]["host"] for each in ingresses.values()] == 2 * ["greentext.example.com"]
    api = create_app(Registry(), Settings(), Store(Settings(database_url="none")))  # type: ignore[arg-type]
    assert not {getattr(route, "path", None) for route in api.routes} & SYSTEM_PATHS
