"""What pods may do: Pod Security, volumes, and whom they talk to."""

from __future__ import annotations

import pytest

from tests.k8s.manifests import (
    SERVING,
    WHOLE,
    bytes_of,
    environment,
    of_kind,
    only,
    pod_of,
    render,
    selects,
    server,
    workloads,
)


@pytest.mark.parametrize("name", WHOLE)
def test_pods_are_as_pod_security_restricted_wants_them(name: str) -> None:
    for workload in workloads(render(name)):
        pod = pod_of(workload)["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] >= 10000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert {kind for volume in pod["volumes"] for kind in volume} <= {
            "name", "emptyDir", "configMap", "persistentVolumeClaim",
        }  # fmt: skip
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert set(container["resources"]) == {"requests", "limits"}
            for part in container["resources"].values():
                assert set(part) >= {"cpu", "memory", "ephemeral-storage"}
    for account in of_kind(render(name), "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", SERVING)
def test_what_is_written_to_has_a_bounded_volume(name: str) -> None:
    manifests = render(name)
    container = server(manifests)
    given = environment(manifests, container)
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {given["BENTOML_HOME"], given["HOME"], "/tmp"} <= mounted  # noqa: S108
    volumes = [volume["emptyDir"] for volume in pod_of(only(manifests, "Deployment"))["spec"]["volumes"]]
    limit = bytes_of(container["resources"]["limits"]["ephemeral-storage"])
    assert sum(bytes_of(volume["sizeLimit"]) for volume in volumes) <= limit


@pytest.mark.parametrize("name", WHOLE)
def test_each_pod_has_a_network_policy_for_both_ways(name: str) -> None:
    manifests = render(name)
    policies = [policy["spec"] for policy in of_kind(manifests, "NetworkPolicy")]
    for workload in workloads(manifests):
        labels = pod_of(workload)["metadata"]["labels"]
        (policy,) = (each for each in policies if selects(each["podSelector"]["matchLabels"], labels))
        assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
        assert all(rule.get("to") for rule in policy["egress"])


def test_only_the_ingress_controller_and_prometheus_come_in() -> None:
    for name in ("base", "overlays/production"):
        (rule,) = only(render(name), "NetworkPolicy")["spec"]["ingress"]
        who = {peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for peer in rule["from"]}
        assert who == {"ingress-nginx", "prometheus"}
        assert all(peer["namespaceSelector"]["matchLabels"] for peer in rule["from"])


@pytest.mark.parametrize("name", WHOLE)
def test_no_library_tells_its_maker_of_us(name: str) -> None:
    manifests = render(name)
    for workload in workloads(manifests):
        (container,) = pod_of(workload)["spec"]["containers"]
        given = environment(manifests, container)
        assert given["ORT_DISABLE_TELEMETRY"] == "1"
        assert name not in SERVING or given["BENTOML_DO_NOT_TRACK"] == "True"
