"""A real Prometheus that scrapes one service, evaluates rules, and is asked over its HTTP API."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx
import yaml

from loadtests.load.servers import Server, ServerError, free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INTERVAL: Final = "500ms"
"""Between two scrapes, and between two evaluations."""
PATIENCE_S: Final = 120.0
"""Twenty seconds would do, but for a machine that now and then stands still."""
POD: Final = "wholesome-greentext-0"


@dataclass(slots=True)
class Prometheus(Server):
    """A running Prometheus."""

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API (`/api/v1/...`). Raises httpx.HTTPError."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=PATIENCE_S)
        return answer.raise_for_status().json()["data"]

    def query(self, query: str, at_s: float | None = None) -> list[float]:
        """The values that a query has, now or at a time in seconds since 1970. Raises httpx.HTTPError."""
        found = self.ask("query", query=query, time=f"{time.time() if at_s is None else at_s:.3f}")
        return [float(sample["value"][1]) for sample in found["result"]]

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are pending or firing."""
        found: list[dict[str, Any]] = self.ask("alerts")["alerts"]
        return found

    def firing(self) -> dict[str, dict[str, Any]]:
        """The alerts that are firing, one of each name."""
        return {alert["labels"]["alertname"]: alert for alert in self.alerts() if alert["state"] == "firing"}

    def rule_healths(self) -> dict[str, tuple[str, str]]:
        """How each rule was evaluated last (`ok`), and what was wrong."""
        rules = [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
        return {rule["name"]: (rule["health"], rule.get("lastError", "")) for rule in rules}

    def wait_until(self, what: str, condition: Callable[[], bool]) -> None:
        """Until it holds. Raises AssertionError, which tells the alerts there are."""
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > end_s:
                found = [(alert["labels"], alert["state"], alert["value"]) for alert in self.alerts()]
                raise AssertionError(f"not within {PATIENCE_S:g} s: {what}; alerts: {found}")
            time.sleep(0.1)


def start_prometheus(
    folder: Path, *, service: str, job: str, namespace: str, path: str, groups: list[dict[str, Any]]
) -> Prometheus:
    """A Prometheus, not ready yet, in `folder`, whose one target is this service (`HOST:PORT`). Raises ServerError."""
    program = shutil.which("prometheus")
    if program is None:
        raise ServerError("prometheus is not there: on Debian, apt-get install prometheus")
    folder.mkdir(parents=True)
    port, log = free_port(), folder / "prometheus.log"
    target = {"targets": [service], "labels": {"namespace": namespace, "pod": POD}}
    configuration = {
        "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": job, "metrics_path": path, "static_configs": [target]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    command = [
        program,
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    return Prometheus(f"http://127.0.0.1:{port}", process, log)
