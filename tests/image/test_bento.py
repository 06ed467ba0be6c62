"""The built bento: what is in it, and that it serves from nothing but its own lock."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest
import yaml

from image.trim import trim
from tests.image.conftest import ROOT, without_ours
from tests.service.conftest import Server, free_port, stop_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

MOST_BENTO_BYTES = 32_000_000
MOST_ENVIRONMENT_BYTES = 220_000_000
"""Of sources and libraries once trimmed, with debug symbols and without bytecode, which the image has the other way
round. What the image may have in all is 400 MB; Debian and its Python take 115 of it.
"""
NEVER = ("torch", "transformers", "optimum", "datasets", "onnx", "sympy", "pandas", "pyarrow", "pytest", "pip", "uv")


def size_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def files(folder: Path) -> dict[str, tuple[int, int]]:
    found = {path: path.lstat() for path in folder.rglob("*") if not path.is_dir()}
    return {str(path): (state.st_size, state.st_mtime_ns) for path, state in found.items()}


def test_it_holds_the_service_the_domain_and_the_models_alone(bento: Path) -> None:
    source = bento / "src"
    assert {path.name for path in source.iterdir()} == {
        *("LICENSE", "bentofile.yaml", "greentext", "image", "models", "requirements", "service")
    }
    assert {path.name for path in (source / "models").iterdir()} == {path.name for path in (ROOT / "models").iterdir()}
    assert not [path for path in source.rglob("*") if path.suffix == ".pyc" or path.name == "__pycache__"]
    assert size_bytes(bento) < MOST_BENTO_BYTES


def test_it_holds_every_file_that_is_read_at_run_time(bento: Path) -> None:
    for package in ("greentext", "service"):
        wanted = {path.relative_to(ROOT) for path in (ROOT / package).rglob("*") if path.is_file()}
        there = {path.relative_to(bento / "src") for path in (bento / "src" / package).rglob("*") if path.is_file()}
        assert {path for path in wanted if path.suffix != ".pyc"} == there


def test_its_lock_is_ours_to_the_letter(bento: Path) -> None:
    ours = (ROOT / "requirements/service.txt").read_text()
    assert (bento / "src/requirements/service.txt").read_text() == ours
    # BentoML's own copy of it, which its cloud reads: the same pins, but for one line of its own without a hash.
    pin = re.compile(r"^([\w.-]+==[^\s;\\]+)", re.MULTILINE)
    assert set(pin.findall((bento / "env/python/requirements.txt").read_text())) == set(pin.findall(ours))


def test_it_brings_the_dockerfile_as_it_is(bento: Path) -> None:
    ours = (ROOT / "image/service.dockerfile").read_text()
    for name in ("Dockerfile", "Dockerfile.template"):
        assert (bento / "env/docker" / name).read_text().strip() == ours.strip()
    for source in re.findall(r"^COPY src/(\S+)", ours, re.MULTILINE):
        assert (bento / "src" / source).exists(), source


@pytest.fixture(scope="module")
def trimmed(installed: Path) -> Path:
    """Without what the image leaves out."""
    (site_packages,) = installed.glob("lib/python*/site-packages")
    assert trim(site_packages) > 40_000_000
    return installed


@pytest.fixture(scope="module")
def served(bento: Path, trimmed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Started as the image starts it, with all that it may write in one folder."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "tmp").mkdir()
    port = free_port()
    log = folder / "server.log"
    own = {
        "PATH": f"{trimmed / 'bin'}:/usr/bin:/bin",
        "HOME": str(folder / "tmp"),
        "TMPDIR": str(folder / "tmp"),
        "BENTOML_HOME": str(folder / "tmp/bentoml"),
        "BENTOML_CONTAINERIZED": "True",
        "OTEL_SDK_DISABLED": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
        "GREENTEXT_DATA_DIR": str(folder / "data"),
        "GREENTEXT_DATABASE_URL": "none",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bentoml", "serve", "service.service:GreentextService", "--host", "127.0.0.1", "--port", str(port)],
            cwd=bento / "src",
            env=without_ours() | own,
            executable=str(trimmed / "bin/bentoml"),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Server(f"http://127.0.0.1:{port}", process, log)
    server.wait_until_ready()
    yield server
    if process.poll() is None:
        stop_server(server)


def test_it_serves_from_its_own_lock(served: Server, bento: Path, trimmed: Path) -> None:
    before = files(bento) | files(trimmed)
    with httpx.Client(base_url=served.url, timeout=60) as client:
        written = client.post("/generate", json={"prompt": "be me", "seed": 7}).raise_for_status().json()
        assert written["greentexts"][0]["text"].startswith(">be me")
        again = client.post("/generate", json={"prompt": "be me", "seed": 7}).json()
        assert again["greentexts"][0]["text"] == written["greentexts"][0]["text"]
        streamed = client.post("/generate_stream", json={"prompt": "be me", "seed": 7}).raise_for_status()
        assert streamed.text.count("data:") > 10
        completion = {"model": written["model"], "messages": [{"role": "user", "content": "be me"}]}
        assert client.post("/v1/chat/completions", json=completion).raise_for_status().json()["choices"]
        assert client.get("/docs").status_code == 200
        assert "greentext_requests_running" in client.get("/metrics").text
        if (ROOT / "service/static/index.html").exists():
            assert "<html" in client.get("/").text
    assert files(bento) | files(trimmed) == before
    stop_server(served)
    assert served.process.returncode == 0
    assert {path.name for path in served.log.parent.iterdir()} == {"server.log", "tmp"}


def test_the_database_drivers_are_there(bento: Path, trimmed: Path) -> None:
    script = "import psycopg, sqlalchemy; import service.store.store; print(psycopg.pq.__impl__, service.__file__)"
    done = subprocess.run(
        [trimmed / "bin/python", "-B", "-c", script],
        check=True,
        capture_output=True,
        text=True,
        cwd=bento / "src",
        env=without_ours(),
    )
    assert done.stdout.split() == ["binary", str(bento / "src/service/__init__.py")]


def test_the_environment_is_small_and_knows_nothing_of_training(trimmed: Path) -> None:
    script = f"import importlib.util as i; print([name for name in {NEVER!r} if i.find_spec(name)])"
    done = subprocess.run(
        [trimmed / "bin/python", "-I", "-c", script], check=True, capture_output=True, text=True, env=without_ours()
    )
    assert done.stdout.strip() == "[]"
    sources = sum(path.lstat().st_size for path in trimmed.rglob("*") if not path.is_dir() and path.suffix != ".pyc")
    assert sources < MOST_ENVIRONMENT_BYTES


def test_its_bill_of_materials_is_the_lock_without_what_is_left_out(bento: Path, trimmed: Path, tmp_path: Path) -> None:
    output = tmp_path / "sbom.cdx.json"
    source = bento / "src"
    command = [trimmed / "bin/python", "-I", "-B", source / "image/sbom.py", "--project", source, "--output", output]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=without_ours())
    components = json.loads(output.read_text())["components"]
    told = {f"{each['name']}=={each['version']}" for each in components if each["type"] == "library"}
    pinned = re.findall(r"^([\w.-]+==[^\s;\\]+)", (source / "requirements/service.txt").read_text(), re.MULTILINE)
    assert set(pinned) - told == {pin for pin in pinned if pin.startswith("hf-xet==")}
    assert told <= set(pinned)
    assert all(each.get("licenses") for each in components)


def test_bentofile_names_what_exists() -> None:
    bentofile = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    named = [bentofile["docker"]["dockerfile_template"], bentofile["python"]["requirements_txt"]]
    named += [line.strip("/") for line in bentofile["include"] if "*" not in line]
    assert [name for name in named if not (ROOT / name).exists()] == []
