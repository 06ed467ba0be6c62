"""The way that `docs/training.md` shows a newcomer: its own texts, its own commands, to an answer at `/generate`."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.service.conftest import start_server, stop_server
from tests.training.bases import tinystories, write_base, write_folder_of_texts
from tests.training.hub_of_datasets import serving_both

ROOT = Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
BASE = "roneneldan/TinyStories-1M"
GTX_TRAIN = """\
import runpy, training.quantize
training.quantize.ROUND_SECONDS = 0.005
runpy.run_module("training.cli", run_name="__main__", alter_sys=True)
"""
"""The command, but for how long it measures each format's speed, which decides nothing here."""


def commands() -> list[str]:
    """The shell lines of the newcomer's section."""
    section = DOC.split("## Your own model")[1].split("\n## ")[0]
    return [line for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]


def test_every_command_that_the_page_shows_is_one() -> None:
    from training.cli import parser

    shown = [line for block in re.findall(r"```sh\n(.*?)```", DOC, re.DOTALL) for line in block.splitlines()]
    lines = [line for line in shown if line.startswith("gtx-train ")]
    assert len(lines) >= 6
    for line in lines:
        parser().parse_args(shlex.split(line)[1:])


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_newcomer_gets_from_a_folder_of_texts_to_an_answer(tmp_path: Path) -> None:
    train, serve, curl = commands()[:3]
    write_folder_of_texts(tmp_path / "my-texts")
    config = tinystories(hidden_size=64)
    published = write_base(tmp_path / "published", config)
    with serving_both() as hub:
        # As it is on the hub: the conversion to safetensors in a pull request, the tokenizer on the main branch.
        hub.add(BASE, published, revision="refs/pr/1")
        revisions = hub.repositories[BASE]
        revisions["77f1b168e219585646439073245fe87e56b3023e"] = ("77f1b168e219585646439073245fe87e56b3023e", published)
        environment = {
            **os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT),
            "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", GTX_TRAIN, *shlex.split(train)[1:]],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=350, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"name": "mine"' in done.stdout
    assert f'"base_model": "{BASE}@' in done.stdout

    assignment, *make = shlex.split(serve)
    assert make == ["make", "serve"]
    name, _, bundle = assignment.partition("=")
    server = start_server(tmp_path, "service.service:GreentextService", **{name: str(tmp_path / bundle)})
    try:
        server.wait_until_ready()
        body = shlex.split(curl)[-1]
        answer = httpx.post(
            f"{server.url}/generate", content=body, headers={"content-type": "application/json"}, timeout=60
        ).json()
        assert answer["model"] == "mine"
        assert answer["greentexts"][0]["text"].startswith(">be me")
    finally:
        stop_server(server)
