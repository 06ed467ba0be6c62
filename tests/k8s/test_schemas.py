"""Everything renders, and holds what the API's schemas of three versions and those of custom resources allow."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.k8s.manifests import COMPONENTS, K8S, WHOLE, Manifest, render, render_folder, write_overlay

VERSIONS = ("1.35", "1.36", "1.37")
CUSTOM = {path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent / "crd_schemas").glob("*.json")}
LABELS = {"app.kubernetes.io/name", "app.kubernetes.io/part-of", "app.kubernetes.io/component"}


def check(manifests: list[Manifest], version: str) -> None:
    assert manifests
    for manifest in manifests:
        schema = CUSTOM.get(manifest["kind"])
        if schema is None:
            kubernetes_validate.validate(manifest, version, strict=True)
        else:
            jsonschema.Draft202012Validator(schema).validate(manifest)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", WHOLE)
def test_what_is_applied_is_what_the_api_takes(name: str, version: str) -> None:
    check(render(name), version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_alone_makes_what_the_api_takes(component: str, version: str, tmp_path: Path) -> None:
    manifests = render_folder(write_overlay(tmp_path, [component]))
    check(manifests, version)
    assert manifests != render("base")


@pytest.mark.parametrize("version", VERSIONS)
def test_files_that_are_applied_by_hand_are_what_the_api_takes(version: str) -> None:
    for path in (K8S / "namespace.yaml", *K8S.rglob("*.example.yaml")):
        check(list(yaml.safe_load_all(path.read_text())), version)


SCALED = {"scaleTargetRef": {"name": "x"}, "triggers": [{"type": "cpu", "metadata": {}}]}
MONITORED = {"selector": {}, "endpoints": [{"port": "http", "interval": "often"}]}
RULED = {"groups": [{"name": "x", "rules": [{"alert": "y", "expr": "up", "four": "1m"}]}]}


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("ScaledObject", {**SCALED, "minReplicas": 1}),
        ("ScaledObject", {**SCALED, "triggers": []}),
        ("ServiceMonitor", MONITORED),
        ("PrometheusRule", RULED),
    ],
)
def test_the_schemas_of_custom_resources_find_mistakes(kind: str, spec: Manifest) -> None:
    whole = {"spec": spec, "kind": kind, "metadata": {"name": "x", "namespace": "y"}}
    whole["apiVersion"] = CUSTOM[kind]["properties"]["apiVersion"]["const"]
    with pytest.raises(jsonschema.ValidationError):
        check([whole], VERSIONS[0])


@pytest.mark.parametrize("name", WHOLE)
def test_all_has_its_labels_and_its_namespace(name: str) -> None:
    namespace = yaml.safe_load((K8S / "namespace.yaml").read_text())["metadata"]
    for manifest in render(name):
        assert set(manifest["metadata"]["labels"]) >= LABELS, manifest["metadata"]["name"]
        assert manifest["metadata"]["namespace"] == namespace["name"]


def test_the_namespace_takes_restricted_pods_only() -> None:
    labels = yaml.safe_load((K8S / "namespace.yaml").read_text())["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
