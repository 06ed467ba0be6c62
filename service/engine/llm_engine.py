"""The engine, one step at a time: schedule, run, sample, hand out what came of it.

Synchronous and single-threaded; ``async_engine`` puts it on a thread of its own. Knows tokens and text, nothing of
requests, connections or time-outs.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Protocol

import numpy as np

from service.engine.errors import PromptTooLongError
from service.engine.model_runner import ModelRunner
from service.engine.sampler import Sampler
from service.engine.sampling_params import SamplingParamsError
from service.engine.scheduler import Move, PrefillStep, Scheduler
from service.engine.sequence import FinishReason, Sequence, SequenceStatus, TokenLogprob
from service.engine.tokenizer import IncrementalDetokenizer, Tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from service.engine.model_runner import StepLogits
    from service.engine.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """What an engine is made of. Sizes are in tokens, bytes and sequences as named."""

    model_path: Path
    tokenizer_path: Path
    end_token_id: int
    max_slots: int = 64
    max_waiting: int = 256
    context_tokens: int | None = None
    """Longest prompt and output together; None takes the model's own."""
    cache_budget_bytes: int | None = None
    """Slots are lowered until the KV cache fits this."""
    prefill_chunk_tokens: int = 256
    threads: int = 0
    """0 takes the container's CPU limit."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished text. Times are seconds: in the queue, until the first token, from there to the last."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    finish_reason: FinishReason
    seed: int
    prompt_tokens: int
    completion_tokens: int
    queue_s: float
    prefill_s: float
    decode_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One token of a streamed sequence, or the end of any. ``text`` may be empty where characters are held back."""

    text: str
    token_id: int | None
    logprob: TokenLogprob | None
    finished: Completion | None


class EngineObserver(Protocol):
    """Is told what happens, on the engine's thread; must be quick."""

    def on_step(self, batch_size: int, prefill_tokens: int, decode_tokens: int, seconds: float) -> None:
        """A step has run."""

    def on_queue(self, seconds: float) -> None:
        """A sequence has left the queue."""

    def on_first_token(self, seconds: float) -> None:
        """A sequence has its first token, so long after it arrived."""

    def on_inter_token(self, seconds: float, count: int) -> None:
        """``count`` sequences got a token, so long after their last."""

    def on_finish(self, completion: Completion) -> None:
        """A sequence has ended, as ``completion`` says."""


class _Text:
    """What the engine keeps beside a sequence: the text so far."""

    __slots__ = ("detokenizer", "parts", "stream")

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...], *, stream: bool) -> None:
        self.stream = stream
        # Without anybody reading along or a string to stop at, the text is made once, at the end.
        self.detokenizer = IncrementalDetokenizer(tokenizer, stop) if stream or stop else None
        self.parts: list[str] = []


class LLMEngine:
    """A model with its tokenizer, scheduler and sampler."""

    def __init__(self, config: EngineConfig, observer: EngineObserver | None = None) -> None:
        """Loads model and tokenizer. Raises ModelLoadError."""
        self.tokenizer = Tokenizer(config.tokenizer_path)
        self.runner = ModelRunner(
            config.model_path,
            slots=config.max_slots,
            max_len=config.context_tokens,
            threads=config.threads,
            cache_budget_bytes=config.cache_budget_bytes,
        )
        self.context_tokens = self.runner.max_len
        self.end_token_id = config.end_token_id
        slots, vocab_size = self.runner.slots, self.runner.shape.vocab_size
        self.scheduler = Scheduler(slots, max_waiting=config.max_waiting, chunk_tokens=config.prefill_chunk_tokens)
        line_end_ids = frozenset(i for i in range(vocab_size) if b"\n" in self.tokenizer.token_bytes(i))
        self.sampler = Sampler(slots, vocab_size, config.end_token_id, self.context_tokens, line_end_ids)
        self._observer = observer
        self._texts: dict[int, _Text] = {}
        self._ids = count()
        self._last_tokens = np.zeros(slots, np.int64)
        self._newest = np.full(slots, -1, np.int32)
        """Of each row, the place of its newest cached token."""
        self._last_decode_s = 0.0

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return self.scheduler.unfinished > 0

    def make_sequences(self, prompt_ids: list[int], params: SamplingParams, *, stream: bool) -> list[Sequence]:
        """Checks a request and makes its ``params.n`` sequences, not queued yet; may be called from any thread.

        A missing seed is drawn; max_new_tokens is bounded by what the context leaves. Raises PromptTooLongError,
        SamplingParamsError, ValueError.
        """
        if not prompt_ids:
            msg = "the prompt holds no token; it must begin with the start token"
            raise ValueError(msg)
        limit = self.context_tokens - 1
        if len(prompt_ids) > limit:
            raise PromptTooLongError(len(prompt_ids), limit)
        for token in params.logit_bias:
            if token >= self.runner.shape.vocab_size:
                raise SamplingParamsError("logit_bias", f"names token {token}, the vocabulary ends before it")
        room = self.context_tokens - len(prompt_ids)
        bounded = replace(
            params,
            seed=secrets.randbits(32) if params.seed is None else params.seed,
            max_new_tokens=min(params.max_new_tokens, room),
            min_new_tokens=min(params.min_new_tokens, room),
        )
        arrived_s = time.perf_counter()
        sequences = []
        for one in bounded.expand():
            sequence = Sequence(next(self._ids), list(prompt_ids), one, arrived_s=arrived_s)
            self._texts[sequence.sequence_id] = _Text(self.tokenizer, one.stop, stream=stream)
            sequences.append(sequence)
        return sequences

    def add(self, sequences: list[Sequence]) -> None:
        """Queues sequences, all or none. Raises QueueFullError."""
        try:
            self.scheduler.add(sequences)
        except BaseException:
            self.forget(sequences)
            raise

    def forget(self, sequences: list[Sequence]) -> None:
        """Drops what is kept of sequences that were made and never queued."""
        for sequence in sequences:
            self._texts.pop(sequence.sequence_id, None)

    def abort(self, sequence: Sequence, reason: FinishReason) -> TokenEvent | None:
        """Ends a sequence wherever it stands; its slot is free at once. None when it had ended before."""
        if sequence.status is SequenceStatus.FINISHED:
            return None
        return self._finish(sequence, reason)

    def step(self) -> list[tuple[Sequence, TokenEvent]]:
        """Runs one step and returns what is to be told of it, in the order of the rows."""
        step = self.scheduler.schedule()
        if step is None:
            return []
        started_s = time.perf_counter()
        prompts = step.tokens if isinstance(step, PrefillStep) else ()
        events = self._prefill(step, started_s) if isinstance(step, PrefillStep) else self._decode(step.sequences)
        if self._observer is not None:
            self._observer.on_step(
                len(step.sequences),
                sum(prompts),
                0 if prompts else len(step.sequences),
                time.perf_counter() - started_s,
            )
        return events

    def _prefill(self, step: PrefillStep, started_s: float) -> list[tuple[Sequence, TokenEvent]]:
        rows = len(step.sequences)
        input_ids = np.full((rows, max(step.tokens)), self.end_token_id, np.int64)
        cached = np.zeros(rows, np.int32)
        for i, (sequence, tokens) in enumerate(zip(step.sequences, step.tokens, strict=True)):
            at = sequence.cached_tokens
            input_ids[i, :tokens] = sequence.prompt_ids[at : at + tokens]
            cached[i] = at
            if at == 0:
                sequence.started_s = started_s
                self.sampler.admit(step.row + i, sequence.prompt_ids, sequence.params)
                if self._observer is not None:
                    self._observer.on_queue(started_s - sequence.arrived_s)
        new = np.array(step.tokens, np.int32)
        logits = self.runner.run(step.row, input_ids, cached, new, self.sampler.candidates(step.row, rows))
        if step.sequences[0].prompt_left > step.tokens[0]:  # a chunk of a long prompt, with more to come
            self.scheduler.prefilled(step)
            return []
        self._newest[step.row : step.row + rows] = cached + new - 1
        sampled = self._sample(step.row, logits)
        for move in self.scheduler.prefilled(step):
            self._follow(move)
        now_s = time.perf_counter()
        for sequence in step.sequences:
            sequence.first_token_s = now_s
            if self._observer is not None:
                self._observer.on_first_token(now_s - sequence.arrived_s)
        return self._hand_out(step.sequences, *sampled)

    def _decode(self, sequences: tuple[Sequence, ...]) -> list[tuple[Sequence, TokenEvent]]:
        rows = len(sequences)
        # Before the step, not behind it: what numpy does first when the model has emptied the processor's caches of
        # its code costs ten times as much, at one row a twentieth of the step.
        cached = self._newest[:rows]
        cached += 1
        logits = self.runner.decode(self._last_tokens[:rows], cached, self.sampler.candidates(0, rows))
        sampled = self._sample(0, logits)
        if self._observer is not None:
            now_s = time.perf_counter()
            if self._last_decode_s:
                self._observer.on_inter_token(now_s - self._last_decode_s, rows)
            self._last_decode_s = now_s
        return self._hand_out(sequences, *sampled)

    def _sample(self, first: int, logits: StepLogits) -> tuple[list[int], list[TokenLogprob | None] | None]:
        tokens, logprobs = self.sampler.sample(first, logits.logits, logits.top_logits, logits.top_ids)
        self._last_tokens[first : first + len(tokens)] = tokens
        return tokens, logprobs

    def _hand_out(
        self, sequences: tuple[Sequence, ...], tokens: list[int], logprobs: list[TokenLogprob | None] | None
    ) -> list[tuple[Sequence, TokenEvent]]:
        events: list[tuple[Sequence, TokenEvent]] = []
        ended: list[tuple[Sequence, FinishReason]] = []
        for i, (sequence, token) in enumerate(zip(sequences, tokens, strict=True)):
            if token == self.end_token_id and not sequence.params.ignore_eos:
                ended.append((sequence, FinishReason.END))
                continue
            output_ids = sequence.output_ids
            output_ids.append(token)
            logprob = None if logprobs is None else logprobs[i]
            if logprob is not None:
                sequence.logprobs.append(logprob)
            text = self._texts[sequence.sequence_id]
            piece = ""
            if text.detokenizer is not None:
                piece = text.detokenizer.push(token)
                text.parts.append(piece)
                if text.detokenizer.stopped:
                    ended.append((sequence, FinishReason.STOP))
                    if text.stream:
                        events.append((sequence, TokenEvent(piece, token, logprob, None)))
                    continue
            if len(output_ids) >= sequence.params.max_new_tokens:
                ended.append((sequence, FinishReason.LENGTH))
            if text.stream:
                events.append((sequence, TokenEvent(piece, token, logprob, None)))
        # From the last row up, so that a row that ends itself is not moved into the gap of another.
        if ended:
            events.extend((sequence, self._finish(sequence, reason)) for sequence, reason in reversed(ended))
        return events

    def _finish(self, sequence: Sequence, reason: FinishReason) -> TokenEvent:
        sequence.finished_s = now_s = time.perf_counter()
        for move in self.scheduler.finish(sequence, reason):
            self._follow(move)
        if not self.scheduler.running:
            self._last_decode_s = 0.0
        text = self._texts.pop(sequence.sequence_id)
        rest = ""
        if text.detokenizer is None:
            text.parts.append(self.tokenizer.decode(sequence.output_ids))
        else:
            rest = text.detokenizer.finish()
            text.parts.append(rest)
        started_s = sequence.started_s or now_s
        first_s = sequence.first_token_s or now_s
        completion = Completion(
            text="".join(text.parts),
            token_ids=tuple(sequence.output_ids),
            logprobs=tuple(sequence.logprobs),
            finish_reason=reason,
            seed=sequence.params.seed or 0,
            prompt_tokens=len(sequence.prompt_ids),
            completion_tokens=len(sequence.output_ids),
            queue_s=started_s - sequence.arrived_s,
            prefill_s=first_s - started_s,
            decode_s=now_s - first_s,
            total_s=now_s - sequence.arrived_s,
        )
        if self._observer is not None:
            self._observer.on_finish(completion)
        return TokenEvent(rest, None, None, completion)

    def _follow(self, move: Move) -> None:
        """Carries what is kept by row to a sequence's new row."""
        source, destination = move.source, move.destination
        self.runner.cache.move(source, destination, int(self._newest[source]) + 1)
        self.sampler.move(source, destination)
        self._last_tokens[destination] = self._last_tokens[source]
        self._newest[destination] = self._newest[source]
