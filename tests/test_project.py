"""What pyproject.toml and the compiled requirements promise, and no tool checks."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = {"base": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
DIRECT_LINES = [pytest.param(line, id=f"{part}-{line}") for part, lines in DIRECT.items() for line in lines]


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    found = (re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", line) for line in lines)
    return {canonicalize_name(pin[1]): pin[2] for pin in found if pin}


@pytest.mark.parametrize("line", DIRECT_LINES)
def test_a_direct_dependency_has_a_lower_and_an_upper_bound(line: str) -> None:
    operators = {specifier.operator for specifier in Requirement(line).specifier}
    assert operators & {">=", ">", "==", "~="}
    assert operators & {"<=", "<", "==", "~="}


@pytest.mark.parametrize("line", DIRECT_LINES)
def test_a_direct_dependency_is_pinned_within_its_bounds(line: str) -> None:
    requirement = Requirement(line)
    assert pins("dev.txt")[canonicalize_name(requirement.name)] in requirement.specifier


def test_a_dependency_of_several_parts_has_the_same_bounds_in_each() -> None:
    bounds: dict[str, set[str]] = {}
    for lines in DIRECT.values():
        for line in lines:
            requirement = Requirement(line)
            bounds.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}


def test_the_service_needs_what_it_declares_and_no_training_library() -> None:
    pinned = pins("service.txt")
    assert {canonicalize_name(Requirement(line).name) for line in DIRECT["service"] + DIRECT["base"]} <= set(pinned)
    assert not {"torch", "transformers", "optimum", "optimum-onnx", "accelerate", "datasets", "onnx"} & set(pinned)


def test_training_and_the_service_agree_on_what_they_share() -> None:
    dev = pins("dev.txt")
    assert {name: (pin, dev.get(name)) for name, pin in pins("service.txt").items() if dev.get(name) != pin} == {}


def test_each_of_the_services_requirements_has_hashes() -> None:
    text = "\n".join(
        line
        for line in (ROOT / "requirements/service.txt").read_text().splitlines()
        if not line.lstrip().startswith("#")
    )
    for requirement in text.replace("\\\n", " ").splitlines():
        assert re.fullmatch(r"\S+==\S+( ; [^-]*)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", requirement), requirement


@pytest.mark.parametrize("name", ["service.txt", "dev.txt"])
def test_requirements_name_no_place_to_download_from(name: str) -> None:
    for line in (ROOT / "requirements" / name).read_text().splitlines():
        assert "://" not in line
        assert " @ " not in line
        assert not re.match(r"-", line)


def test_torch_is_pinned_without_a_build_of_its_own() -> None:
    pinned = pins("dev.txt")
    assert "+" not in pinned["torch"]
    assert [name for name in pinned if name.startswith(("nvidia-cu", "cuda-", "triton"))] == []
