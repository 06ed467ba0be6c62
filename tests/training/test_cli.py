from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from training.checkpoint import begin_with_start_token, load_checkpoint, save_checkpoint
from training.cli import main

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "recipes", "run", "base", "data", "embedded", "pretrain", "finetune", "trim", "export", "package", "evaluate",
    "compare", "import", "publish",
)  # fmt: skip


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
        (["evaluate", "nowhere"], "nowhere is no directory"),
        (["export", "nowhere", "out"], "nowhere is no checkpoint"),
        (["package", "nowhere"], "nowhere is no checkpoint"),
        (["compare", "nowhere"], "evaluate the model first"),
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
    texts = [] if arguments[0] in ("export", "compare") else ["--greentexts", str(greentexts_path)]
    assert main([*arguments, *texts]) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith(f"gtx-train {arguments[0]}: ")
    assert said.out == ""


def test_a_checkpoint_is_evaluated_and_compared(
    checkpoint_directory: Path, greentexts_path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tuned = tmp_path / "tuned"
    checkpoint = load_checkpoint(checkpoint_directory)
    begin_with_start_token(checkpoint)
    save_checkpoint(checkpoint.model, checkpoint.tokenizer, tuned)
    data = ["--data", str(greentexts_path), "--choice", "thanks", "--samples", "0"]
    assert main(["evaluate", str(tuned), *data, "--out", str(tmp_path / "reports")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["models"]["tuned"]["bits_per_byte"]["value"] > 0
    assert (tmp_path / "reports" / "tuned" / "report.md").is_file()
    found = str(tmp_path / "reports" / "tuned")
    assert main(["compare", found, found, "--out", str(tmp_path / "table")]) == 0
    assert len(json.loads(capsys.readouterr().out)["models"]) == 2
    assert (tmp_path / "table" / "comparison.md").is_file()


def test_an_interrupted_command_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training import commands

    def interrupted(options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(commands.COMMANDS, "pretrain", interrupted)
    assert main(["pretrain", "stories.txt"]) == 1
    assert "start it again" in capsys.readouterr().err
