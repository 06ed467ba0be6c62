"""Writes `crd_schemas/` anew: JSON schemas of the custom resources that `k8s/` uses, where nothing unknown may stand.

They are not in the API's own schemas. PyPI's cloudcoil-models-* (Apache-2.0) hold them as pydantic models, made from
the definitions that KEDA and the Prometheus operator publish: of those classes only the fields are taken, by their
source text, so that neither their Python nor their library is needed. Status is left out: nobody writes it by hand.

    python -m tests.k8s.make_crd_schemas
"""

import ast
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, RootModel

DIRECTORY: Final = Path(__file__).parent / "crd_schemas"
PYTHON: Final = "3.14"
"""What the wheels ask for."""
SOURCES: Final = {
    "cloudcoil-models-keda==2.20.2.1": ("cloudcoil/models/keda/v1alpha1.py", ["ScaledObject"]),
    "cloudcoil-models-prometheus-operator==0.93.1.1": (
        "cloudcoil/models/prometheus_operator/v1.py",
        ["ServiceMonitor", "PrometheusRule"],
    ),
}


class Strict(BaseModel):
    """Fields go by their aliases, and there are no others."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class ObjectMeta(Strict):
    """What metadata may have here."""

    name: str
    namespace: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


def main() -> None:
    """Writes a file for each kind."""
    DIRECTORY.mkdir(exist_ok=True)
    for requirement, (path, kinds) in SOURCES.items():
        namespace = models(source_of(requirement, path), kinds)
        for kind in kinds:
            schema = cleaned(namespace[kind].model_json_schema(by_alias=True))
            schema["required"] = sorted({*schema.get("required", []), "apiVersion", "kind", "metadata", "spec"})
            schema = {"$comment": f"{requirement}, Apache-2.0; made by tests/k8s/make_crd_schemas.py", **schema}
            (DIRECTORY / f"{kind}.json").write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")


def source_of(requirement: str, path: str) -> str:
    """A file of a wheel."""
    with tempfile.TemporaryDirectory() as directory:
        options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--python-version", PYTHON, "--dest", directory]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, requirement], check=True)
        (wheel,) = Path(directory).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(path).decode()


def models(source: str, kinds: list[str]) -> dict[str, Any]:
    """The classes that these kinds are made of, with their fields and nothing else."""
    tree = ast.parse(source)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    wanted: set[str] = set()
    todo = list(kinds)
    while todo:
        name = todo.pop()
        if name in wanted:
            continue
        wanted.add(name)
        node = classes[name]
        node.body = [part for part in node.body if isinstance(part, ast.AnnAssign) and not _named(part, "status")]
        node.body = node.body or [ast.Pass()]
        fields = ast.Module([*node.body, *(ast.Expr(base) for base in node.bases)], [])
        todo += [found.id for found in ast.walk(fields) if isinstance(found, ast.Name) and found.id in classes]
    kept = ast.Module([node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in wanted], [])
    namespace: dict[str, Any] = {
        "Annotated": Annotated, "Any": Any, "AwareDatetime": AwareDatetime, "BaseModel": Strict, "ClassVar": ClassVar,
        "Field": Field, "Literal": Literal, "ObjectMeta": ObjectMeta, "Resource": Strict, "RootModel": RootModel,
    }  # fmt: skip
    exec(compile(ast.fix_missing_locations(kept), "models", "exec"), namespace)  # noqa: S102
    return namespace


def _named(part: ast.AnnAssign, name: str) -> bool:
    return isinstance(part.target, ast.Name) and part.target.id == name


def cleaned(schema: Any) -> Any:
    """Without words, defaults, null (which means absent), and patterns that Python does not read."""
    if isinstance(schema, list):
        return [cleaned(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "anyOf" in schema:
        others = [part for part in schema["anyOf"] if part != {"type": "null"}]
        if len(others) == 1:
            return cleaned({**{key: value for key, value in schema.items() if key != "anyOf"}, **others[0]})
    kept = {}
    for key, value in schema.items():
        if key in {"properties", "$defs"}:
            kept[key] = {name: cleaned(part) for name, part in value.items()}
        elif key == "pattern" and not _readable(value):
            continue
        elif key not in {"title", "description", "default"}:
            kept[key] = cleaned(value)
    return kept


def _readable(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


if __name__ == "__main__":
    main()
