"""The loss of packed rows, and the precision that it is computed in.

Weights stay fp32 whatever the precision; a pass casts what gains by it (PyTorch's autocast).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import torch
from torch.nn.functional import cross_entropy

from training.attention import document_mask
from training.packing import IGNORED

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

    from training.plan import Precision

ComputedIn = Literal["bf16", "fp16", "fp32"]


class PackedLoss(torch.nn.Module):
    """The summed loss of packed rows, as one module: several processes add up gradients of what goes through it."""

    def __init__(self, model: PreTrainedModel, *, compiled: bool) -> None:
        super().__init__()
        self.model = model
        total = cast("Callable[..., torch.Tensor]", self._total)
        if compiled:
            torch.compiler.reset()  # the compiler forgets earlier models: after eight it would compile no more
        self._loss = torch.compile(total, dynamic=False) if compiled else total

    def forward(
        self, input_ids: torch.Tensor, labels: torch.Tensor, position_ids: torch.Tensor, document_ids: torch.Tensor
    ) -> torch.Tensor:
        """Nats over all labelled positions; every tensor is int64 [rows, tokens], as in ``PackedRows``."""
        return self._loss(input_ids, labels, position_ids, document_mask(document_ids))

    def _total(
        self, input_ids: torch.Tensor, labels: torch.Tensor, position_ids: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        logits = self.model(
            input_ids=input_ids, position_ids=position_ids, attention_mask=mask, use_cache=False
        ).logits.float()
        return cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")


def precision_on(wanted: Precision, device: torch.device) -> ComputedIn:
    """The precision of the passes on a device. Raises ValueError for fp16 without a GPU."""
    if wanted == "auto":
        if device.type != "cuda":
            return "bf16" if _multiplies_bf16() else "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if wanted == "fp16" and device.type != "cuda":
        raise ValueError("precision fp16 needs a GPU, and there is none; use bf16 or fp32")
    return wanted


def _multiplies_bf16() -> bool:
    """Whether this processor has instructions for it: bf16 is twice as fast as fp32 then, and slower without."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def autocast(precision: ComputedIn, device: torch.device) -> torch.autocast:
    """The context that a pass is computed in."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")
