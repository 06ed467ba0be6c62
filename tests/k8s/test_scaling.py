"""One scaler at a time, and one that can measure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.k8s.manifests import (
    SCALERS,
    SERVING,
    of_kind,
    only,
    pod_of,
    render,
    render_folder,
    server,
    settings_of,
    write_overlay,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", SERVING)
def test_only_one_says_how_many_pods_there_are(name: str) -> None:
    manifests = render(name)
    scalers = of_kind(manifests, *SCALERS)
    replicas = "replicas" in only(manifests, "Deployment")["spec"]
    assert len(scalers) + replicas == 1


def test_keda_and_a_plain_autoscaler_cannot_be_used_together(tmp_path: Path) -> None:
    for components in (["keda", "hpa"], ["hpa", "keda"]):
        with pytest.raises(AssertionError, match="remove"):
            render_folder(write_overlay(_new(tmp_path / components[0]), components))


def test_a_scaler_can_measure_what_it_scales_on(tmp_path: Path) -> None:
    for component in ("keda", "hpa"):
        manifests = render_folder(write_overlay(_new(tmp_path / component), [component]))
        assert float(server(manifests)["resources"]["requests"]["cpu"]) > 0


def test_keda_scales_on_texts_in_flight_and_has_something_to_fall_back_on() -> None:
    manifests = render("overlays/production")
    scaled = only(manifests, "ScaledObject")
    spec = scaled["spec"]
    triggers: dict[str, Any] = {trigger["type"]: trigger for trigger in spec["triggers"]}
    assert set(triggers) == {"prometheus", "cpu"}
    asked = triggers["prometheus"]
    assert set(re.findall(r'namespace="([^"]*)"', asked["metadata"]["query"])) == {scaled["metadata"]["namespace"]}
    assert asked["metricType"] == "AverageValue"  # no other has a fallback
    assert asked["metadata"]["ignoreNullValues"] == "false"
    assert 0 < int(asked["metadata"]["threshold"]) < settings_of(manifests).max_slots
    assert 1 <= spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


def test_scaling_down_is_slower_than_a_pod_takes_to_leave(tmp_path: Path) -> None:
    manifests = render("overlays/production")
    behavior = only(manifests, "ScaledObject")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    plain = render_folder(write_overlay(tmp_path, ["hpa"]))
    assert only(plain, "HorizontalPodAutoscaler")["spec"]["behavior"] == behavior
    grace = pod_of(only(manifests, "Deployment"))["spec"]["terminationGracePeriodSeconds"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] > grace


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder
