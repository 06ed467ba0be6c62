"""The training loop: packed rows in, the best weights out.

Promises that an interrupted run, started again with the same arguments, resumes from its last state and has the losses
of an uninterrupted one, and that several processes (``accelerate launch``) have those of one. Runs on a GPU where there
is one. Knows nothing of where texts come from.
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from training.attention import fuse_attention
from training.data_order import rows_of_step, share_of
from training.optimizers import make_optimizers, update
from training.packed_loss import PackedLoss, autocast, precision_on
from training.packing import IGNORED
from training.plan import TrainingPlan
from training.processes import gather, join, on_first
from training.progress import Progress
from training.training_state import (
    BEST,
    STATE,
    VERSION,
    random_state,
    read_state,
    read_weights,
    remove_training_state,
    require_same,
    restore_random_state,
    write_atomically,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from training.packing import PackedRows

__all__ = ["TrainingDivergedError", "TrainingPlan", "TrainingSummary", "remove_training_state", "train"]

log = structlog.get_logger(__name__)

COUNTERS = ("step", "best_loss", "best_step", "bad_evaluations", "seconds", "tokens")


class TrainingDivergedError(ValueError):
    """Losses are numbers no longer; the message says at which step, and what to try."""


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """What a run ended with. Losses are nats a target token, rates target tokens of all processes."""

    steps: int
    validation_loss: float
    best_step: int
    tokens_per_second: float
    seconds: float


def train(
    model: PreTrainedModel, training: PackedRows, validation: PackedRows, plan: TrainingPlan, directory: Path
) -> TrainingSummary:
    """Trains ``model`` in place and leaves it with the weights of the best held-out loss, on the CPU.

    ``directory`` gets ``state.pt`` (to resume from), ``best.pt``, ``log.jsonl`` and TensorBoard's event files, all from
    the first process. Every process calls this with the same arguments, and leaves with the same weights. Raises
    ValueError when plan and rows do not go together, TrainingStateError when ``directory`` holds another run,
    TrainingDivergedError when the loss is no number.
    """
    if len(training) == 0 or validation.target_tokens == 0:
        raise ValueError("training and validation need at least one packed row each; give more text or a larger share")
    if plan.threads:
        torch.set_num_threads(plan.threads)
    run = _Run(model, training, validation, plan.for_rows(len(training)), directory)
    run.resume()
    run.loop()
    return run.finish()


class _Run:
    def __init__(
        self,
        model: PreTrainedModel,
        training: PackedRows,
        validation: PackedRows,
        plan: TrainingPlan,
        directory: Path,
    ) -> None:
        join()
        # Precision is ours (autocast and scaler below): accelerate fixes it for the life of a program, plans do not.
        self.accelerator = Accelerator(
            mixed_precision="no",
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)],
        )
        self.processes, self.process = self.accelerator.num_processes, self.accelerator.process_index
        self.device: torch.device = self.accelerator.device
        self.precision = precision_on(plan.precision, self.device)
        self.model, self.training, self.validation, self.plan, self.directory = (
            model, training, validation, plan, directory,
        )  # fmt: skip
        torch.manual_seed(plan.seed + self.process)
        fuse_attention(model, max(rows.input_ids.shape[1] for rows in (training, validation)))
        self.loss = PackedLoss(model, compiled=plan.compile)
        self.parallel_loss = self.accelerator.prepare_model(self.loss)
        self.optimizers = make_optimizers(model, plan)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.step = 0
        self.best_loss, self.best_step, self.bad_evaluations = math.inf, 0, 0
        self.seconds, self.tokens = 0.0, 0
        self.progress: Progress | None = None

    def loop(self) -> None:
        plan = self.plan
        self.model.train()
        while self.step < plan.steps and not self._out_of_patience:
            started = time.perf_counter()
            total, tokens = self._pass_over(self._rows_of(self.step))
            norm = update(
                self.model,
                self.optimizers,
                self.scaler,
                rate=plan.learning_rate * plan.rate_at(self.step),
                max_gradient_norm=plan.max_gradient_norm,
            )
            self.step += 1
            self.tokens += tokens
            self.seconds += time.perf_counter() - started
            last = self.step == plan.steps
            evaluates = last or self.step % plan.evaluate_every_steps == 0
            saves = last or self.step % plan.checkpoint_every_steps == 0
            if evaluates or saves or self.step % plan.log_every_steps == 0:
                row = self._figures(total, tokens, norm)
                if evaluates:
                    row |= {"validation_loss": round(self._evaluate(), 4)}
                if self.progress is not None:
                    self.progress.record(row)
            if saves or self._out_of_patience:
                self._save_state()

    def _rows_of(self, step: int) -> NDArray[np.int64]:
        return rows_of_step(step, batch_rows=self.plan.batch_rows, rows=len(self.training), seed=self.plan.seed)

    def _passes(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        plan = self.plan
        return share_of(rows, process=self.process, processes=self.processes, micro_batch_rows=plan.micro_batch_rows)

    def _pass_over(self, rows: NDArray[np.int64]) -> tuple[torch.Tensor, int]:
        """Gradients of one batch; returns this process's summed loss, and the batch's target tokens over all."""
        tokens = int((self.training.labels[rows] != IGNORED).sum())
        passes = self._passes(rows)
        summed = torch.zeros((), device=self.device)
        for number, micro_batch in enumerate(passes, start=1):
            last = number == len(passes)
            with nullcontext() if last else self.accelerator.no_sync(self.parallel_loss):
                total = self._total(self.parallel_loss, self.training.take(micro_batch))
                # Every token of the batch counts alike, whichever process and pass it is in. Gradients are averaged
                # over processes, so the mean over the batch is the sum times their number.
                self.scaler.scale(total * self.processes / max(tokens, 1)).backward()
            summed += total.detach()
        return summed, tokens

    def _total(self, loss: torch.nn.Module, rows: PackedRows) -> torch.Tensor:
        tensors = (rows.input_ids, rows.labels, rows.position_ids, rows.document_ids)
        with autocast(self.precision, self.device):
            total: torch.Tensor = loss(*(torch.from_numpy(array).to(self.device) for array in tensors))
        return total

    def _figures(self, total: torch.Tensor, tokens: int, norm: torch.Tensor) -> dict[str, Any]:
        """What is known of the last step. Raises TrainingDivergedError before anything of it is saved."""
        loss = sum(gather(total.item())) / max(tokens, 1)
        # In fp16 gradients overflow now and then; the scaler leaves such a step out.
        if not (math.isfinite(loss) and (self.precision == "fp16" or math.isfinite(norm.item()))):
            raise TrainingDivergedError(
                f"the loss is {loss} and the gradient's length {norm.item()} at step {self.step}; lower learning_rate, "
                f"lengthen warmup_steps, or use another precision, and remove {self.directory / STATE}"
            )
        return {
            "step": self.step,
            "epoch": round(self.step * self.plan.batch_rows / len(self.training), 3),
            "training_loss": round(loss, 4),
            "gradient_norm": round(norm.item(), 4) if math.isfinite(norm.item()) else 0.0,
            "learning_rate": self.plan.learning_rate * self.plan.rate_at(self.step - 1),
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "tokens_per_second": round(self.tokens / max(self.seconds, 1e-9)),
            "seconds_left": round((self.plan.steps - self.step) * self.seconds / self.step),
        }

    @property
    def _out_of_patience(self) -> bool:
        return 0 < self.plan.patience_evaluations <= self.bad_evaluations

    @torch.no_grad()
    def _evaluate(self) -> float:
        """The held-out loss over all processes; the best weights so far are kept."""
        self.model.eval()
        rows = len(self._passes(np.arange(self.plan.batch_rows))[0])
        mine = np.arange(self.process, len(self.validation), self.processes)
        total, tokens = 0.0, 0
        for start in range(0, len(mine), rows):
            # The last batch wraps around so that every batch has one shape; what repeats is not counted.
            wanted = np.arange(start, start + rows)
            batch = self.validation.take(mine[wanted % len(mine)])
            batch.labels[wanted >= len(mine)] = IGNORED
            total, tokens = total + self._total(self.loss, batch).item(), tokens + batch.target_tokens
        self.model.train()
        parts = gather((total, tokens))
        loss = sum(part for part, _ in parts) / sum(count for _, count in parts)
        if loss < self.best_loss:
            self.best_loss, self.best_step, self.bad_evaluations = loss, self.step, 0
            if self.accelerator.is_main_process:
                write_atomically(self.model.state_dict(), self.directory / BEST)
        else:
            self.bad_evaluations += 1
        return loss

    @property
    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on; how long it is may change."""
        names = ("batch_rows", "seed", "optimizer")
        plan = {name: getattr(self.plan, name) for name in names}
        return {**plan, "precision": self.precision, "training_rows": self.training.sha256()}

    def _save_state(self) -> None:
        randoms = gather(random_state())
        if not self.accelerator.is_main_process:
            return
        state = {
            "version": VERSION,
            "identity": self._identity,
            "plan": asdict(self.plan),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict(),
            "random": randoms,
            "counters": {name: getattr(self, name) for name in COUNTERS},
        }
        write_atomically(state, self.directory / STATE)

    def resume(self) -> None:
        state = on_first(lambda: read_state(self.directory))
        if state is not None:
            require_same(state["identity"], self._identity, self.directory / STATE)
            self.model.load_state_dict(state["model"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.scaler.load_state_dict(state["scaler"])
            for name, value in state["counters"].items():
                setattr(self, name, value)
            if len(state["random"]) == self.processes:
                restore_random_state(state["random"][self.process])
            else:
                # Exact but for dropout: what was kept is of another number of processes.
                torch.manual_seed(_seed(self.plan.seed, self.step, self.process))
        if self.accelerator.is_main_process:
            self.progress = Progress(self.directory, step=self.step, steps=self.plan.steps)
            log.info(
                "begins" if state is None else "resumed", step=self.step, steps=self.plan.steps,
                rows=len(self.training), tokens=self.training.target_tokens, device=str(self.device),
                processes=self.processes, precision=self.precision, directory=str(self.directory),
            )  # fmt: skip

    def finish(self) -> TrainingSummary:
        if self.progress is not None:
            self.progress.close()
        self.model.load_state_dict(on_first(lambda: read_weights(self.directory / BEST)))
        self.model.eval().to("cpu")
        return TrainingSummary(
            steps=self.step,
            validation_loss=self.best_loss,
            best_step=self.best_step,
            tokens_per_second=self.tokens / max(self.seconds, 1e-9),
            seconds=self.seconds,
        )


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
