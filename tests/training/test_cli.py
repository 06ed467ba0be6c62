from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from training.cli import main

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("embedded", "pretrain", "finetune", "evaluate", "export", "package")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "usage: gtx-train" in capsys.readouterr().out


def test_help_names_every_command_and_answers_without_the_libraries() -> None:
    code = (
        "import sys; from training.cli import main\n"
        "try:\n main(['--help'])\n"
        "finally:\n assert 'torch' not in sys.modules"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    assert all(command in run.stdout for command in COMMANDS)


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["embedded"], ["evaluate", "x", "--split", "train"], ["export", "x"]]
)
def test_wrong_arguments_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: gtx-train" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain", "none.txt", "--recipe", "none.toml"], "none.toml does not exist"),
        (["pretrain", "none.txt"], "none.txt does not exist"),
        (["finetune", "nowhere"], "model.safetensors does not exist"),
        (["evaluate", "nowhere"], "nowhere is no checkpoint"),
        (["export", "nowhere", "out"], "nowhere is no checkpoint"),
        (["package", "nowhere"], "nowhere is no checkpoint"),
        (["evaluate", "nowhere", "--samples", "3"], "samples come from a bundle"),
    ],
)
def test_what_cannot_be_done_ends_with_1_and_says_why(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    greentexts_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = [] if arguments[0] == "export" else ["--greentexts", str(greentexts_path)]
    assert main([*arguments, *texts]) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith(f"gtx-train {arguments[0]}: ")
    assert said.out == ""


def test_a_checkpoint_is_evaluated(
    checkpoint_directory: Path, greentexts_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(checkpoint_directory), "--greentexts", str(greentexts_path), "--genre", "thanks"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["genre"] == "thanks"
    assert result["bits_per_byte"] > 0
    assert result["texts"] > 0


def test_an_interrupted_command_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training import commands

    def interrupted(options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "pretrain", interrupted)
    assert main(["pretrain", "stories.txt"]) == 1
    assert "start it again" in capsys.readouterr().err
