"""What can go wrong between the engine and whoever asks it for text.

EngineError
├── QueueFullError       too many requests: try again after ``retry_after_s``
├── PromptTooLongError   the prompt leaves no room in the model's context
├── EngineClosedError    draining, stopped, or its thread died
└── ModelLoadError       the model's graph is not one that the engine can run

NonFiniteLogitsError     what the model computes is no number: nothing can be drawn from it
"""

from __future__ import annotations


class EngineError(RuntimeError):
    """Base of all errors of the engine."""


class QueueFullError(EngineError):
    """Slots and queue are full."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"all slots and the queue are full; try again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class PromptTooLongError(EngineError):
    """The prompt does not fit the context with at least one new token."""

    def __init__(self, prompt_tokens: int, limit_tokens: int) -> None:
        super().__init__(f"the prompt has {prompt_tokens} tokens, at most {limit_tokens} fit; shorten it")
        self.prompt_tokens = prompt_tokens
        self.limit_tokens = limit_tokens


class EngineClosedError(EngineError):
    """The engine takes no requests (any more)."""


class ModelLoadError(EngineError):
    """The graph lacks an input or output of the contract, or ONNX Runtime refuses it."""


class NonFiniteLogitsError(FloatingPointError):
    """The model gave no finite logit: its weights or inputs are broken."""

    def __init__(self) -> None:
        super().__init__("the model gave logits that are not finite; its files may be damaged")
