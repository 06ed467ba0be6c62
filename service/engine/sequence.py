"""One text in the making: its tokens, where it stands, and when things happened to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.engine.sampling_params import SamplingParams


class SequenceStatus(StrEnum):
    """Where a sequence stands. It only moves forward."""

    WAITING = "waiting"
    PREFILLING = "prefilling"
    DECODING = "decoding"
    FINISHED = "finished"


class FinishReason(StrEnum):
    """Why a sequence ended."""

    END = "end"
    """The model wrote its end token."""
    STOP = "stop"
    """A stop string came up."""
    LENGTH = "length"
    """max_new_tokens, or the model's context, is full."""
    ABORT = "abort"
    """The client went away or was too slow."""
    DEADLINE = "deadline"
    """The request's time was up."""
    ERROR = "error"
    """The engine failed."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Log probability of a token under the model (temperature 1, no filters, no penalties), in nats."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """The most likely tokens of that step with theirs, best first."""


@dataclass(slots=True, eq=False)
class Sequence:
    """A prompt being continued. ``slot`` is its row of the KV cache while it runs, else -1."""

    sequence_id: int
    prompt_ids: list[int]
    params: SamplingParams
    arrived_s: float = 0.0
    output_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    status: SequenceStatus = SequenceStatus.WAITING
    finish_reason: FinishReason | None = None
    slot: int = -1
    cached_tokens: int = 0
    """Tokens whose keys and values are in the cache."""
    started_s: float = 0.0
    first_token_s: float = 0.0
    finished_s: float = 0.0

    @property
    def prompt_left(self) -> int:
        """Prompt tokens that have not been through the model."""
        return max(0, len(self.prompt_ids) - self.cached_tokens)
