"""The programs that are put under load: services, and nginx in front of them. Each in a folder of its own."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

ROOT: Final = Path(__file__).resolve().parents[2]
SERVICE: Final = "service.service:GreentextService"
NGINX_TEMPLATE: Final = Path(__file__).with_name("nginx.conf.template")
START_S: Final = 120.0
STOP_S: Final = 90.0
SETTLE_S: Final = 0.5
"""Until what nginx had decided before has reached the service."""


class ServerError(RuntimeError):
    """A program did not start, or did not stop as it should."""


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def on_cores(command: Sequence[str], cores: str) -> list[str]:
    """A command that keeps to these processors (`0`, `0,1`), by util-linux' taskset; all of them if empty."""
    return ["taskset", "-c", cores, *command] if cores else list(command)


@dataclass(slots=True)
class Server:
    """A running program; as a context it is stopped at the end."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Of its first process."""
        return self.process.pid

    def wait_until_ready(self, path: str = "/readyz") -> None:
        """Until it answers 200. Raises ServerError."""
        end_s = time.monotonic() + START_S
        while time.monotonic() < end_s and self.process.poll() is None:
            try:
                with urllib.request.urlopen(self.url + path, timeout=5) as answer:  # noqa: S310 - our own
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise ServerError(f"{self.url} did not get ready:\n{self.log_tail()}")

    def stop(self) -> int:
        """Asks it to stop (SIGTERM) and waits; returns its exit code. Raises ServerError, having killed it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise ServerError(f"{self.url} did not stop within {STOP_S:g} s:\n{self.log_tail()}") from None

    def log_tail(self) -> str:
        """The end of what it said."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])

    def metric(self, name: str) -> float:
        """The sum of all samples of this name in `/metrics`; 0 where there is none."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as answer:  # noqa: S310 - our own
            families = text_string_to_metric_families(answer.read().decode())
        return sum(sample.value for family in families for sample in family.samples if sample.name == name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(ServerError) if kind else contextlib.nullcontext():
            self.stop()


def start_service(
    folder: Path, *, port: int = 0, cores: str = "", settings: Mapping[str, str] | None = None, target: str = SERVICE
) -> Server:
    """A service, not ready yet. `settings` are environment variables; GREENTEXT_ ones of the shell are dropped."""
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "service.log"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GREENTEXT_")}
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    environment = {
        **inherited,
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "OTEL_SDK_DISABLED": "true",
        "GREENTEXT_DATA_DIR": str(folder / "data"),
        **(settings or {}),
    }
    command = [sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own service
            on_cores(command, cores), cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    return Server(f"http://127.0.0.1:{port}", process, log)


def nginx_is_there() -> bool:
    """Whether nginx can be started."""
    return shutil.which("nginx", path=_nginx_path()) is not None


@dataclass(slots=True)
class Nginx(Server):
    """nginx in front of services."""

    folder: Path

    def leave_out(self, index: int) -> None:
        """Sends nothing more to this service; what is under way there may end."""
        (self.folder / f"without-{index}").touch()
        time.sleep(SETTLE_S)

    def put_back(self, index: int) -> None:
        """Sends requests to this service again."""
        (self.folder / f"without-{index}").unlink()


def nginx_configuration(folder: Path, port: int, upstreams: Sequence[str], template: Path = NGINX_TEMPLATE) -> str:
    """The template, filled in for these services (URLs)."""
    numbers = range(len(upstreams))
    groups = {"all": upstreams}
    if len(upstreams) > 1:
        groups |= {f"without_{n}": [url for other, url in enumerate(upstreams) if other != n] for n in numbers}
    conditions = [
        f"if (-f {folder}/without-{n}) {{ set $services without_{n}; }}" for n in numbers if len(upstreams) > 1
    ]
    values = {
        "USER": f"{pwd.getpwuid(os.geteuid()).pw_name} {grp.getgrgid(os.getegid()).gr_name}",
        "FOLDER": str(folder),
        "PORT": str(port),
        "UPSTREAMS": "\n  ".join(_upstream(name, urls) for name, urls in groups.items()),
        "LEAVE_OUT": "\n      ".join(conditions),
    }
    text = template.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"%{name}%", value)
    return text


def _upstream(name: str, urls: Sequence[str]) -> str:
    servers = " ".join(f"server {url.removeprefix('http://')};" for url in urls)
    return f"upstream {name} {{ zone {name} 64k; {servers} keepalive 320; keepalive_timeout 4s; }}"


def start_nginx(folder: Path, upstreams: Sequence[str], *, cores: str = "") -> Nginx:
    """Debian's nginx in front of these services, in the foreground; its state lies in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), folder / "error.log"
    configuration = folder / "nginx.conf"
    configuration.write_text(nginx_configuration(folder, port, upstreams), encoding="utf-8")
    program = shutil.which("nginx", path=_nginx_path())
    if program is None:
        raise ServerError("nginx is not there: on Debian, apt-get install nginx-light")
    command = [program, "-p", str(folder), "-c", str(configuration), "-e", str(log)]
    log.touch()
    with (folder / "nginx.log").open("ab") as output:
        process = subprocess.Popen(on_cores(command, cores), stdout=output, stderr=output)  # noqa: S603 - see above
    return Nginx(f"http://127.0.0.1:{port}", process, log, folder)


def _nginx_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin"
