"""What both Dockerfiles promise, and that `k8s/` asks for what they have."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.image.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = ROOT / "image/service.dockerfile"
TRAINING = ROOT / "image/training.dockerfile"
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def instructions(path: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def shipped(path: Path) -> list[tuple[str, str]]:
    """The last stage's."""
    found = instructions(path)
    last = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return found[last + 1 :]


def variables(path: Path) -> dict[str, str]:
    (line,) = (rest for name, rest in shipped(path) if name == "ENV")
    return dict(word.split("=", 1) for word in shlex.split(line))


def pod(name: str) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((ROOT / "k8s" / name).read_text())
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("path", [SERVICE, TRAINING], ids=lambda path: path.stem)
def test_it_runs_as_the_user_that_kubernetes_names(path: Path) -> None:
    users = {rest for name, rest in shipped(path) if name == "USER"}
    manifests = {SERVICE: ["base/deployment.yaml"], TRAINING: ["jobs/data/job.yaml", "jobs/training/job.yaml"]}[path]
    contexts = [pod(manifest)["securityContext"] for manifest in manifests]
    assert users == {f"{context['runAsUser']}:{context['runAsGroup']}" for context in contexts}


@pytest.mark.parametrize("path", [SERVICE, TRAINING], ids=lambda path: path.stem)
def test_no_tool_that_builds_is_shipped_and_no_secret_is_kept(path: Path) -> None:
    assert not [rest for name, rest in shipped(path) if name in {"ARG", "ADD"}]
    for name, rest in shipped(path):
        if name == "RUN":
            assert not re.search(r"\bpip\b|venv\s|gcc|build-essential|curl|\bgit\b", rest), rest
        if name == "COPY":
            assert "--chown" not in rest
    assert all("--no-install-recommends" in rest for _, rest in instructions(path) if "apt-get install" in rest)


def test_the_deployment_says_what_the_image_says() -> None:
    (container,) = pod("base/deployment.yaml")["containers"]
    ours = variables(SERVICE)
    theirs = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    assert {name: value for name, value in theirs.items() if name != "BENTOML_HOME"}.items() <= ours.items()
    (command,) = (json.loads(rest) for name, rest in shipped(SERVICE) if name == "CMD")
    assert command == [str(word) for word in container["command"]]
    (port,) = (rest for name, rest in shipped(SERVICE) if name == "EXPOSE")
    assert int(port) == container["ports"][0]["containerPort"]


def test_what_the_image_writes_lies_in_the_temporary_folder() -> None:
    ours = variables(SERVICE)
    assert [name for name in ("HOME", "BENTOML_HOME") if not ours[name].startswith("/tmp")] == []  # noqa: S108
    assert ours["PYTHONDONTWRITEBYTECODE"] == "1"


@pytest.mark.parametrize("name", ["data", "training"])
def test_a_jobs_command_is_in_the_image(name: str) -> None:
    (container,) = pod(f"jobs/{name}/job.yaml")["containers"]
    direct = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert container["command"][0] in {
        *SCRIPTS,
        *(["accelerate"] if any("accelerate" in d for d in direct["training"]) else []),
    }
    (folder,) = (rest for instruction, rest in shipped(TRAINING) if instruction == "WORKDIR")
    assert container["workingDir"] == folder
    home = {entry["name"]: entry.get("value") for entry in container["env"]}["HOME"]
    assert variables(TRAINING)["HOME"] == home


@pytest.mark.parametrize("path", [SERVICE, TRAINING], ids=lambda path: path.stem)
def test_it_names_no_place_to_download_from(path: Path) -> None:
    assert "://" not in path.read_text()


def test_all_that_the_training_image_copies_is_let_through() -> None:
    ignored = (TRAINING.parent / "training.dockerfile.dockerignore").read_text().splitlines()
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    copied = [rest.split()[:-1] for name, rest in instructions(TRAINING) if name == "COPY" and "--from" not in rest]
    for source in (word for words in copied for word in words):
        assert source in let_through, source
        assert (ROOT / source).exists(), source
