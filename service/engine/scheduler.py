"""Who runs next: first come first served, one batch a step. No I/O, no clock, no model.

Rows 0..n-1 of the cache are the sequences being decoded, in ``running``. A step either feeds prompts or decodes one
token for every running sequence, and the two alternate while both are wanted, so that a running stream waits for
one chunk of prompt at most. Short prompts are fed together, straight into the rows behind the running ones; a
prompt longer than a chunk is fed alone, chunk by chunk, in the last slot, and joins the others when it is through.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.engine.errors import QueueFullError
from service.engine.sequence import FinishReason, Sequence, SequenceStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

IDLE_CHUNKS = 4
"""With nobody to keep waiting, as many chunks of prompt are fed in one step."""


@dataclass(frozen=True, slots=True)
class PrefillStep:
    """Feed ``tokens`` prompt tokens of each sequence into the rows from ``row`` on."""

    sequences: tuple[Sequence, ...]
    row: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DecodeStep:
    """Decode one token for each sequence; sequence i is in row i."""

    sequences: tuple[Sequence, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """A sequence changes its row; what is kept by row must follow before the next step."""

    sequence: Sequence
    source: int
    destination: int


class Scheduler:
    """Owns the slots and the queue."""

    def __init__(self, slots: int, *, max_waiting: int, chunk_tokens: int) -> None:
        """``max_waiting`` sequences may queue beyond ``slots``; ``chunk_tokens`` bounds a prefill step."""
        for name, value, least in (("slots", slots, 1), ("max_waiting", max_waiting, 0), ("chunk", chunk_tokens, 1)):
            if value < least:
                msg = f"{name} must be at least {least}, got {value}"
                raise ValueError(msg)
        self.slots = slots
        self.max_waiting = max_waiting
        self.chunk_tokens = chunk_tokens
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.prefilling: Sequence | None = None
        self._prefilled_last = False
        self._decode_step: DecodeStep | None = None
        """The last one, as long as the same sequences run in the same rows."""

    @property
    def free_slots(self) -> int:
        """Slots that no sequence is in."""
        return self.slots - len(self.running) - (self.prefilling is not None)

    @property
    def unfinished(self) -> int:
        """Sequences waiting or running."""
        return len(self.waiting) + len(self.running) + (self.prefilling is not None)

    def room_for(self, count: int) -> bool:
        """Whether ``count`` more sequences would be taken."""
        return self.unfinished + count <= self.slots + self.max_waiting

    def add(self, sequences: Iterable[Sequence]) -> None:
        """Queues sequences, all or none. Raises QueueFullError."""
        added = list(sequences)
        if not self.room_for(len(added)):
            raise QueueFullError(retry_after_s=1.0)
        self.waiting.extend(added)

    def schedule(self) -> PrefillStep | DecodeStep | None:
        """The next step, None when there is nothing to do. Each prefill step must be reported by ``prefilled``."""
        wants_prefill = self.prefilling is not None or (bool(self.waiting) and self.free_slots > 0)
        if wants_prefill and not (self._prefilled_last and self.running):
            self._prefilled_last = True
            return self._prefill_step()
        self._prefilled_last = False
        if not self.running:
            return None
        if self._decode_step is None:
            self._decode_step = DecodeStep(tuple(self.running))
        return self._decode_step

    def _prefill_step(self) -> PrefillStep:
        if self.prefilling is None and len(self.waiting[0].prompt_ids) > self.chunk_tokens:
            self.prefilling = self.waiting.popleft()
            self.prefilling.slot = self.slots - 1
            self.prefilling.status = SequenceStatus.PREFILLING
        if self.prefilling is not None:
            tokens = min(self.chunk_tokens, self.prefilling.prompt_left)
            return PrefillStep((self.prefilling,), self.prefilling.slot, (tokens,))
        budget = self.chunk_tokens * (1 if self.running else IDLE_CHUNKS)
        batch: list[Sequence] = []
        width, first = 0, len(self.running)
        while self.waiting and len(batch) < self.free_slots:
            length = len(self.waiting[0].prompt_ids)
            wider = max(width, length)
            if length > self.chunk_tokens or (batch and wider * (len(batch) + 1) > budget):
                break
            width = wider
            sequence = self.waiting.popleft()
            sequence.slot = first + len(batch)
            sequence.status = SequenceStatus.PREFILLING
            batch.append(sequence)
        self.running.extend(batch)
        return PrefillStep(tuple(batch), first, tuple(len(sequence.prompt_ids) for sequence in batch))

    def prefilled(self, step: PrefillStep) -> list[Move]:
        """Records that a prefill step has run: whose prompt is through is decoded from now on."""
        moves = []
        self._decode_step = None
        for sequence, tokens in zip(step.sequences, step.tokens, strict=True):
            sequence.cached_tokens += tokens
            if sequence.prompt_left:
                continue
            sequence.status = SequenceStatus.DECODING
            if sequence is self.prefilling:
                self.prefilling = None
                self.running.append(sequence)
                if sequence.slot != len(self.running) - 1:
                    moves.append(self._move(sequence, len(self.running) - 1))
        return moves

    def finish(self, sequence: Sequence, reason: FinishReason) -> list[Move]:
        """Takes a sequence out wherever it stands; the last row fills the gap it leaves."""
        if sequence.status is SequenceStatus.FINISHED:
            return []
        moves = []
        self._decode_step = None
        if sequence is self.prefilling:
            self.prefilling = None
        elif sequence.slot >= 0:
            last = self.running.pop()
            if last is not sequence:
                self.running[sequence.slot] = last
                moves.append(self._move(last, sequence.slot))
        else:
            self.waiting.remove(sequence)
        sequence.slot = -1
        sequence.status, sequence.finish_reason = SequenceStatus.FINISHED, reason
        return moves

    @staticmethod
    def _move(sequence: Sequence, destination: int) -> Move:
        move = Move(sequence, sequence.slot, destination)
        sequence.slot = destination
        return move
