"""What pods are told: settings that exist, sizes that fit, and no secret in the repository."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import yaml

from service.settings import Settings
from service.tracing import is_wanted
from tests.k8s.manifests import (
    K8S,
    SERVING,
    WHOLE,
    bytes_of,
    environment,
    files,
    of_kind,
    only,
    pod_of,
    render,
    render_folder,
    server,
    settings_of,
    workloads,
    write_overlay,
)

if TYPE_CHECKING:
    from pathlib import Path

PLACEHOLDER = "postgresql://USER:PASSWORD@HOST/NAME"
PROCESS_BYTES = 300 * 2**20
"""What the interpreter and the libraries take, models aside."""
STORE_BYTES = 160 * 2**20
"""The worst that waits for the database (docs/store.md)."""


@pytest.mark.parametrize("name", SERVING)
def test_every_setting_exists_and_can_be(name: str) -> None:
    settings_of(render(name), GREENTEXT_THREADS="2")


def test_another_value_is_another_rollout(tmp_path: Path) -> None:
    file = write_overlay(tmp_path, []) / "kustomization.yaml"
    overlay = yaml.safe_load(file.read_text())
    change = {"name": "wholesome-greentext", "behavior": "merge", "literals": ["GREENTEXT_MAX_SLOTS=7"]}
    file.write_text(yaml.safe_dump({**overlay, "configMapGenerator": [change]}))
    before, after = render("base"), render_folder(tmp_path)
    assert settings_of(after).max_slots == 7
    assert settings_of(after).max_waiting == settings_of(before).max_waiting
    assert pod_of(only(after, "Deployment")) != pod_of(only(before, "Deployment"))


def test_settings_are_documented() -> None:
    documented = set(re.findall(r"`(GREENTEXT_[A-Z_]+)`", (K8S.parent / "docs/settings.md").read_text()))
    for name in SERVING:
        given = environment(render(name), server(render(name)))
        assert {variable for variable in given if variable.startswith("GREENTEXT_")} <= documented


@pytest.mark.parametrize("name", WHOLE)
def test_no_service_turns_into_a_setting(name: str) -> None:
    """Kubernetes would set a service's address as NAME_SERVICE_HOST, and unknown settings stop the service."""
    manifests = render(name)
    for workload in workloads(manifests):
        assert pod_of(workload)["spec"]["enableServiceLinks"] is False
    for service in of_kind(manifests, "Service"):
        assert not service["metadata"]["name"].upper().startswith("GREENTEXT")


@pytest.mark.parametrize("name", SERVING)
def test_threads_follow_the_processor_limit(name: str) -> None:
    manifests = render(name)
    container = server(manifests)
    assert environment(manifests, container)["GREENTEXT_THREADS"] == {"resourceFieldRef": {"resource": "limits.cpu"}}
    assert int(container["resources"]["limits"]["cpu"]) >= 1
    assert settings_of(manifests).workers == 1


@pytest.mark.parametrize("name", SERVING)
def test_what_may_be_loaded_fits_into_the_memory_limit(name: str) -> None:
    manifests = render(name)
    settings = settings_of(manifests)
    limit = bytes_of(server(manifests)["resources"]["limits"]["memory"])
    assert settings.workers * (PROCESS_BYTES + settings.model_memory_bytes + STORE_BYTES) <= limit


@pytest.mark.parametrize("name", SERVING)
def test_pods_never_share_a_sqlite_file(name: str) -> None:
    manifests = render(name)
    url = environment(manifests, server(manifests))["GREENTEXT_DATABASE_URL"]
    assert url == "none" or set(url) == {"secretKeyRef"}


def test_with_postgresql_its_address_comes_from_the_secret_of_the_example(tmp_path: Path) -> None:
    manifests = render_folder(write_overlay(tmp_path, ["postgresql"]))
    key = environment(manifests, server(manifests))["GREENTEXT_DATABASE_URL"]["secretKeyRef"]
    example = yaml.safe_load((K8S / "components/postgresql/secret.example.yaml").read_text())
    assert key["name"] == example["metadata"]["name"]
    assert "optional" not in key
    Settings.from_environment({"GREENTEXT_DATABASE_URL": example["stringData"][key["key"]]})
    egress = only(manifests, "NetworkPolicy")["spec"]["egress"]
    assert {port["port"] for rule in egress for port in rule["ports"]} == {53, 5432}


def test_with_tracing_the_collector_is_named_and_can_be_reached(tmp_path: Path) -> None:
    for name in SERVING:
        manifests = render(name)
        assert not is_wanted(environment(manifests, server(manifests)))
    manifests = render_folder(write_overlay(tmp_path, ["tracing"]))
    given = environment(manifests, server(manifests))
    assert is_wanted(given)
    collector = urlsplit(given["OTEL_EXPORTER_OTLP_ENDPOINT"])
    egress = only(manifests, "NetworkPolicy")["spec"]["egress"]
    (rule,) = (rule for rule in egress if {"port": collector.port} in rule["ports"])
    (peer,) = rule["to"]
    host, _, namespace = str(collector.hostname).partition(".")
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": host}
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": namespace}


def test_no_secret_is_in_the_repository() -> None:
    for name in WHOLE:
        assert not of_kind(render(name), "Secret")
    for path in files():
        text = path.read_text()
        assert set(re.findall(r"postgres(?:ql)?://[^\s\"'`]*", text)) <= {PLACEHOLDER}, path
        assert "secretGenerator" not in text, path
        assert not re.search(r"hf_[A-Za-z0-9]{8}|sk-[A-Za-z0-9]{8}|BEGIN [A-Z ]*PRIVATE KEY", text), path
        if path.suffix != ".yaml":
            continue
        for manifest in yaml.safe_load_all(text):
            if isinstance(manifest, dict) and manifest.get("kind") == "Secret":
                assert path.name.endswith(".example.yaml")
                assert set(manifest["stringData"].values()) == {PLACEHOLDER}
                assert "data" not in manifest
