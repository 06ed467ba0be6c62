"""How large the experiments are: models, steps, seeds, samples. The questions are the same at every scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from training.plan import TrainingPlan
from training.pretrain import ModelShape

ScaleName = Literal["quick", "short", "night"]
TUNE_BATCH_ROWS = 6


@dataclass(frozen=True, slots=True)
class Scale:
    """One size of the whole study. Rows are as long as the context, in pretraining and in tuning alike."""

    name: ScaleName
    large: ModelShape
    small: ModelShape
    stories: int
    """Stories to pretrain on; 0 takes all."""
    pretrain_steps: int
    pretrain_batch_rows: int
    tune_steps: int
    """Steps of a tuning at most, whatever it is tuned on."""
    tune_epochs: float
    """Passes over the tuning texts at most: few texts are seen this often, not until the steps are used up."""
    seeds: int
    """Tunings of each condition. A seed chooses the texts (where not all are taken), their order, and the samples."""
    bases: int
    """Pretrainings of each base; tuning ``seed`` begins with base ``seed % bases``."""
    samples: int
    """Texts that each tuned model writes."""
    few_texts: tuple[int, ...]
    """How many texts the start token is tried with, beside all."""
    shares: tuple[float, ...] = (0.1, 0.2, 0.4)
    """Shares of content-word types that are swapped, rising."""

    @property
    def pretraining(self) -> TrainingPlan:
        """How a base is trained."""
        return TrainingPlan(
            steps=self.pretrain_steps,
            batch_rows=self.pretrain_batch_rows,
            learning_rate=3e-3,
            warmup_steps=30,
            cooldown_share=0.3,
            evaluations=4,
            checkpoint_every_steps=100,
            threads=1,
        )

    def tuning(self, rows: int, seed: int) -> TrainingPlan:
        """How a base is tuned on that many packed rows."""
        batch_rows = TUNE_BATCH_ROWS
        steps = min(self.tune_steps, max(self.tune_steps // 5, round(self.tune_epochs * rows / batch_rows)))
        return TrainingPlan(
            steps=steps,
            batch_rows=batch_rows,
            learning_rate=2e-3,
            warmup_steps=5,
            cooldown_share=0.6,
            evaluations=10,
            checkpoint_every_steps=50,
            threads=1,
            seed=seed,
        )


QUICK = Scale(
    name="quick",
    large=ModelShape(hidden_size=64, num_layers=2, num_heads=4, context_length=192, window_size=192, vocab_size=1024),
    small=ModelShape(hidden_size=16, num_layers=2, num_heads=1, context_length=192, window_size=192, vocab_size=1024),
    stories=2000,
    pretrain_steps=200,
    pretrain_batch_rows=8,
    tune_steps=40,
    tune_epochs=6,
    seeds=2,
    bases=1,
    samples=20,
    few_texts=(10,),
    shares=(0.4,),
)
SHORT = Scale(
    name="short",
    large=ModelShape(hidden_size=64, num_layers=4, num_heads=4, context_length=192, window_size=192, vocab_size=2048),
    small=ModelShape(hidden_size=24, num_layers=2, num_heads=1, context_length=192, window_size=192, vocab_size=2048),
    stories=12_000,
    pretrain_steps=400,
    pretrain_batch_rows=12,
    tune_steps=100,
    tune_epochs=12,
    seeds=3,
    bases=1,
    samples=200,
    few_texts=(10,),
    shares=(0.2, 0.4),
)
NIGHT = Scale(
    name="night",
    large=ModelShape(hidden_size=128, num_layers=4, num_heads=4, context_length=192, window_size=192, vocab_size=2048),
    small=ModelShape(hidden_size=48, num_layers=4, num_heads=3, context_length=192, window_size=192, vocab_size=2048),
    stories=0,
    pretrain_steps=2400,
    pretrain_batch_rows=16,
    tune_steps=240,
    tune_epochs=16,
    seeds=6,
    bases=3,
    samples=500,
    few_texts=(10, 40, 140),
)
SCALES: dict[str, Scale] = {scale.name: scale for scale in (QUICK, SHORT, NIGHT)}
