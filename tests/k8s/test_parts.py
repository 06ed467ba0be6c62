"""Parts find each other: selectors, names, ports, paths, images."""

from __future__ import annotations

import re

import pytest

from greentext import __version__
from tests.k8s.manifests import (
    COMPONENTS,
    JOBS,
    OVERLAYS,
    ROOT,
    SCALERS,
    SERVING,
    WHOLE,
    of_kind,
    pod_of,
    render,
    selects,
    server,
    service_constant,
    workloads,
)

SYSTEM_PATHS: set[str] = service_constant("SYSTEM_PATHS")


@pytest.mark.parametrize("name", WHOLE)
def test_selectors_find_pods(name: str) -> None:
    manifests = render(name)
    pods = [pod_of(workload)["metadata"]["labels"] for workload in workloads(manifests)]
    selectors: list[dict[str, str]] = []
    for manifest in manifests:
        spec = manifest.get("spec", {})
        match manifest["kind"]:
            case "Service":
                selectors.append(spec["selector"])
            case "Deployment" | "PodDisruptionBudget":
                selectors.append(spec["selector"]["matchLabels"])
            case "NetworkPolicy":
                selectors.append(spec["podSelector"]["matchLabels"])
    for workload in workloads(manifests):
        pod = pod_of(workload)["spec"]
        selectors += [each["labelSelector"]["matchLabels"] for each in pod.get("topologySpreadConstraints", [])]
    assert selectors
    for selector in selectors:
        assert any(selects(selector, labels) for labels in pods), selector


@pytest.mark.parametrize("name", WHOLE)
def test_who_is_named_is_there(name: str) -> None:
    """Deployments that are scaled, services behind an ingress, accounts, ConfigMaps, claims."""
    manifests = render(name)
    there = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    named: set[tuple[str, str]] = set()
    for manifest in of_kind(manifests, *SCALERS):
        target = manifest["spec"]["scaleTargetRef"]
        named.add((target["kind"], target["name"]))
    for ingress in of_kind(manifests, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            named |= {("Service", path["backend"]["service"]["name"]) for path in rule["http"]["paths"]}
    for workload in workloads(manifests):
        pod = pod_of(workload)["spec"]
        named.add(("ServiceAccount", pod["serviceAccountName"]))
        if "subdomain" in pod:
            named.add(("Service", pod["subdomain"]))
        for volume in pod["volumes"]:
            if "configMap" in volume:
                named.add(("ConfigMap", volume["configMap"]["name"]))
            if "persistentVolumeClaim" in volume:
                named.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
    assert named <= there, named - there


@pytest.mark.parametrize("name", SERVING)
def test_ports_lead_to_where_the_service_listens(name: str) -> None:
    manifests = render(name)
    container = server(manifests)
    (port,) = container["ports"]
    command = container["command"]
    assert command[command.index("--port") + 1] == str(port["containerPort"])
    (service,) = of_kind(manifests, "Service")
    (door,) = service["spec"]["ports"]
    assert door["targetPort"] == port["name"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == port["name"]
    for policy in of_kind(manifests, "NetworkPolicy"):
        assert [each["port"] for rule in policy["spec"]["ingress"] for each in rule["ports"]] == [port["name"]]
    for ingress in of_kind(manifests, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            assert {path["backend"]["service"]["port"]["name"] for path in rule["http"]["paths"]} == {door["name"]}
    for monitor in of_kind(manifests, "ServiceMonitor"):
        assert selects(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])
        assert [each["port"] for each in monitor["spec"]["endpoints"]] == [door["name"]]


@pytest.mark.parametrize("name", SERVING)
def test_paths_that_are_asked_for_are_the_services(name: str) -> None:
    manifests = render(name)
    container = server(manifests)
    asked = {container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "readiness", "liveness")}
    for monitor in of_kind(manifests, "ServiceMonitor"):
        asked |= {each["path"] for each in monitor["spec"]["endpoints"]}
    assert asked <= SYSTEM_PATHS
    assert container["startupProbe"]["httpGet"]["path"] == container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_what_runs_is_the_version_of_this_repository() -> None:
    for name in {*WHOLE} - {"overlays/local"}:
        for workload in workloads(render(name)):
            for container in pod_of(workload)["spec"]["containers"]:
                image, _, tag = container["image"].rpartition(":")
                assert tag == __version__
                assert image in {"wholesome-greentext", "wholesome-greentext-training"}
    assert server(render("overlays/local"))["image"] == "wholesome-greentext:local"
    assert server(render("overlays/local"))["imagePullPolicy"] == "IfNotPresent"


def test_all_that_can_be_applied_is_described() -> None:
    text = (ROOT / "docs/kubernetes.md").read_text()
    assert set(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)) == set(COMPONENTS)
    for folder in (*(f"overlays/{name}" for name in OVERLAYS), *(f"jobs/{name}" for name in JOBS)):
        assert f"k8s/{folder}" in text
