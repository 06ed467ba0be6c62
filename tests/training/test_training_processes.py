"""Runs in processes of their own: killed without warning, started again, and several at once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.training.counting import PLAN, log_of, losses, run
from training.finetune import Tuning, finetune

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def start(processes: int, *runs: dict[str, Any]) -> subprocess.Popen[str]:
    launcher: list[str] = []
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        launcher = [
            "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes), "--num_machines", "1",
            "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", port, "-m",
        ]  # fmt: skip
    settings = [{**each, "directory": str(each["directory"])} for each in runs]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", *launcher, "tests.training.counting", json.dumps(settings)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors[-4000:]


def ends(directory: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((directory / "ends.json").read_text(encoding="utf-8"))
    return found


def test_two_processes_learn_as_one_and_resume_as_they_would_have_gone_on(
    tmp_path: Path, checkpoint_directory: Path, greentexts_path: Path
) -> None:
    # Killed while the second state is written, which is of the sixth step; the first is of the third.
    killed = start(2, {"directory": tmp_path / "killed", "dropout": 0.1, "die_in_write": 5})
    _, errors = killed.communicate(timeout=200)
    assert killed.returncode != 0
    assert "SIGKILL" in errors
    assert (tmp_path / "killed" / "state.pt.part").exists()
    assert log_of(tmp_path / "killed")[-1]["step"] >= 4

    # A batch of 5 rows: one process has 3 of them in two passes, the other 2 in one.
    uneven = {"batch_rows": 5, "micro_batch_rows": 2}
    finish(
        start(
            2,
            {"directory": tmp_path / "killed", "dropout": 0.1},  # goes on, in processes that have done nothing before
            {"directory": tmp_path / "even"},
            {"directory": tmp_path / "uneven", "plan": uneven},
            {"directory": tmp_path / "dropout", "dropout": 0.1},
            {"directory": tmp_path / "failed", "fails": True},
            {
                "directory": tmp_path / "tuned",
                "finetune": [str(checkpoint_directory), str(greentexts_path)],
                "plan": {"steps": 6, "evaluate_every_steps": 3},
            },
        )
    )
    for name, plan in (("even", {}), ("uneven", uneven)):
        _, summary = run(tmp_path / f"{name}-alone", **plan)
        single, together = losses(tmp_path / f"{name}-alone"), losses(tmp_path / name)
        assert len(single) == 12
        for one, two in zip(single, together, strict=True):
            assert two == pytest.approx(one, abs=1e-4)
        for end in ends(tmp_path / name):
            assert end["summary"]["validation_loss"] == pytest.approx(summary.validation_loss, abs=1e-4)
    assert all(first == second for first, second in map(ends, (tmp_path / "even", tmp_path / "dropout")))

    first, other = ends(tmp_path / "failed")
    assert first["error"].startswith("FileNotFoundError")
    assert other["error"].startswith("FirstProcessError: the first process stopped: FileNotFoundError")

    first, other = ends(tmp_path / "tuned")
    assert first == other
    plan = replace(PLAN, steps=6, evaluate_every_steps=3)
    alone = finetune(checkpoint_directory, greentexts_path, Tuning(), plan, tmp_path / "tuned-alone")
    assert first["bits_per_byte"] == pytest.approx(alone.bits_per_byte, abs=1e-4)
    assert sorted(path.name for path in (tmp_path / "tuned").iterdir()) == sorted(
        ["ends.json", *(path.name for path in (tmp_path / "tuned-alone").iterdir())]
    )

    assert losses(tmp_path / "killed") == losses(tmp_path / "dropout")
    assert ends(tmp_path / "killed") == ends(tmp_path / "dropout")


def test_a_run_that_is_killed_at_any_time_goes_on(tmp_path: Path) -> None:
    directory = tmp_path / "killed"
    process = start(1, {"directory": directory, "dropout": 0.1, "seconds_per_step": 0.2})
    while process.poll() is None and (not (directory / "log.jsonl").exists() or len(log_of(directory)) < 5):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    reached = log_of(directory)[-1]["step"]
    assert 5 <= reached < 12
    with (directory / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 6, "training_lo')  # what a kill in the midst of a line leaves
    run(directory, 0.1)
    run(tmp_path / "whole", 0.1)
    assert losses(directory) == losses(tmp_path / "whole")
