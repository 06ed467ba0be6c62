"""The engine behind an event loop: streams, clients that leave, deadlines, overload, shutdown and failure."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from service.engine.async_engine import MAX_RETRY_AFTER_S, AsyncEngine, GenerationStream
from service.engine.errors import EngineClosedError, PromptTooLongError, QueueFullError
from service.engine.sampling_params import SamplingParams
from service.engine.sequence import FinishReason, SequenceStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from service.engine.llm_engine import LLMEngine, TokenEvent
    from tests.service.engine.conftest import TinyModel

    Serving = Callable[..., AbstractAsyncContextManager[AsyncEngine]]
    MakeEngine = Callable[..., LLMEngine]

PROMPT = [0, 40, 41, 42]
LONG_PROMPT = [0, *range(40, 100)]
PATIENCE_S = 20.0


def steady(tokens: int, **changes: Any) -> SamplingParams:
    """A text of just so many tokens."""
    return SamplingParams(**({"seed": 1, "max_new_tokens": tokens, "min_new_tokens": tokens} | changes))


ENDLESS = steady(92)
"""As long as the context allows."""


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what must come soon."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the engine's thread, which is looked at, sets no event
            await asyncio.sleep(0.001)


def slow_down(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.01) -> None:
    """Has every decode step take at least so long."""
    runner = engine._engine.runner
    decode = runner.decode

    def slow(*args: Any) -> Any:
        time.sleep(seconds)
        return decode(*args)

    monkeypatch.setattr(runner, "decode", slow)


async def assert_nothing_is_left(engine: AsyncEngine) -> None:
    """No stream, slot or text is kept of what has ended, once the event loop has been told of it."""
    await until(lambda: not engine._streams)
    stats = engine.stats
    assert (stats.running, stats.waiting, stats.slots_free) == (0, 0, stats.slots)
    assert not engine._engine._texts
    assert not engine._new


async def read(stream: GenerationStream) -> list[TokenEvent]:
    async with asyncio.timeout(PATIENCE_S):
        return [event async for event in stream]


# ------------------------------------------------------------------------------------------------------ streams


async def test_a_stream_gives_each_token_in_order_and_then_the_end(
    serving: Serving, gpt2: TinyModel, make_engine: MakeEngine
) -> None:
    sync = make_engine(gpt2)
    (sequence,) = sync.make_sequences(PROMPT, steady(12), stream=False)
    sync.add([sequence])
    while sync.has_work:
        sync.step()
    async with serving() as engine:
        (stream,) = engine.submit(PROMPT, steady(12), stream=True)
        *tokens, end = await read(stream)
        assert [event.token_id for event in tokens] == sequence.output_ids
        assert all(event.finished is None for event in tokens)
        assert end.finished is not None
        assert end.finished.text == "".join(event.text for event in (*tokens, end))
        assert list(end.finished.token_ids) == sequence.output_ids
        assert stream.ended
        assert await read(stream) == []
        with pytest.raises(RuntimeError, match="read to its end"):
            await stream.completion()
        await assert_nothing_is_left(engine)


async def test_without_streaming_there_is_one_event(serving: Serving) -> None:
    async with serving() as engine:
        (stream,) = engine.submit(PROMPT, steady(12), stream=False)
        (event,) = await read(stream)
        assert event.finished is not None
        assert event.finished.completion_tokens == 12
        assert event.finished.finish_reason is FinishReason.LENGTH


async def test_the_texts_of_a_request_come_side_by_side(serving: Serving) -> None:
    async with serving() as engine:
        streams = engine.submit(PROMPT, steady(8, n=6), stream=True)
        assert len(streams) == 6
        texts = await asyncio.gather(*(stream.completion() for stream in streams))
        assert [text.seed for text in texts] == list(range(1, 7))
        (alone,) = engine.submit(PROMPT, steady(8, seed=5), stream=False)
        assert (await alone.completion()).token_ids == texts[4].token_ids


async def test_many_at_once_are_all_served(serving: Serving) -> None:
    async with serving(max_slots=4, max_waiting=100) as engine:

        async def ask(seed: int) -> int:
            prompt = LONG_PROMPT if seed % 7 == 0 else PROMPT
            (stream,) = engine.submit(prompt, steady(5 + seed % 9, seed=seed), stream=seed % 2 == 0)
            async with stream:
                return (await stream.completion()).completion_tokens

        async with asyncio.timeout(PATIENCE_S):
            counts = await asyncio.gather(*(ask(seed) for seed in range(100)))
        assert counts == [5 + seed % 9 for seed in range(100)]
        await assert_nothing_is_left(engine)


async def test_warm_up_writes_a_text(serving: Serving) -> None:
    async with serving() as engine:
        assert (await engine.warm_up([0], tokens=7)).completion_tokens == 7
        assert engine.context_tokens == 96
        assert engine.tokenizer.encode(">be me")


# ------------------------------------------------------------------------------------------------ clients that leave


@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_frees_the_slot_within_a_step(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    async with serving() as engine:
        slow_down(engine, monkeypatch)
        (made,) = engine.submit(PROMPT, ENDLESS, stream=stream)
        async with made:
            await until(lambda: len(made.sequence.output_ids) >= 2)
            assert engine.stats.running == 1
        written = len(made.sequence.output_ids)
        await until(lambda: engine.stats.slots_free == 4)
        # The step that was under way, and none after it.
        assert len(made.sequence.output_ids) <= written + 1
        events = await read(made)
        assert events[-1].finished is not None
        assert events[-1].finished.finish_reason is FinishReason.ABORT
        await assert_nothing_is_left(engine)


async def test_leaving_the_queue_frees_its_place(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(max_slots=1, max_waiting=1) as engine:
        slow_down(engine, monkeypatch)
        (running,) = engine.submit(PROMPT, ENDLESS, stream=False)
        (queued,) = engine.submit(PROMPT, ENDLESS, stream=False)
        await until(lambda: engine.stats.waiting == 1 and engine.stats.running == 1)
        with pytest.raises(QueueFullError):
            engine.submit(PROMPT, ENDLESS, stream=False)
        async with queued:
            pass
        completion = await queued.completion()
        assert (completion.finish_reason, completion.completion_tokens) == (FinishReason.ABORT, 0)
        (after,) = engine.submit(PROMPT, steady(1), stream=False)
        running.abort()
        assert (await after.completion()).completion_tokens == 1


async def test_leaving_amid_a_long_prompt_frees_the_slot(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(prefill_chunk_tokens=4) as engine:
        run = engine._engine.runner.run

        def slow(*args: Any) -> Any:
            time.sleep(0.01)
            return run(*args)

        monkeypatch.setattr(engine._engine.runner, "run", slow)
        (stream,) = engine.submit(LONG_PROMPT, ENDLESS, stream=True)
        async with stream:
            await until(lambda: stream.sequence.cached_tokens > 0)
        await until(lambda: engine.stats.slots_free == 4)
        assert stream.sequence.cached_tokens < len(LONG_PROMPT)
        await assert_nothing_is_left(engine)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cancelled_task_aborts_what_it_waits_for(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    async with serving() as engine:
        slow_down(engine, monkeypatch)
        (made,) = engine.submit(PROMPT, ENDLESS, stream=stream)

        async def client() -> None:
            async with made:
                await made.completion()

        task = asyncio.create_task(client())
        await until(lambda: len(made.sequence.output_ids) >= 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: engine.stats.slots_free == 4)
        assert made.sequence.finish_reason is FinishReason.ABORT
        await assert_nothing_is_left(engine)


async def test_an_abort_after_the_end_does_nothing(serving: Serving) -> None:
    async with serving() as engine:
        (stream,) = engine.submit(PROMPT, steady(2), stream=False)
        completion = await stream.completion()
        stream.abort()
        stream.abort()
        assert completion.finish_reason is FinishReason.LENGTH
        assert not engine._aborts
        # Neither does one that crosses the end on its way.
        (stream,) = engine.submit(PROMPT, steady(2), stream=False)
        await until(lambda: stream.sequence.status is SequenceStatus.FINISHED)
        engine._request_abort(stream.sequence, FinishReason.ABORT)
        assert (await stream.completion()).finish_reason is FinishReason.LENGTH
        assert engine.is_healthy


async def test_an_abort_may_overtake_the_engine_taking_its_request(
    gpt2: TinyModel, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that is made and aborted while the engine's thread is between its two queues."""
    engine = AsyncEngine(make_engine(gpt2))
    (sequence,) = engine._engine.make_sequences(PROMPT, ENDLESS, stream=False)

    class Late(deque[Any]):
        """Comes up with a request, aborted at once, just as it has been found empty."""

        def __bool__(self) -> bool:
            if len(self) == 0 and sequence is not None and not made:
                made.append(sequence)
                self.append([sequence])
                engine._request_abort(sequence, FinishReason.ABORT)
                return False
            return len(self) > 0

    made: list[Any] = []
    monkeypatch.setattr(engine, "_new", Late())
    assert engine._take_requests() == []
    assert sequence.status is SequenceStatus.WAITING
    ((aborted, event),) = engine._take_requests()
    assert aborted is sequence
    assert event.finished is not None
    assert event.finished.finish_reason is FinishReason.ABORT


async def test_a_slow_reader_is_aborted(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(max_unread_events=5) as engine:
        slow_down(engine, monkeypatch, 0.005)
        (slow,) = engine.submit(PROMPT, ENDLESS, stream=True)
        (quick,) = engine.submit(PROMPT, ENDLESS, stream=True)
        quick_events = await read(quick)
        assert quick_events[-1].finished is not None
        assert quick_events[-1].finished.finish_reason is FinishReason.LENGTH
        await until(lambda: slow.ended)
        events = await read(slow)
        assert events[-1].finished is not None
        assert events[-1].finished.finish_reason is FinishReason.ABORT
        assert 5 < len(events) < 92
        # A client that wants only the end has nothing to be slow about.
        (one,) = engine.submit(PROMPT, ENDLESS, stream=False)
        await until(lambda: one.ended)
        assert (await one.completion()).finish_reason is FinishReason.LENGTH


# --------------------------------------------------------------------------------------------------- deadlines


@pytest.mark.parametrize("queued", [False, True])
async def test_a_deadline_ends_a_text(serving: Serving, monkeypatch: pytest.MonkeyPatch, *, queued: bool) -> None:
    async with serving(max_slots=1) as engine:
        slow_down(engine, monkeypatch)
        before = engine.submit(PROMPT, ENDLESS, stream=False) if queued else []
        (stream,) = engine.submit(PROMPT, ENDLESS, stream=True, deadline_s=0.2)
        started_s = time.perf_counter()
        completion = await stream.completion()
        assert 0.15 < time.perf_counter() - started_s < PATIENCE_S
        assert completion.finish_reason is FinishReason.DEADLINE
        assert completion.completion_tokens == len(completion.token_ids) < 92
        assert (completion.completion_tokens == 0) == queued
        for other in before:
            other.abort()


async def test_a_deadline_that_is_kept_changes_nothing(serving: Serving) -> None:
    async with serving() as engine:
        (stream,) = engine.submit(PROMPT, steady(3), stream=False, deadline_s=PATIENCE_S)
        assert (await stream.completion()).finish_reason is FinishReason.LENGTH
        assert stream.deadline is not None
        assert stream.deadline.cancelled()


# ---------------------------------------------------------------------------------------------------- overload


async def test_a_full_queue_takes_all_or_none(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(max_slots=2, max_waiting=3) as engine:
        slow_down(engine, monkeypatch)
        streams = engine.submit(PROMPT, steady(92, n=3), stream=False)
        with pytest.raises(QueueFullError) as refused:
            engine.submit(PROMPT, steady(92, n=3), stream=False)
        assert 1.0 <= refused.value.retry_after_s <= MAX_RETRY_AFTER_S
        assert len(engine._streams) == len(engine._engine._texts) == 3
        streams += engine.submit(PROMPT, steady(92, n=2), stream=False)
        with pytest.raises(QueueFullError):
            engine.submit(PROMPT, steady(92), stream=False)
        await until(lambda: engine.stats.running == 2)
        assert (engine.stats.waiting, engine.stats.slots_free) == (3, 0)
        for stream in streams:
            stream.abort()
        await until(lambda: all(stream.ended for stream in streams))
        # As soon as a stream has ended, its place is free.
        streams = engine.submit(PROMPT, steady(1, n=5), stream=False)
        assert [(await stream.completion()).completion_tokens for stream in streams] == [1] * 5


async def test_a_refused_request_leaves_nothing(serving: Serving) -> None:
    async with serving() as engine:
        with pytest.raises(PromptTooLongError):
            engine.submit([1] * 96, steady(1), stream=False)
        with pytest.raises(ValueError, match="start token"):
            engine.submit([], steady(1), stream=False)
        await assert_nothing_is_left(engine)


async def test_retry_after_follows_the_rate(serving: Serving) -> None:
    async with serving(max_slots=1, max_waiting=7) as engine:
        streams = engine.submit(PROMPT, steady(30, n=8), stream=False)
        for seconds_per_finish, least, most in ((0.0, 1.0, 1.0), (2.0, 14.0, 14.0), (1e6, 60.0, 60.0)):
            engine._seconds_per_finish = seconds_per_finish
            with pytest.raises(QueueFullError) as refused:
                engine.submit(PROMPT, steady(1), stream=False)
            assert least <= refused.value.retry_after_s <= most
        for stream in streams:
            stream.abort()


# ---------------------------------------------------------------------------------------------------- shutdown


async def test_stopping_lets_what_runs_and_waits_end(serving: Serving) -> None:
    async with serving(max_slots=2) as engine:
        streams = engine.submit(PROMPT, steady(20, n=5), stream=True)
        stopping = asyncio.create_task(engine.stop(drain_s=PATIENCE_S))
        await asyncio.sleep(0)
        with pytest.raises(EngineClosedError):
            engine.submit(PROMPT, steady(1), stream=False)
        for stream in streams:
            events = await read(stream)
            assert len(events) == 21
        async with asyncio.timeout(PATIENCE_S / 2):  # it does not wait for the time to be over
            await stopping
        assert not engine.is_healthy
        await assert_nothing_is_left(engine)


async def test_what_does_not_end_in_time_is_aborted(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(max_slots=1) as engine:
        slow_down(engine, monkeypatch, 0.05)
        (quick,) = engine.submit(PROMPT, steady(2), stream=False)
        (endless,) = engine.submit(PROMPT, ENDLESS, stream=False)
        (queued,) = engine.submit(PROMPT, ENDLESS, stream=False)
        started_s = time.perf_counter()
        await engine.stop(drain_s=0.4)
        assert 0.3 < time.perf_counter() - started_s < 92 * 0.05
        assert (await quick.completion()).finish_reason is FinishReason.LENGTH
        for stream in (endless, queued):
            assert (await stream.completion()).finish_reason is FinishReason.ABORT
        await assert_nothing_is_left(engine)


async def test_a_request_made_just_before_the_stop_is_told_of_it(serving: Serving) -> None:
    for _ in range(20):
        async with serving() as engine:
            streams = engine.submit(PROMPT, steady(90, n=2), stream=False)
            if random.random() < 0.5:
                await asyncio.sleep(0)
            await engine.stop()
            for stream in streams:
                assert (await asyncio.wait_for(stream.completion(), PATIENCE_S)).finish_reason is FinishReason.ABORT
            await assert_nothing_is_left(engine)


async def test_a_stop_between_two_looks_at_the_queues_loses_no_request(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's thread finds nothing to do; before it looks whether to stop, a request and the stop come in."""
    async with serving() as engine:
        loop = asyncio.get_running_loop()
        take = engine._take_requests
        streams: list[GenerationStream] = []

        async def come_in() -> None:
            streams.extend(engine.submit(PROMPT, ENDLESS, stream=False))
            engine._closing = True
            streams[0].abort()
            engine._stopping = True
            engine._wake.set()

        def late() -> Any:
            taken = take()
            if not streams:
                asyncio.run_coroutine_threadsafe(come_in(), loop).result(PATIENCE_S)
            return taken

        monkeypatch.setattr(engine, "_take_requests", late)
        engine._wake.set()
        await until(lambda: bool(streams))
        assert (await asyncio.wait_for(streams[0].completion(), PATIENCE_S)).finish_reason is FinishReason.ABORT


async def test_an_engine_takes_requests_only_between_start_and_stop(gpt2: TinyModel, make_engine: MakeEngine) -> None:
    engine = AsyncEngine(make_engine(gpt2))
    await engine.stop()  # which has nothing to do
    engine = AsyncEngine(make_engine(gpt2))
    assert not engine.is_healthy
    with pytest.raises(EngineClosedError):
        engine.submit(PROMPT, steady(1), stream=False)
    await engine.start()
    assert engine.is_healthy
    await engine.stop()
    await engine.stop()
    assert not engine.is_healthy
    with pytest.raises(EngineClosedError):
        engine.submit(PROMPT, steady(1), stream=False)


# ----------------------------------------------------------------------------------------------------- failure


async def test_a_failure_is_told_to_everyone(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(max_slots=2) as engine:
        slow_down(engine, monkeypatch)
        streams = [engine.submit(PROMPT, steady(80), stream=i % 2 == 0)[0] for i in range(5)]
        waiting = [asyncio.create_task(stream.completion()) for stream in streams]
        await until(lambda: engine.stats.running == 2)

        def fail(*_: Any) -> Any:
            msg = "no more"
            raise OSError(msg)

        monkeypatch.setattr(engine._engine.runner, "decode", fail)
        async with asyncio.timeout(PATIENCE_S):
            completions = await asyncio.gather(*waiting)
        assert {completion.finish_reason for completion in completions} == {FinishReason.ERROR}
        assert all(completion.prompt_tokens == len(PROMPT) for completion in completions)
        assert not engine.is_healthy
        assert not engine._streams
        with pytest.raises(EngineClosedError):
            engine.submit(PROMPT, steady(1), stream=False)
        for stream in streams:
            stream.abort()
        started_s = time.perf_counter()
        await engine.stop(drain_s=PATIENCE_S)
        assert time.perf_counter() - started_s < PATIENCE_S / 2
    assert "engine_failed" in caplog.text
    assert "no more" in caplog.text


# ------------------------------------------------------------------------------------------------ random clients


@pytest.mark.parametrize("seed", range(4))
async def test_two_hundred_random_clients_leave_nothing_behind(serving: Serving, seed: int) -> None:
    rng = random.Random(seed)
    outcomes: dict[str, int] = {}

    async def client(engine: AsyncEngine, rng: random.Random) -> str:
        await asyncio.sleep(rng.random() * 0.3)
        prompt = rng.choice([PROMPT, PROMPT, [0], LONG_PROMPT])
        params = SamplingParams(
            seed=rng.getrandbits(40),
            max_new_tokens=rng.randint(1, 40),
            min_new_tokens=rng.choice([0, 1]),
            n=rng.choice([1, 1, 1, 3]),
            top_k=rng.choice([0, 20]),
            repetition_penalty=rng.choice([1.0, 1.3]),
            stop=rng.choice([(), ("e",)]),
        )
        stream = rng.random() < 0.5
        deadline_s = rng.choice([None, None, 0.0, 0.02])
        try:
            streams = engine.submit(prompt, params, stream=stream, deadline_s=deadline_s)
        except QueueFullError:
            return "refused"
        behaviour = rng.choice(["read", "read", "leave", "cancel", "forget"])
        if behaviour == "leave":
            async with streams[0]:
                await asyncio.sleep(rng.random() * 0.03)
        elif behaviour == "cancel":
            with suppress(TimeoutError):
                async with streams[0], asyncio.timeout(rng.random() * 0.03):
                    await streams[0].completion()
        for one in streams[behaviour != "read" :]:
            if behaviour == "forget":
                continue  # ends by itself, or as a slow reader
            async with one:
                completion = await one.completion()
            assert completion.finish_reason is not FinishReason.ERROR
            if completion.finish_reason is FinishReason.LENGTH:
                assert completion.completion_tokens == min(params.max_new_tokens, 96 - len(prompt))
            if completion.finish_reason is FinishReason.ABORT:
                assert stream  # read too slowly: the test's own loop is busy
        return behaviour

    async with serving(max_slots=3, max_waiting=20, max_unread_events=30) as engine:
        clients = [client(engine, random.Random(rng.getrandbits(60))) for _ in range(200)]
        async with asyncio.timeout(4 * PATIENCE_S):
            for outcome in await asyncio.gather(*clients):
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
        assert engine.is_healthy
        await assert_nothing_is_left(engine)
        (after,) = engine.submit(PROMPT, steady(3), stream=False)
        assert (await after.completion()).completion_tokens == 3
    assert outcomes["read"] > 5
    assert outcomes["leave"] > 3
