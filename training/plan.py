"""How a model is trained: the numbers of one run, checked when they are given.

A plan says the same on every machine. Rows of a batch are those of one optimizer step, over all processes and all
passes, so that two processes, or a small GPU that takes a batch in four passes, give the losses of one large one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

from training.schedule import Schedule, rate_at

Optimizer = Literal["muon", "adamw"]
Precision = Literal["bf16", "fp16", "fp32", "auto"]


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How long and how fast to train. Rates are peaks; the schedule says how they rise and fall."""

    steps: int = 0
    """Optimizer steps; 0 when ``epochs`` says how long to train."""
    epochs: float = 0.0
    """Passes over the training rows, in place of ``steps``."""
    batch_rows: int = 16
    """Packed rows of one optimizer step, over all processes."""
    micro_batch_rows: int = 0
    """Rows that a process computes at once; a larger share of the batch is accumulated. 0 computes all at once."""
    optimizer: Optimizer = "muon"
    """``muon`` trains hidden matrices with Muon and the rest with AdamW; ``adamw`` trains all with AdamW."""
    learning_rate: float = 2e-3
    schedule: Schedule = "cooldown"
    """``cooldown`` is flat, then falls in ``cooldown_steps``; ``cosine`` falls all the way; ``constant`` never."""
    weight_decay: float = 0.05
    """On hidden matrices; embeddings, norms and biases have none."""
    max_gradient_norm: float = 1.0
    """Longer gradients are shortened to this; 0 leaves them as they are."""
    warmup_steps: int = 100
    """At most; of a short run half."""
    cooldown_steps: int = 500
    warmup_share: float = 0.0
    """Warm-up as a share of all steps, in place of ``warmup_steps``."""
    cooldown_share: float = 0.0
    """Cool-down as a share of all steps, in place of ``cooldown_steps``."""
    evaluate_every_steps: int = 250
    evaluations: int = 0
    """Evaluate this often, evenly over the run, in place of ``evaluate_every_steps``."""
    checkpoint_every_steps: int = 250
    log_every_steps: int = 10
    patience_evaluations: int = 0
    """Stop after this many evaluations without a better held-out loss; 0 trains to the end."""
    precision: Precision = "fp32"
    """Of the passes; weights and optimizer state are fp32. ``auto`` is what the GPU, or else the CPU, is good at."""
    compile: bool = False
    threads: int = 0
    """Intra-op threads of each process; 0 leaves PyTorch's choice."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        if self.steps < 0 or (self.steps == 0 and self.epochs == 0):
            raise ValueError(f"steps must be at least 1 (or epochs above 0), got {self.steps}")
        if self.steps and self.epochs:
            raise ValueError(f"steps and epochs exclude each other, got steps={self.steps} and epochs={self.epochs}")
        for name in ("batch_rows", "evaluate_every_steps", "checkpoint_every_steps", "log_every_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in (
            "epochs", "micro_batch_rows", "learning_rate", "weight_decay", "max_gradient_norm", "warmup_steps",
            "cooldown_steps", "evaluations", "patience_evaluations", "threads",
        ):  # fmt: skip
            if not getattr(self, name) >= 0:  # NaN is refused too
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("warmup_share", "cooldown_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share from 0 to 1, got {getattr(self, name)}")
        for name, choices in (("optimizer", Optimizer), ("schedule", Schedule), ("precision", Precision)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {getattr(self, name)!r}")

    def for_rows(self, rows: int) -> Self:
        """The plan with every number in steps, for that many training rows: no epochs, no shares, no evaluations."""
        steps = self.steps or max(1, math.ceil(self.epochs * rows / self.batch_rows))
        return replace(
            self,
            steps=steps,
            epochs=0.0,
            warmup_steps=round(self.warmup_share * steps) or min(self.warmup_steps, steps // 2),
            cooldown_steps=round(self.cooldown_share * steps) or self.cooldown_steps,
            evaluate_every_steps=max(1, steps // self.evaluations) if self.evaluations else self.evaluate_every_steps,
            warmup_share=0.0,
            cooldown_share=0.0,
            evaluations=0,
        )

    def rate_at(self, step: int) -> float:
        """The share of the peak learning rate at ``step`` (0-based), of a plan in steps."""
        return rate_at(
            step,
            schedule=self.schedule,
            steps=self.steps,
            warmup_steps=self.warmup_steps,
            cooldown_steps=self.cooldown_steps,
        )
