"""The bill of materials: that it is CycloneDX, that it is whole, and that it names nothing that is not there."""

from __future__ import annotations

import json
from importlib.metadata import PathDistribution, distributions
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from referencing import Registry, Resource

from image.sbom import bill_of_materials, main
from tests.image.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DPKG = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u14

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: zlib1g
Status: install ok installed
Architecture: amd64
Version: 1:1.2.13.dfsg-1
"""


def package(folder: Path, name: str, version: str, *lines: str) -> PathDistribution:
    metadata = folder / f"{name}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("\n".join([f"Name: {name}", f"Version: {version}", *lines, ""]))
    return PathDistribution(metadata)


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    packages = [
        package(tmp_path, "Web_Thing", "1.0", "License-Expression: MIT OR Apache-2.0", "Requires-Dist: base>=1"),
        package(tmp_path, "base", "2.0+cpu", "License: BSD"),
        package(tmp_path, "odd", "3", "Classifier: License :: OSI Approved :: MIT License", "Requires-Dist: absent"),
        package(tmp_path, "bare", "4", 'Requires-Dist: base; python_version < "3"', "License: UNKNOWN"),
        package(tmp_path, "long", "5", f"License: {'Permission is hereby granted ' * 9}"),
    ]
    return bill_of_materials("0.1.0", packages, (ROOT / "models").iterdir(), DPKG)


def test_it_is_cyclonedx(document: dict[str, Any]) -> None:
    folder = files(pytest.importorskip("cyclonedx.schema")) / "_res"
    schemas = [json.loads(path.read_text()) for path in folder.iterdir() if path.name.endswith(".schema.json")]
    registry = Registry().with_resources((schema["$id"], Resource.from_contents(schema)) for schema in schemas)
    (schema,) = (schema for schema in schemas if schema["$id"].endswith("/bom-1.6.schema.json"))
    jsonschema.Draft7Validator(schema, registry=registry).validate(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema, registry=registry).validate(document | {"components": [{"name": "x"}]})


def test_it_names_packages_models_and_what_debian_brings(document: dict[str, Any]) -> None:
    purls = {component.get("purl") for component in document["components"]}
    assert purls >= {
        "pkg:pypi/web-thing@1.0",
        "pkg:pypi/base@2.0%2Bcpu",
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64",
        "pkg:deb/debian/zlib1g@1%3A1.2.13.dfsg-1?arch=amd64",
    }
    assert not [purl for purl in purls if purl and "gone" in purl]
    models = {c["name"]: c for c in document["components"] if c["type"] == "machine-learning-model"}
    assert set(models) == {path.parent.name for path in ROOT.glob("models/*/manifest.json")}
    for name, model in models.items():
        manifest = json.loads((ROOT / "models" / name / "manifest.json").read_text())
        assert model["hashes"] == [{"alg": "SHA-256", "content": manifest["files"]["model.onnx"]["sha256"]}]


def test_licences_are_told_in_the_words_that_a_package_has_for_them(document: dict[str, Any]) -> None:
    told = {component["name"]: component.get("licenses") for component in document["components"]}
    assert told["web-thing"] == [{"expression": "MIT OR Apache-2.0"}]
    assert told["base"] == [{"license": {"name": "BSD"}}]
    assert told["odd"] == [{"license": {"name": "MIT License"}}]
    assert told["bare"] is None
    assert told["long"] is None


def test_who_needs_whom(document: dict[str, Any]) -> None:
    needs = {entry["ref"]: entry["dependsOn"] for entry in document["dependencies"]}
    assert needs["pkg:pypi/web-thing@1.0"] == ["pkg:pypi/base@2.0%2Bcpu"]
    assert needs["pkg:pypi/odd@3"] == needs["pkg:pypi/bare@4"] == []
    direct = set(needs["wholesome-greentext"])
    assert {"pkg:pypi/web-thing@1.0", "pkg:pypi/odd@3"} <= direct
    assert "pkg:pypi/base@2.0%2Bcpu" not in direct
    known = {component["bom-ref"] for component in document["components"]} | {"wholesome-greentext"}
    assert {name for ref, names in needs.items() for name in (ref, *names)} <= known
    assert len(known) == len(document["components"]) + 1


def test_the_same_contents_give_the_same_file(tmp_path: Path) -> None:
    arguments = ["--project", str(ROOT), "--output"]
    for name in ("one.json", "two.json"):
        assert main([*arguments, str(tmp_path / name)]) == 0
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    document = json.loads((tmp_path / "one.json").read_text())
    names = {component["name"] for component in document["components"]}
    assert {"bentoml", "onnxruntime", "greentext-thanks"} <= names
    assert len([c for c in document["components"] if c["type"] == "library"]) <= len(list(distributions()))
