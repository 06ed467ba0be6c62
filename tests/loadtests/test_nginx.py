"""The plain configuration says what the Ingress says."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from loadtests.load.servers import NGINX_TEMPLATE, ROOT, nginx_configuration, nginx_is_there

if TYPE_CHECKING:
    from pathlib import Path

TEXT = NGINX_TEMPLATE.read_text(encoding="utf-8")


def directive(name: str) -> str:
    found = re.findall(rf"^\s*{name}\s+([^;]+);", TEXT, re.MULTILINE)
    assert len(found) == 1, name
    return str(found[0])


def test_each_setting_of_the_ingress_is_in_the_plain_configuration() -> None:
    text = (ROOT / "k8s/components/ingress/ingress.yaml").read_text(encoding="utf-8")
    annotations = next(yaml.safe_load_all(text))["metadata"]["annotations"]
    told = {name.partition("/")[2]: value for name, value in annotations.items()}
    assert len(told) == len(annotations) == 9
    assert directive("client_max_body_size") == told.pop("proxy-body-size")
    for name, value in told.items():
        in_seconds = name.endswith("timeout")
        assert directive(name.replace("-", "_")) == (f"{value}s" if in_seconds else value), name


def test_idle_connections_are_closed_by_nginx_first() -> None:
    """uvicorn closes them after 5 s, and a POST on its way then would be lost."""
    text = nginx_configuration(ROOT, 3999, ["http://a:1", "http://b:2"])
    found = re.findall(r"^  upstream .*keepalive_timeout (\d+)s;", text, re.MULTILINE)
    assert len(found) == 3
    assert all(int(seconds) < 5 for seconds in found)


@pytest.mark.skipif(not nginx_is_there(), reason="nginx is not installed")
@pytest.mark.parametrize("services", [1, 2])
def test_nginx_takes_it(services: int, tmp_path: Path) -> None:
    urls = [f"http://127.0.0.1:{port}" for port in (3001, 3002)][:services]
    (tmp_path / "nginx.conf").write_text(nginx_configuration(tmp_path, 3999, urls))
    command = [
        "nginx",
        "-t",
        "-p",
        str(tmp_path),
        "-c",
        str(tmp_path / "nginx.conf"),
        "-e",
        str(tmp_path / "error.log"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, env={"PATH": "/usr/sbin:/usr/bin"}
    )
    assert done.returncode == 0, done.stderr
