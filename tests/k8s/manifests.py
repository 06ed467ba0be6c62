"""What `kubectl kustomize` makes of `k8s/`, for tests to ask."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[2]
K8S: Final = ROOT / "k8s"
OVERLAYS: Final = tuple(sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml")))
COMPONENTS: Final = tuple(sorted(path.parent.name for path in K8S.glob("components/*/kustomization.yaml")))
JOBS: Final = tuple(sorted(path.parent.name for path in K8S.glob("jobs/*/kustomization.yaml")))
WHOLE: Final = ("base", *(f"overlays/{name}" for name in OVERLAYS), *(f"jobs/{name}" for name in JOBS))
"""What can be applied as it is."""
SERVING: Final = ("base", *(f"overlays/{name}" for name in OVERLAYS))
"""What serves."""
SCALERS: Final = {"ScaledObject", "HorizontalPodAutoscaler"}
OLDEST_KUBECTL: Final = 28
"""Its kustomize is the first that puts labels into templates and leaves selectors alone."""
SYSTEM_VARIABLES: Final = {"BENTOML_HOME", "HOME"}
"""Of a container's variables, those that name places which only the container has."""
MUST: Final = "K8S_CHECK"
"""`make k8s-check` sets it: then what is missing fails."""

Manifest = dict[str, Any]


def missing(what: str) -> None:
    """Skips a test whose tool is not here."""
    if os.environ.get(MUST):
        pytest.fail(what)
    pytest.skip(what)


@cache
def kubectl() -> str | None:
    """One that is new enough."""
    found = os.environ.get("KUBECTL") or shutil.which("kubectl")
    if found is None:
        return None
    version = subprocess.run([found, "version", "--client"], check=True, capture_output=True, text=True).stdout
    minor = re.search(r"v1\.(\d+)", version)
    return found if minor and int(minor[1]) >= OLDEST_KUBECTL else None


@cache
def _rendered(folder: Path) -> tuple[str, str]:
    """What it makes, and what it has to say."""
    program = kubectl()
    if program is None:
        missing(f"no kubectl of 1.{OLDEST_KUBECTL} or newer: `make k8s-check` fetches one")
    assert program is not None
    done = subprocess.run([program, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    return (done.stdout, done.stderr) if done.returncode == 0 else ("", done.stderr or "failed")


def render_folder(folder: Path) -> list[Manifest]:
    """A folder's manifests. A warning, as of a field that goes out of use, is an error."""
    text, complaint = _rendered(folder)
    assert not complaint, complaint
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def render(name: str) -> list[Manifest]:
    """The manifests of a folder of `k8s/`."""
    return render_folder(K8S / name)


def write_overlay(folder: Path, components: list[str]) -> Path:
    """An overlay of the base with these components."""

    def relative(path: str) -> str:
        return os.path.relpath(K8S / path, folder)

    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [relative("base")],
        "components": [relative(f"components/{name}") for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    return folder


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    """Those of some kinds."""
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def only(manifests: list[Manifest], kind: str) -> Manifest:
    """The one of a kind."""
    (manifest,) = of_kind(manifests, kind)
    return manifest


def pod_of(manifest: Manifest) -> Manifest:
    """The template of a workload's pods."""
    template: Manifest = manifest["spec"]["template"]
    return template


def workloads(manifests: list[Manifest]) -> list[Manifest]:
    """Whatever makes pods."""
    return [manifest for manifest in manifests if "template" in manifest.get("spec", {})]


def environment(manifests: list[Manifest], container: Manifest) -> dict[str, Any]:
    """A container's variables: a string, or where it comes from. What is named in `env` goes before `envFrom`."""
    found: dict[str, Any] = {}
    for source in container.get("envFrom", []):
        name = source["configMapRef"]["name"]
        (config,) = (m for m in of_kind(manifests, "ConfigMap") if m["metadata"]["name"] == name)
        found |= config["data"]
    for variable in container.get("env", []):
        found[variable["name"]] = variable.get("value", variable.get("valueFrom"))
    return found


def files() -> Iterator[Path]:
    """All files of `k8s/`."""
    return (path for path in sorted(K8S.rglob("*")) if path.is_file())


def bytes_of(quantity: str) -> int:
    """Kubernetes' way to write a size."""
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi)?", quantity)
    assert match, quantity
    return int(match[1]) * {None: 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}[match[2]]


def server(manifests: list[Manifest]) -> Manifest:
    """The container that serves."""
    (container,) = pod_of(only(manifests, "Deployment"))["spec"]["containers"]
    found: Manifest = container
    return found


def settings_of(manifests: list[Manifest], **more: str) -> Settings:
    """The settings that a pod would start with. What comes from elsewhere is given."""
    given = {name: value for name, value in environment(manifests, server(manifests)).items() if isinstance(value, str)}
    return Settings.from_environment({**given, **more})


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Whether it selects what has these labels; one that selects all selects nothing here."""
    return bool(selector) and selector.items() <= labels.items()


def service_constant(name: str) -> Any:
    """A constant of `service/service.py`, which starts a service where it is imported."""
    for part in ast.parse((ROOT / "service/service.py").read_text(encoding="utf-8")).body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.target.id == name:
            value = part.value.args[0] if isinstance(part.value, ast.Call) else part.value
            assert value is not None
            return ast.literal_eval(value)
    raise AssertionError(name)
