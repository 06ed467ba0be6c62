"""A bento built once, and what its lock installs in an environment of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
NAME: Final = "wholesome-greentext"
MUST: Final = "IMAGE_CHECK"
"""`make image-check` sets it: then an environment that cannot be installed fails, where a machine without a network
skips.
"""
# Certificates of the system, as in the Makefile.
QUIET: Final = {"BENTOML_DO_NOT_TRACK": "True", "UV_SYSTEM_CERTS": "true", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def without_ours() -> dict[str, str]:
    """The environment without what tells Python or the service of other places."""
    hidden = ("GREENTEXT_", "PYTHON", "VIRTUAL_ENV", "BENTOML_")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)} | QUIET


@pytest.fixture(scope="session")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the bento that `bentofile.yaml` builds.

    From a copy: BentoML refuses to read below a folder whose name begins with a dot, wherever a checkout lies.
    """
    checkout = tmp_path_factory.mktemp("checkout") / "main"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "runs", "build", "dist")
    shutil.copytree(ROOT, checkout, ignore=ignored)
    home = tmp_path_factory.mktemp("bentoml")
    subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "--version", "test", str(checkout)],
        check=True,
        cwd=checkout,
        env=without_ours() | {"BENTOML_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        timeout=300,
    )
    return home / "bentos" / NAME / "test"


@pytest.fixture(scope="session")
def installed(bento: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with what the bento's lock names, each file by its hash, and nothing else."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    lock = bento / "src/requirements/service.txt"
    python = environment / "bin/python"
    done = subprocess.run(
        [*_installer(python), "--require-hashes", "--requirement", str(lock)],
        check=False,
        capture_output=True,
        text=True,
        env=without_ours(),
        timeout=900,
    )
    if done.returncode:
        complaint = f"the bento's lock cannot be installed here:\n{done.stderr[-2000:]}"
        if os.environ.get(MUST) or "hash" in done.stderr.lower():
            pytest.fail(complaint)
        pytest.skip(complaint)
    return environment


def _installer(python: Path) -> list[str]:
    """uv in seconds, pip in minutes."""
    if importlib.util.find_spec("uv"):
        return [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python)]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--quiet", "--python", str(python)]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    pytest.skip("neither uv nor pip is here")
