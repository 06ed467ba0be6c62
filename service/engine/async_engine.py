"""The engine behind an event loop: one thread steps it, coroutines talk to it through bounded queues.

All methods belong to the event loop's thread. Admission is decided here, at once: what is submitted and has not
ended is counted against slots and queue. A stream that is closed, is read too slowly, or passes its deadline is
aborted, and its slot is free before the next step.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from service.engine.errors import EngineClosedError, QueueFullError
from service.engine.llm_engine import Completion, TokenEvent
from service.engine.sampling_params import SamplingParams
from service.engine.sequence import FinishReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.engine.llm_engine import LLMEngine
    from service.engine.sequence import Sequence
    from service.engine.tokenizer import Tokenizer

log = logging.getLogger(__name__)

MAX_RETRY_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Where the engine stands, in sequences."""

    running: int
    waiting: int
    slots: int
    slots_free: int


class GenerationStream:
    """The events of one sequence, in order; iteration ends after the one that carries the Completion."""

    def __init__(self, sequence: Sequence, abort: Callable[[Sequence, FinishReason], None]) -> None:
        """Made by AsyncEngine.submit."""
        self.sequence = sequence
        self.ended = False
        """Whether the engine is through with it (events may be left to read)."""
        self.deadline: asyncio.TimerHandle | None = None
        self._abort = abort
        self._events: deque[TokenEvent] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._read_to_end = False

    def __aiter__(self) -> Self:
        """Iterates over what is left."""
        return self

    async def __anext__(self) -> TokenEvent:
        """The next event; waits for it."""
        if self._read_to_end:
            raise StopAsyncIteration
        while not self._events:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        event = self._events.popleft()
        self._read_to_end = event.finished is not None
        return event

    async def __aenter__(self) -> Self:
        """Aborts the sequence on leaving, where it has not ended."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Aborts the sequence where it has not ended."""
        self.abort()

    async def completion(self) -> Completion:
        """Reads to the end."""
        async for event in self:
            if event.finished is not None:
                return event.finished
        msg = "the stream was read to its end before"
        raise RuntimeError(msg)

    def abort(self, reason: FinishReason = FinishReason.ABORT) -> None:
        """Ends the sequence, its slot or place in the queue free before the next step. Never waits."""
        if not self.ended:
            self._abort(self.sequence, reason)

    def feed(self, event: TokenEvent) -> int:
        """Called by the engine; returns how many events are unread."""
        self._events.append(event)
        if event.finished is not None:
            self.ended = True
            if self.deadline is not None:
                self.deadline.cancel()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return len(self._events)


class AsyncEngine:
    """An LLMEngine on a thread of its own."""

    def __init__(self, engine: LLMEngine, *, max_unread_events: int = 256) -> None:
        """``max_unread_events``: a stream with more than that unread is aborted, its client is too slow."""
        self._engine = engine
        self._max_unread = max_unread_events
        self._capacity = engine.scheduler.slots + engine.scheduler.max_waiting
        self._streams: dict[int, GenerationStream] = {}
        self._new: deque[list[Sequence]] = deque()
        self._aborts: deque[tuple[Sequence, FinishReason]] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._stopping = False
        self._failed = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        self._seconds_per_finish = 0.0
        self._last_finish_s = 0.0

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._engine.tokenizer

    @property
    def context_tokens(self) -> int:
        """Longest prompt and output together."""
        return self._engine.context_tokens

    @property
    def is_healthy(self) -> bool:
        """Whether the engine's thread lives and has not failed."""
        return self._thread is not None and self._thread.is_alive() and not self._failed

    @property
    def stats(self) -> EngineStats:
        """A snapshot."""
        scheduler = self._engine.scheduler
        waiting = len(scheduler.waiting) + sum(len(sequences) for sequences in tuple(self._new))
        free = scheduler.free_slots
        return EngineStats(scheduler.slots - free, waiting, scheduler.slots, free)

    async def start(self) -> None:
        """Starts the thread; what it has to tell goes to the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    async def warm_up(self, prompt_ids: list[int], tokens: int = 16) -> Completion:
        """Writes a short text, so that the first request finds everything loaded."""
        params = SamplingParams(temperature=0.8, top_k=50, seed=0, max_new_tokens=tokens, min_new_tokens=tokens)
        stream = self.submit(prompt_ids, params, stream=False)[0]
        return await stream.completion()

    def submit(
        self, prompt_ids: list[int], params: SamplingParams, *, stream: bool, deadline_s: float | None = None
    ) -> list[GenerationStream]:
        """Queues a request and returns a stream for each of its ``params.n`` texts, at once, all or none.

        With ``stream`` false only the last event comes. Raises QueueFullError, EngineClosedError and what
        LLMEngine.make_sequences raises.
        """
        if self._closing or not self.is_healthy or self._loop is None:
            msg = "the engine takes no requests: it has not started, is shutting down, or has failed"
            raise EngineClosedError(msg)
        if len(self._streams) + params.n > self._capacity:
            raise QueueFullError(self._retry_after_s())
        sequences = self._engine.make_sequences(prompt_ids, params, stream=stream)
        streams = [GenerationStream(sequence, self._request_abort) for sequence in sequences]
        for sequence, made in zip(sequences, streams, strict=True):
            self._streams[sequence.sequence_id] = made
            if deadline_s is not None:
                made.deadline = self._loop.call_later(deadline_s, made.abort, FinishReason.DEADLINE)
        self._idle.clear()
        self._new.append(sequences)
        self._wake.set()
        return streams

    async def stop(self, drain_s: float = 0.0) -> None:
        """Takes nothing new, lets what runs end for ``drain_s`` seconds, aborts the rest, stops the thread."""
        self._closing = True
        if self._thread is None:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), drain_s if self.is_healthy else 0.0)
        for stream in tuple(self._streams.values()):
            stream.abort()
        self._stopping = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join)
        # What the thread told last was scheduled before it ended; let it arrive.
        await asyncio.sleep(0)

    def _request_abort(self, sequence: Sequence, reason: FinishReason) -> None:
        self._aborts.append((sequence, reason))
        self._wake.set()

    def _retry_after_s(self) -> float:
        """When a place is likely to be free: the time that the queue takes at the recent rate."""
        waiting = max(1, len(self._streams) - self._engine.scheduler.slots)
        return min(max(1.0, waiting * self._seconds_per_finish), MAX_RETRY_AFTER_S)

    # ------------------------------------------------------------------------------ the engine's thread

    def _run(self) -> None:
        try:
            while True:
                stopping = self._stopping  # read first: what came in before it is taken below
                events = self._take_requests()
                if self._engine.has_work:
                    events += self._engine.step()
                elif stopping:
                    self._tell(events)
                    return
                elif not events:
                    self._wake.wait()
                    self._wake.clear()
                self._tell(events)
        except Exception:  # the thread's last resort: whoever waits must be told
            log.exception("engine_failed")
            self._failed = True
            if self._loop is not None:
                with suppress(RuntimeError):  # the loop has been closed
                    self._loop.call_soon_threadsafe(self._fail_all)

    def _take_requests(self) -> list[tuple[Sequence, TokenEvent]]:
        # Counted first: an abort that comes in meanwhile may be of a sequence that is not added yet.
        aborts = len(self._aborts)
        while self._new:
            self._engine.add(self._new.popleft())
        events = []
        for _ in range(aborts):
            sequence, reason = self._aborts.popleft()
            event = self._engine.abort(sequence, reason)
            if event is not None:
                events.append((sequence, event))
        return events

    def _tell(self, events: list[tuple[Sequence, TokenEvent]]) -> None:
        if events and self._loop is not None:
            with suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(self._deliver, events)

    # ------------------------------------------------------------------------------ the event loop's thread

    def _deliver(self, events: list[tuple[Sequence, TokenEvent]]) -> None:
        for sequence, event in events:
            stream = self._streams.get(sequence.sequence_id)
            if stream is None:
                continue
            unread = stream.feed(event)
            if event.finished is not None:
                self._forget(sequence)
            elif unread > self._max_unread:
                stream.abort()

    def _forget(self, sequence: Sequence) -> None:
        del self._streams[sequence.sequence_id]
        now_s = time.monotonic()
        if self._last_finish_s:
            share = 0.1
            gap_s = min(now_s - self._last_finish_s, MAX_RETRY_AFTER_S)
            self._seconds_per_finish += share * (gap_s - self._seconds_per_finish)
        self._last_finish_s = now_s
        if not self._streams:
            self._idle.set()

    def _fail_all(self) -> None:
        for stream in tuple(self._streams.values()):
            sequence = stream.sequence
            sequence.finish_reason, sequence.finished_s = FinishReason.ERROR, time.perf_counter()
            completion = Completion(
                text="",
                token_ids=(),
                logprobs=(),
                finish_reason=FinishReason.ERROR,
                seed=sequence.params.seed or 0,
                prompt_tokens=len(sequence.prompt_ids),
                completion_tokens=0,
                queue_s=0.0,
                prefill_s=0.0,
                decode_s=0.0,
                total_s=sequence.finished_s - sequence.arrived_s,
            )
            stream.feed(TokenEvent("", None, None, completion))
            self._forget(sequence)
