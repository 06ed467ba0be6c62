"""The loss of mended texts: each is to be written, and to be preferred to the draft that it was made from.

Direct preference optimisation (Rafailov et al. 2023) beside the usual loss, which keeps the mended texts likely (Pang
et al. 2024): a model learns what not to write from its own mistakes, where right examples alone tell it little.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, cast

import torch
from torch.nn.functional import cross_entropy, softplus

from training.attention import document_mask
from training.packing import IGNORED

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel


class PreferenceLoss(torch.nn.Module):
    """The summed loss of rows of pairs, as ``PackedLoss`` has that of rows of texts.

    A pair is a text (odd document id) and its draft (the even one after it). Each token of a text adds its own loss and
    its pair's ``-log sigmoid(beta * margin)``; the margin is by how many nats more the model has come to prefer text to
    draft than it did when it was handed over.
    """

    def __init__(self, model: PreTrainedModel, beta: float, *, compiled: bool) -> None:
        """Keeps a copy of the model as it is now, which is not trained."""
        super().__init__()
        self.model, self.beta = model, beta
        self.before = deepcopy(model).eval().requires_grad_(False)
        total = cast("Callable[..., torch.Tensor]", self._total)
        if compiled:
            torch.compiler.reset()
        self._loss = torch.compile(total, dynamic=False) if compiled else total

    def forward(
        self, input_ids: torch.Tensor, labels: torch.Tensor, position_ids: torch.Tensor, document_ids: torch.Tensor
    ) -> torch.Tensor:
        """Nats; every tensor is int64 [rows, tokens], as in ``PackedRows``."""
        return self._loss(input_ids, labels, position_ids, document_ids, document_mask(document_ids))

    def _total(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        position_ids: torch.Tensor,
        document_ids: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        def losses(model: PreTrainedModel) -> torch.Tensor:
            logits = model(
                input_ids=input_ids, position_ids=position_ids, attention_mask=mask, use_cache=False
            ).logits.float()
            return cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")

        nats = losses(self.model)
        with torch.no_grad():
            before = losses(self.before)
        of_text = (document_ids % 2 == 1) & (labels != IGNORED)
        gained = (before - nats) * torch.where(of_text, 1.0, -1.0)  # 0 where there is no label
        pair = (document_ids + 1) // 2  # 0 is filling, and has no token of a text
        sums = gained.new_zeros(len(pair), pair.shape[1] // 2 + 1)
        margins = sums.scatter_add(1, pair, gained)
        text_tokens = sums.scatter_add(1, pair, of_text.to(sums.dtype))
        return (nats * of_text).sum() + (text_tokens * softplus(-self.beta * margins)).sum()
