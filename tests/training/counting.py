"""A training task that is learned in seconds, and a program that trains on it in as many processes as it is started in.

    python -m tests.training.counting RUNS

RUNS is a JSON list of runs, done one after another: ``directory``, and where wanted ``plan`` (fields that differ),
``dropout``, ``die_in_write`` (the n-th write of a file at which the first process kills itself, the file half there)
and ``seconds_per_step``; or ``finetune``, a checkpoint and a file of greentexts to fine-tune it on; or ``fails``, when
the first process is to fail at what the others wait for.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tests.training.conftest import tiny_model
from training import trainer, training_state
from training.finetune import Tuning, finetune
from training.packing import PackedRows, pack
from training.processes import gather, is_first, leave, on_first
from training.trainer import TrainingPlan, TrainingSummary, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VOCAB_SIZE = 30
PLAN = TrainingPlan(
    steps=12, batch_rows=4, optimizer="adamw", learning_rate=3e-3, warmup_steps=2, cooldown_steps=4,
    evaluate_every_steps=2, checkpoint_every_steps=3, log_every_steps=1, seed=5,
)  # fmt: skip


def counting_rows(documents: int, seed: int) -> PackedRows:
    """Documents of unlike lengths in which each token is followed by the next number."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 25, documents)
    starts = rng.integers(0, 20, documents)
    counts = [
        [(start + place) % 20 + 1 for place in range(length)] for start, length in zip(starts, lengths, strict=True)
    ]
    return pack(counts, 32, fill_id=0)


def model_with(dropout: float = 0.0, architecture: str = "gpt_neo") -> PreTrainedModel:
    model = tiny_model(architecture, VOCAB_SIZE)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return model


def tiny_llama(vocab_size: int) -> PreTrainedModel:
    """Two query heads a key head, rotary positions, SwiGLU."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab_size, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.15, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def run(directory: Path, dropout: float = 0.0, **plan: Any) -> tuple[PreTrainedModel, TrainingSummary]:
    model = model_with(dropout)
    plan_ = replace(PLAN, **plan)
    return model, train(model, counting_rows(45, 0), counting_rows(11, 1), plan_, directory)


def log_of(directory: Path) -> list[dict[str, Any]]:
    lines = (directory / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def losses(directory: Path) -> list[tuple[int, float, float | None]]:
    """(step, training loss, held-out loss where there was an evaluation) of each row of the log."""
    return [(row["step"], row["training_loss"], row.get("validation_loss")) for row in log_of(directory)]


def die_in_write(number: int) -> None:
    """Makes the first process kill itself at its n-th write, before the file is renamed to what it is for."""
    if not is_first():
        return
    written, sync = 0, os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal written
        sync(descriptor)
        written += 1
        if written == number:
            os.kill(os.getpid(), signal.SIGKILL)

    training_state.os.fsync = fsync  # type: ignore[attr-defined]


def slow_down(seconds_per_step: float) -> None:
    asked = trainer.rows_of_step

    def rows_of_step(*args: Any, **kwargs: Any) -> Any:
        time.sleep(seconds_per_step)
        return asked(*args, **kwargs)

    trainer.rows_of_step = rows_of_step


def main() -> None:
    torch.set_num_threads(1)
    for settings in json.loads(sys.argv[1]):
        directory = Path(settings["directory"])
        if "die_in_write" in settings:
            die_in_write(settings["die_in_write"])
        if "seconds_per_step" in settings:
            slow_down(settings["seconds_per_step"])
        ends = gather(end_of(directory, settings))
        if is_first():
            directory.mkdir(exist_ok=True)
            (directory / "ends.json").write_text(json.dumps(ends), encoding="utf-8")
    leave()


def end_of(directory: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What this process ends with."""
    if "fails" in settings:
        try:
            on_first(lambda: (directory / "nothing" / "there").read_text(encoding="utf-8"))
        except (OSError, RuntimeError) as error:
            return {"error": f"{type(error).__name__}: {error}"}
    if "finetune" in settings:
        base, greentexts = map(Path, settings["finetune"])
        return asdict(finetune(base, greentexts, Tuning(), replace(PLAN, **settings["plan"]), directory))
    model, summary = run(directory, settings.get("dropout", 0.0), **settings.get("plan", {}))
    weights = [tensor.numpy().tobytes().hex() for tensor in model.state_dict().values()]
    return {"summary": asdict(summary) | {"seconds": 0, "tokens_per_second": 0}, "weights": weights}


if __name__ == "__main__":
    main()
