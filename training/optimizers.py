"""The optimizers of a run, and one update of the weights by them.

Hidden matrices are the weights of linear layers between embedding and head; they alone decay. Knows no data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from transformers.pytorch_utils import Conv1D

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from training.plan import TrainingPlan

BETAS = (0.9, 0.95)


class Scaler(Protocol):
    """What ``torch.amp.GradScaler`` does here; a disabled one passes all through."""

    def unscale_(self, optimizer: torch.optim.Optimizer) -> None: ...  # noqa: D102 - PyTorch's own
    def step(self, optimizer: torch.optim.Optimizer) -> float | None: ...  # noqa: D102
    def update(self) -> None: ...  # noqa: D102


def hidden_matrices(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    """Weights of the linear layers but the head's (and what is tied to it), in the model's order."""
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    outer = {id(module.weight) for module in (head, embeddings) if module is not None}
    linear = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Linear | Conv1D)} - outer
    return [parameter for parameter in model.parameters() if id(parameter) in linear]


def make_optimizers(model: PreTrainedModel, plan: TrainingPlan) -> list[torch.optim.Optimizer]:
    """One AdamW for all, or Muon (Jordan et al. 2024) for the hidden matrices and AdamW for the rest.

    Muon's rate is scaled to the size of AdamW's updates, so that one learning rate serves both.
    """
    hidden = hidden_matrices(model)
    inner = {id(parameter) for parameter in hidden}
    others = [parameter for parameter in model.parameters() if id(parameter) not in inner]
    rate, decay = plan.learning_rate, plan.weight_decay
    if plan.optimizer == "adamw":
        groups = [{"params": hidden, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
        return [torch.optim.AdamW(groups, lr=rate, betas=BETAS, fused=True)]
    return [
        torch.optim.Muon(hidden, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, weight_decay=0.0, betas=BETAS, fused=True),
    ]


def update(
    model: PreTrainedModel,
    optimizers: Sequence[torch.optim.Optimizer],
    scaler: Scaler,
    *,
    rate: float,
    max_gradient_norm: float,
) -> torch.Tensor:
    """One step of all optimizers at a learning rate; returns the length that the gradient had, and forgets it.

    With fp16 the scaler leaves weights as they are where a gradient overflowed.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
        scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_gradient_norm or float("inf"))
    for optimizer in optimizers:
        scaler.step(optimizer)
    scaler.update()  # once, after the last of them: the scale is the same for all
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    return norm
