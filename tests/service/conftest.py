"""Real servers, started once: `bentoml serve` over a fake model of chosen speed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from loadtests.load.servers import free_port
from tests.service.fake_model import write_fake_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
SLOTS, WAITING, BODY_BYTES, PROMPT_CHARACTERS = 4, 4, 16384, 300
DEADLINE_S = 1.2
ORIGIN = "https://greentext.example"


@dataclass(frozen=True)
class Server:
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def wait_until_ready(self) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        pytest.fail(f"not ready after {START_S} s:\n{self.log.read_text()}")


def start_server(directory: Path, target: str, **environment: str) -> Server:
    """A server with a BENTOML_HOME of its own: two that share one would mix their metrics up."""
    port = free_port()
    directory.mkdir(exist_ok=True)
    log = directory / "server.log"
    command = [sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]
    own = {name: value for name, value in os.environ.items() if not name.startswith("GREENTEXT_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                **own,
                "BENTOML_HOME": str(directory / "bentoml"),
                "BENTOML_DO_NOT_TRACK": "True",
                "OTEL_SDK_DISABLED": "true",
                "GREENTEXT_DATABASE_URL": "none",
                **environment,
            },
        )
    return Server(f"http://127.0.0.1:{port}", process, log)


def stop_server(server: Server, *, within_s: float = 30.0) -> None:
    server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(within_s)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()
        pytest.fail(f"did not stop within {within_s} s:\n{server.log.read_text()}")


class Metrics:
    """One reading of /metrics."""

    def __init__(self, server: Server) -> None:
        text = httpx.get(f"{server.url}/metrics", timeout=10).text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples of a name with these labels."""
        found = [s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        assert found, f"no {name} {labels}"
        return sum(found)


def wait_until_idle(server: Server, within_s: float = 5.0) -> None:
    """Until no text runs or waits."""
    started = time.monotonic()
    while time.monotonic() < started + within_s:
        metrics = Metrics(server)
        if metrics.value("greentext_requests_running") == metrics.value("greentext_requests_waiting") == 0:
            return
        time.sleep(0.01)
    pytest.fail(f"still busy after {within_s} s")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_bundle(tmp_path_factory.mktemp("models") / "fake-thanks")


def fake_server(directory: Path, bundle: Path, **environment: str) -> Server:
    settings = {
        "GREENTEXT_MODEL_DIR": str(bundle),
        "GREENTEXT_MODELS_DIR": str(bundle.parent),
        "GREENTEXT_MAX_SLOTS": str(SLOTS),
        "GREENTEXT_MAX_WAITING": str(WAITING),
        "GREENTEXT_MAX_BODY_BYTES": str(BODY_BYTES),
        "GREENTEXT_MAX_PROMPT_CHARACTERS": str(PROMPT_CHARACTERS),
        "GREENTEXT_BODY_TIMEOUT_S": "1",
        "GREENTEXT_DEADLINE_S": str(DEADLINE_S),
        "GREENTEXT_PING_INTERVAL_S": "0.3",
        "GREENTEXT_DRAIN_S": "2",
        "GREENTEXT_CORS_ORIGINS": ORIGIN,
    }
    return start_server(directory, "tests.service.fake_service:GreentextService", **{**settings, **environment})


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Server]:
    server = fake_server(tmp_path_factory.mktemp("server"), bundle)
    server.wait_until_ready()
    yield server
    stop_server(server)


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture
def full_queue(server: Server) -> Iterator[None]:
    """All slots and all places of the queue are taken, for DEADLINE_S."""
    wait_until_idle(server)
    long = {"max_new_tokens": 450, "min_new_tokens": 450, "n": SLOTS + WAITING}
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(httpx.post, f"{server.url}/generate", json=long, timeout=30)
        end = time.monotonic() + 5
        while Metrics(server).value("greentext_requests_running") < SLOTS and time.monotonic() < end:
            time.sleep(0.01)
        yield
        assert future.result().status_code == 200
    wait_until_idle(server)
