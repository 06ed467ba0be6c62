"""Writes down what is in an environment, as a bill of materials in CycloneDX 1.6.

    python sbom.py --project FOLDER --output sbom.cdx.json [--dpkg /var/lib/dpkg/status]

Run by the Python whose packages it is about, while the image is built: it lists what is there, not what was asked for.
FOLDER holds `greentext/` and `models/`. The same contents give the same file. Knows nothing of advisories, and of a
package only what it says of itself.
"""

import argparse
import json
import re
import sys
import uuid
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NAME: Final = "wholesome-greentext"
LONGEST_LICENSE_NAME: Final = 80
"""Beyond that it is the licence's text, which some packages put where its name belongs."""
VAGUE_LICENSES: Final = frozenset({"", "UNKNOWN", "LICENSE", "License"})

Component = dict[str, Any]


def bill_of_materials(
    version: str, packages: Iterable[Distribution], models: Iterable[Path], dpkg_status: str = ""
) -> dict[str, Any]:
    """A document by the schema of CycloneDX 1.6.

    Args:
        version: Ours.
        packages: What is installed for Python.
        models: Folders of model bundles.
        dpkg_status: What `/var/lib/dpkg/status` holds, if Debian's packages belong to it.
    """
    installed = {str(canonicalize_name(package.name)): package for package in packages}
    root = {"type": "application", "bom-ref": NAME, "name": NAME, "version": version, "licenses": _license("MIT")}
    own = [_model(folder) for folder in sorted(models)]
    python = [_python_package(name, package) for name, package in sorted(installed.items())]
    needs = {name: sorted(_needs(package, installed.keys())) for name, package in sorted(installed.items())}
    needed = {name for names in needs.values() for name in names}
    direct = [_python_purl(name, installed[name].version) for name in installed if name not in needed]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": root},
        "components": [*own, *python, *_debian_packages(dpkg_status)],
        "dependencies": [
            {"ref": NAME, "dependsOn": sorted([*direct, *(model["bom-ref"] for model in own)])},
            *(
                {
                    "ref": _python_purl(name, installed[name].version),
                    "dependsOn": [_python_purl(other, installed[other].version) for other in names],
                }
                for name, names in needs.items()
            ),
        ],
    }
    contents = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(document, sort_keys=True))
    return {**document, "serialNumber": f"urn:uuid:{contents}"}


def _python_purl(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{quote(version, safe='.-_')}"


def _python_package(name: str, package: Distribution) -> Component:
    component = {
        "type": "library",
        "bom-ref": _python_purl(name, package.version),
        "name": name,
        "version": package.version,
        "purl": _python_purl(name, package.version),
    }
    licenses = _licenses(package)
    return {**component, "licenses": licenses} if licenses else component


def _licenses(package: Distribution) -> list[dict[str, Any]]:
    """By its SPDX expression, else by the name that it gives, else by its classifiers."""
    told = {name: package.metadata.get_all(name) or [] for name in ("License-Expression", "License", "Classifier")}
    for expression in told["License-Expression"]:
        return [{"expression": expression}]
    name = "".join(told["License"]).strip()
    if name not in VAGUE_LICENSES and len(name) <= LONGEST_LICENSE_NAME and "\n" not in name:
        return _license(name)
    names = [line.rpartition(" :: ")[2] for line in told["Classifier"] if line.startswith("License :: ")]
    return [license_ for name in names for license_ in _license(name)]


def _license(name: str) -> list[dict[str, Any]]:
    return [{"license": {"name": name}}]


def _needs(package: Distribution, installed: Iterable[str]) -> Iterator[str]:
    """Those of its requirements that hold here and are here; extras are there because somebody else needs them."""
    here = set(installed)
    names = set()
    for line in package.requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            names.add(str(canonicalize_name(requirement.name)))
    yield from names & here


def _model(folder: Path) -> Component:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    digest = manifest["files"]["model.onnx"]["sha256"]
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{manifest['name']}@{digest[:12]}",
        "name": manifest["name"],
        "version": digest[:12],
        "description": manifest["description"],
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "licenses": _license(manifest["license"]),
    }


def _debian_packages(status: str) -> Iterator[Component]:
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status") != "install ok installed":
            continue
        version = quote(fields["Version"], safe=".-_~")
        purl = f"pkg:deb/debian/{quote(fields['Package'], safe='.-_')}@{version}?arch={fields['Architecture']}"
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": fields["Package"],
            "version": fields["Version"],
            "purl": purl,
        }


def main(arguments: list[str]) -> int:
    """Writes the file."""
    parser = argparse.ArgumentParser(description="What is in this environment, in CycloneDX.")
    parser.add_argument("--project", type=Path, required=True, help="the folder with greentext/ and models/")
    parser.add_argument("--dpkg", type=Path, help="the file in which dpkg keeps what is installed")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    code = (given.project / "greentext/__init__.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(.+)"$', code, re.MULTILINE)
    if version is None:
        parser.error("greentext/__init__.py tells no version")
    document = bill_of_materials(
        version[1],
        distributions(),
        (path.parent for path in given.project.glob("models/*/manifest.json")),
        given.dpkg.read_text(encoding="utf-8") if given.dpkg else "",
    )
    given.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"sbom: {len(document['components'])} components\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
