"""The training loop: packed rows in, a checkpoint directory out.

Promises that an interrupted run, started again with the same arguments, resumes from its last checkpoint and sees
the same batches in the same order. Knows nothing of where texts come from.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import structlog
import torch
from torch.nn.functional import cross_entropy

from training.attention import document_mask, fuse_attention
from training.packing import IGNORED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import PreTrainedModel

    from training.packing import PackedRows

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How long and how fast to train. Rates are peaks; learning rates follow warm-up, constant, cool-down."""

    steps: int
    batch_rows: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 100
    cooldown_steps: int = 500
    evaluate_every_steps: int = 250
    checkpoint_every_steps: int = 250
    patience_evaluations: int = 0
    """Stop after this many evaluations without a better held-out loss; 0 trains to the end."""
    precision: Literal["bf16", "fp32"] = "fp32"
    compile: bool = False
    threads: int = 0
    """Intra-op threads; 0 leaves PyTorch's choice."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        for name in ("steps", "batch_rows", "evaluate_every_steps", "checkpoint_every_steps"):
            if getattr(self, name) < 1:
                msg = f"{name} must be at least 1, got {getattr(self, name)}"
                raise ValueError(msg)
        for name in ("learning_rate", "weight_decay", "warmup_steps", "cooldown_steps", "patience_evaluations"):
            if getattr(self, name) < 0:
                msg = f"{name} must not be negative, got {getattr(self, name)}"
                raise ValueError(msg)

    def rate_at(self, step: int) -> float:
        """The share of the peak learning rate at ``step`` (0-based): linear up, flat, then 1 - sqrt down to 0.

        The cool-down's form is that of Hägele et al. 2024 (arXiv:2405.18392).
        """
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        cooling = step - (self.steps - self.cooldown_steps)
        if cooling < 0 or self.cooldown_steps == 0:
            return 1.0
        return 1.0 - math.sqrt((cooling + 1) / (self.cooldown_steps + 1))


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """What a run ended with. Losses are nats a target token."""

    steps: int
    validation_loss: float
    best_step: int
    tokens_per_second: float
    seconds: float


def train(
    model: PreTrainedModel, training: PackedRows, validation: PackedRows, plan: TrainingPlan, directory: Path
) -> TrainingSummary:
    """Trains ``model`` in place and leaves it with the weights of the best held-out loss.

    Hidden matrices are trained with Muon (Jordan et al. 2024), embeddings, norms and biases with AdamW.
    ``directory`` gets ``state.pt`` (to resume from) and ``log.jsonl`` (one object an evaluation).
    """
    if len(training) == 0 or validation.target_tokens == 0:
        msg = "training and validation need at least one packed row each; give more text or a larger share"
        raise ValueError(msg)
    directory.mkdir(parents=True, exist_ok=True)
    if plan.threads:
        torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    fuse_attention(model)
    run = _Run(model, training, validation, plan, directory)
    run.resume()
    return run.finish(run.loop())


class _Run:
    def __init__(
        self,
        model: PreTrainedModel,
        training: PackedRows,
        validation: PackedRows,
        plan: TrainingPlan,
        directory: Path,
    ) -> None:
        self.model, self.training, self.validation, self.plan, self.directory = (
            model, training, validation, plan, directory,
        )  # fmt: skip
        hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and ".h." in name]
        others = [p for name, p in model.named_parameters() if not (p.ndim == 2 and ".h." in name)]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                hidden, lr=plan.learning_rate, weight_decay=plan.weight_decay, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(others, lr=plan.learning_rate, weight_decay=0.0, betas=(0.9, 0.95), fused=True),
        ]
        loss = cast("Callable[..., torch.Tensor]", self._loss)
        self.loss = torch.compile(loss, dynamic=False) if plan.compile else loss
        self.step = 0
        self.best_loss, self.best_step, self.bad_evaluations = math.inf, 0, 0
        self.seconds, self.tokens = 0.0, 0

    def _loss(
        self, input_ids: torch.Tensor, labels: torch.Tensor, position_ids: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        hidden = self.model.transformer(
            input_ids=input_ids, position_ids=position_ids, attention_mask=mask, use_cache=False
        )[0]
        logits = self.model.lm_head(hidden).float()
        return cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")

    def _batch_loss(self, rows: PackedRows, indices: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[torch.Tensor, int]:
        labels = torch.from_numpy(rows.labels[indices])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.plan.precision == "bf16"):
            total = self.loss(
                torch.from_numpy(rows.input_ids[indices]),
                labels,
                torch.from_numpy(rows.position_ids[indices]),
                document_mask(torch.from_numpy(rows.document_ids[indices])),
            )
        return total, int((labels != IGNORED).sum())

    def _indices(self, step: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The rows of batch ``step``: a fresh permutation each epoch, a function of seed and step alone."""
        wanted = np.arange(step * self.plan.batch_rows, (step + 1) * self.plan.batch_rows)
        epochs, places = np.divmod(wanted, len(self.training))
        order = {
            int(epoch): np.random.default_rng([self.plan.seed, int(epoch)]).permutation(len(self.training))
            for epoch in np.unique(epochs)
        }
        return np.array([order[int(epoch)][place] for epoch, place in zip(epochs, places, strict=True)], np.int64)

    def loop(self) -> int:
        plan = self.plan
        self.model.train()
        while self.step < plan.steps and not self._out_of_patience:
            started = time.perf_counter()
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = plan.learning_rate * plan.rate_at(self.step)
            total, tokens = self._batch_loss(self.training, self._indices(self.step))
            (total / max(tokens, 1)).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            self.step += 1
            self.seconds += time.perf_counter() - started
            self.tokens += tokens
            if self.step == plan.steps or self.step % plan.evaluate_every_steps == 0:
                self._evaluate(total.item() / max(tokens, 1))
            last = self.step == plan.steps or self._out_of_patience
            if last or self.step % plan.checkpoint_every_steps == 0:
                self._save_state()
        return self.step

    @property
    def _out_of_patience(self) -> bool:
        return 0 < self.plan.patience_evaluations <= self.bad_evaluations

    @torch.no_grad()
    def _evaluate(self, training_loss: float) -> None:
        self.model.eval()
        total, tokens, rows = 0.0, 0, self.plan.batch_rows
        for start in range(0, len(self.validation), rows):
            # The last batch wraps around so that every batch has one shape; what repeats is not counted.
            wanted = np.arange(start, start + rows)
            labels = self.validation.labels[wanted % len(self.validation)].copy()
            labels[wanted >= len(self.validation)] = IGNORED
            batch = self.validation.__class__(
                self.validation.input_ids[wanted % len(self.validation)],
                labels,
                self.validation.position_ids[wanted % len(self.validation)],
                self.validation.document_ids[wanted % len(self.validation)],
            )
            loss, counted = self._batch_loss(batch, np.arange(rows))
            total, tokens = total + loss.item(), tokens + counted
        self.model.train()
        loss_value = total / tokens
        if loss_value < self.best_loss:
            self.best_loss, self.best_step, self.bad_evaluations = loss_value, self.step, 0
            part = self.directory / "best.pt.part"
            torch.save(self.model.state_dict(), part)
            part.replace(self.directory / "best.pt")
        else:
            self.bad_evaluations += 1
        rate = self.tokens / max(self.seconds, 1e-9)
        left = (self.plan.steps - self.step) * self.seconds / max(self.step, 1)
        row = {
            "step": self.step, "training_loss": round(training_loss, 4), "validation_loss": round(loss_value, 4),
            "tokens_per_second": round(rate), "seconds_left": round(left),
        }  # fmt: skip
        log.info("evaluated", steps=self.plan.steps, **row)
        with (self.directory / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def _save_state(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "torch_rng": torch.get_rng_state(),
            "counters": {
                name: getattr(self, name)
                for name in ("step", "best_loss", "best_step", "bad_evaluations", "seconds", "tokens")
            },
            "plan": asdict(self.plan),
        }
        part = self.directory / "state.pt.part"
        torch.save(state, part)
        part.replace(self.directory / "state.pt")

    def resume(self) -> None:
        path = self.directory / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        for name in ("batch_rows", "seed", "precision"):
            if state["plan"][name] != getattr(self.plan, name):
                msg = (
                    f"{path} was written with {name}={state['plan'][name]}, this run has {getattr(self.plan, name)}; "
                    f"train into another directory, or remove it to start anew"
                )
                raise ValueError(msg)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        torch.set_rng_state(state["torch_rng"])
        for name, value in state["counters"].items():
            setattr(self, name, value)
        self._forget_evaluations_after(self.step)
        log.info("resumed", step=self.step, directory=str(self.directory))

    def _forget_evaluations_after(self, step: int) -> None:
        """What was logged after the state was saved is logged again."""
        path = self.directory / "log.jsonl"
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            path.write_text("".join(line for line in lines if json.loads(line)["step"] <= step), encoding="utf-8")

    def finish(self, steps: int) -> TrainingSummary:
        self.model.load_state_dict(torch.load(self.directory / "best.pt", weights_only=True))
        self.model.eval()
        return TrainingSummary(
            steps=steps,
            validation_loss=self.best_loss,
            best_step=self.best_step,
            tokens_per_second=self.tokens / max(self.seconds, 1e-9),
            seconds=self.seconds,
        )


def remove_training_state(directory: Path) -> None:
    """Deletes what a finished run no longer needs (optimizer state and the best weights beside the checkpoint)."""
    for name in ("state.pt", "best.pt"):
        (directory / name).unlink(missing_ok=True)
