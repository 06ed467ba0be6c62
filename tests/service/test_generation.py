"""Waiting and streaming without a server: clients that leave, do not read, or wait too long."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from service.api.errors import ApiError, ErrorType
from service.api.generation import EventStreamResponse, Generation, Prompt, Submission
from service.api.native import NativeEvents
from service.engine.async_engine import GenerationStream
from service.engine.errors import QueueFullError
from service.engine.llm_engine import Completion, TokenEvent
from service.engine.sampling_params import SamplingParams
from service.engine.sequence import FinishReason, TokenLogprob
from service.registry import Registry
from service.settings import Settings

if TYPE_CHECKING:
    from starlette.types import Message

    from service.served_model import ServedModel

INTERVAL_S = 0.1
SCOPE: dict[str, Any] = {"type": "http"}


def completion(reason: FinishReason, tokens: int = 0) -> Completion:
    return Completion(
        text="x" * tokens,
        token_ids=(1,) * tokens,
        logprobs=(),
        finish_reason=reason,
        seed=0,
        prompt_tokens=1,
        completion_tokens=tokens,
        queue_s=0.0,
        prefill_s=0.0,
        decode_s=0.0,
        total_s=0.0,
    )


class Engine:
    """Streams that are fed by hand. An aborted one ends in the next turn of the event loop, as with the real engine."""

    def __init__(self, count: int = 1) -> None:
        self.aborted: list[Any] = []
        self.streams = [GenerationStream(SimpleNamespace(index=i), self._abort) for i in range(count)]  # type: ignore[arg-type]

    def _abort(self, sequence: Any, reason: FinishReason) -> None:
        if sequence.index not in self.aborted:
            self.aborted.append(sequence.index)
            asyncio.get_running_loop().call_soon(self.finish, reason, 0, sequence.index)

    def token(self, index: int = 0) -> None:
        self.streams[index].feed(TokenEvent("x", 1, None, None))

    def finish(self, reason: FinishReason, tokens: int = 0, index: int = 0) -> None:
        if not self.streams[index].ended:
            self.streams[index].feed(TokenEvent("", None, None, completion(reason, tokens)))


class Client:
    """The other end of a connection."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()
        self.messages: list[Message] = []

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        self.messages.append(message)

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.messages).decode()

    @property
    def ended(self) -> bool:
        return bool(self.messages) and not self.messages[-1].get("more_body", True)


def nobody(submission: Submission, texts: list[list[Completion]]) -> None:
    """Nobody wants to know what came of it."""


def generation() -> Generation:
    return Generation(Registry(), Settings(ping_interval_s=INTERVAL_S), nobody)


def submission(engine: Engine) -> Submission:
    params = SamplingParams(n=len(engine.streams))
    ids = tuple(f"text-{index}" for index in range(params.n))
    manifest = SimpleNamespace(files={"model.onnx": SimpleNamespace(sha256="0" * 64)})
    model: Any = SimpleNamespace(name="m", manifest=manifest)
    return Submission("id", model, [Prompt("", [])], params, engine.streams, ids=ids)  # type: ignore[arg-type]


def respond(engine: Engine, client: Client) -> asyncio.Task[None]:
    request = submission(engine)
    response = EventStreamResponse(generation(), request, NativeEvents(request))
    return asyncio.create_task(response(SCOPE, client.receive, client.send))


async def test_waiting_ends_when_the_client_leaves() -> None:
    engine, client = Engine(2), Client()
    waiting = asyncio.create_task(generation().complete(submission(engine), client.receive))
    await asyncio.sleep(0.01)
    assert engine.aborted == []
    client.left.set()
    with pytest.raises(ApiError) as caught:
        await waiting
    assert caught.value.type is ErrorType.ABORTED
    assert engine.aborted == [0, 1]


async def test_waiting_that_is_cancelled_aborts() -> None:
    engine, client = Engine(), Client()
    waiting = asyncio.create_task(generation().complete(submission(engine), client.receive))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert engine.aborted == [0]


@pytest.mark.parametrize(
    ("reasons", "error"),
    [
        ([FinishReason.END, FinishReason.STOP, FinishReason.LENGTH], None),
        ([FinishReason.ERROR, FinishReason.END], ErrorType.GENERATION),
        ([FinishReason.DEADLINE, FinishReason.DEADLINE], ErrorType.DEADLINE),
        ([FinishReason.DEADLINE, FinishReason.END], None),
    ],
)
async def test_each_way_to_end_has_its_answer(reasons: list[FinishReason], error: ErrorType | None) -> None:
    engine, client = Engine(len(reasons)), Client()
    for index, reason in enumerate(reasons):
        engine.finish(reason, index=index)
    if error is None:
        assert len(await generation().complete(submission(engine), client.receive)) == len(reasons)
        return
    with pytest.raises(ApiError) as caught:
        await generation().complete(submission(engine), client.receive)
    assert caught.value.type is error


async def test_a_text_cut_by_the_deadline_is_an_answer() -> None:
    engine, client = Engine(), Client()
    engine.finish(FinishReason.DEADLINE, tokens=1)
    (done,) = await generation().complete(submission(engine), client.receive)
    assert done.completion_tokens == 1


async def test_a_stream_whose_client_leaves_is_aborted_and_silent() -> None:
    engine, client = Engine(2), Client()
    task = respond(engine, client)
    engine.token(0)
    await asyncio.sleep(0.01)
    client.left.set()
    await asyncio.wait_for(task, 1)
    assert engine.aborted == [0, 1]
    assert not client.ended
    assert "error" not in client.text


async def test_a_stream_whose_client_does_not_read_is_given_up() -> None:
    engine, client = Engine(), Client()
    client.reads.clear()
    task = respond(engine, client)
    engine.token()
    await asyncio.wait_for(task, 20 * INTERVAL_S)
    assert engine.aborted == [0]


async def test_a_stream_whose_client_does_not_even_read_comments_is_given_up() -> None:
    engine, client = Engine(), Client()
    client.reads.clear()
    task = respond(engine, client)
    await asyncio.wait_for(task, 20 * INTERVAL_S)
    assert engine.aborted == [0]


async def test_a_stream_that_is_cancelled_aborts() -> None:
    engine, client = Engine(2), Client()
    task = respond(engine, client)
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.aborted == [0, 1]


async def test_silence_is_broken_by_comments_only() -> None:
    engine, client = Engine(), Client()
    task = respond(engine, client)
    await asyncio.sleep(3.5 * INTERVAL_S)
    pings = client.text.count(": ping\n\n")
    assert pings >= 2
    for _ in range(20):
        engine.token()
        await asyncio.sleep(INTERVAL_S / 5)
    engine.finish(FinishReason.END)
    await task
    # Tokens for four intervals. A busy machine may fall silent once.
    assert client.text.count(": ping\n\n") <= pings + 1
    assert client.text.count("event: token\n") == 20
    assert client.ended


async def test_an_error_before_anything_was_sent_is_a_status() -> None:
    engine, client = Engine(), Client()
    task = respond(engine, client)
    engine.finish(FinishReason.DEADLINE)
    with pytest.raises(ApiError) as caught:
        await task
    assert caught.value.status == 504
    assert client.messages == []


@pytest.mark.parametrize("before", ["token", "ping"])
async def test_an_error_afterwards_is_an_event(before: str) -> None:
    engine, client = Engine(), Client()
    task = respond(engine, client)
    if before == "token":
        engine.token()
    await asyncio.sleep(1.5 * INTERVAL_S)
    engine.finish(FinishReason.ERROR)
    await task
    assert client.text.split("\n\n")[-2].startswith('event: error\ndata: {"error":{"type":"internal_error"')
    assert client.ended


async def test_a_fault_of_ours_is_told_too() -> None:
    class Faulty(NativeEvents):
        def token(self, index: int, event: TokenEvent) -> bytes:
            if event.text == "y":
                raise ZeroDivisionError
            return super().token(index, event)

    engine, client = Engine(), Client()
    request = submission(engine)
    response = EventStreamResponse(generation(), request, Faulty(request))
    task = asyncio.create_task(response(SCOPE, client.receive, client.send))
    engine.token()
    engine.streams[0].feed(TokenEvent("y", 1, None, None))
    with pytest.raises(ZeroDivisionError):
        await task
    assert client.text.split("\n\n")[-2].startswith('event: error\ndata: {"error":{"type":"internal_error"')
    assert client.ended
    assert engine.aborted == [0]


async def test_an_engine_that_drops_a_slow_reader_says_so() -> None:
    engine, client = Engine(), Client()
    task = respond(engine, client)
    engine.token()
    engine.finish(FinishReason.ABORT)
    await task
    assert '"type":"aborted"' in client.text


async def test_texts_of_a_stream_share_the_connection_message_by_message() -> None:
    engine, client = Engine(3), Client()
    task = respond(engine, client)
    for index in (2, 0, 1):
        engine.token(index)
        engine.finish(FinishReason.END, 1, index)
    await task
    assert client.messages[0]["type"] == "http.response.start"
    assert [message["type"] for message in client.messages].count("http.response.start") == 1
    assert client.text.count("event: token\n") == 3
    assert client.text.count("event: end\n") == 1


def completed(*logprobs: float, seed: int = 0) -> Completion:
    told = tuple(TokenLogprob(1, logprob) for logprob in logprobs)
    return replace(completion(FinishReason.END, len(logprobs)), logprobs=told, seed=seed)


@pytest.mark.parametrize(("keep", "seeds"), [(None, [[0, 1, 2], [3, 4, 5]]), (1, [[2, 0, 1], [4, 3, 5]])])
def test_the_best_come_first_where_not_all_are_wanted(keep: int | None, seeds: list[list[int]]) -> None:
    """By the mean of their log probabilities: a long text is not worse for it. Of equals the first; of none, none."""
    means = [(-1.0, -1.0), (-1.5,), (-0.5, -0.5, -0.5), (-2.0,), (-1.0, -1.0), ()]
    texts = [completed(*logprobs, seed=seed) for seed, logprobs in enumerate(means)]
    request = replace(submission(Engine(3)), prompts=[Prompt("", [])] * 2, keep=keep)
    ranked = request.ranked(texts)
    assert [[text.seed for text in group] for group in ranked] == seeds
    assert [request.prompt_of(index) for index in range(6)] == [request.prompts[0]] * 3 + [request.prompts[1]] * 3


async def test_whoever_wants_to_know_is_told_of_what_a_client_gets() -> None:
    told: list[list[int]] = []
    engine, client = Engine(2), Client()
    listening = Generation(
        Registry(), Settings(), lambda _, texts: told.extend([text.seed for text in group] for group in texts)
    )
    request = replace(submission(engine), keep=1)
    for index, logprob in enumerate((-2.0, -1.0)):
        text = completed(logprob, seed=index)
        engine.streams[index].feed(TokenEvent("", None, None, text))
    assert len(await listening.complete(request, client.receive)) == 2
    assert told == [[1]]

    engine = Engine()
    request = submission(engine)
    task = asyncio.create_task(
        EventStreamResponse(listening, request, NativeEvents(request))(SCOPE, client.receive, client.send)
    )
    engine.finish(FinishReason.END, 1)
    await task
    assert told == [[1], [0]]

    engine = Engine()
    engine.finish(FinishReason.ERROR)
    with pytest.raises(ApiError):
        await listening.complete(submission(engine), client.receive)
    assert len(told) == 2


async def test_several_prompts_are_taken_all_or_none() -> None:
    taken: list[Engine] = []

    def submit(*_: Any, **__: Any) -> list[GenerationStream]:
        if len(taken) == 2:
            raise QueueFullError(3)
        taken.append(Engine())
        return taken[-1].streams

    engine = SimpleNamespace(submit=submit, stats=SimpleNamespace(slots=8))
    tokens = SimpleNamespace(start=SimpleNamespace(id=1))
    model = SimpleNamespace(engine=engine, manifest=SimpleNamespace(control_tokens=tokens))
    request = SimpleNamespace(state=SimpleNamespace(arrived_s=time.monotonic(), request_id="id"))
    with pytest.raises(ApiError) as caught:
        generation().submit(model, [Prompt("", [])] * 3, SamplingParams(), request, stream=False)  # type: ignore[arg-type]
    assert caught.value.type is ErrorType.QUEUE_FULL
    assert [one.aborted for one in taken] == [[0], [0]]


class Slow(Registry):
    """Loads no model within anybody's deadline."""

    is_ready = True

    def loaded(self, name: str | None) -> None:
        return None

    async def get(self, name: str | None) -> ServedModel:
        await asyncio.sleep(60)
        raise AssertionError


async def test_a_model_is_waited_for_within_the_deadline() -> None:
    request = SimpleNamespace(state=SimpleNamespace(arrived_s=time.monotonic()))
    started = time.monotonic()
    with pytest.raises(ApiError) as caught:
        await Generation(Slow(), Settings(deadline_s=0.2), nobody).model("a", request)  # type: ignore[arg-type]
    assert (caught.value.type, caught.value.headers) == (ErrorType.DEADLINE, {"retry-after": "1"})
    assert time.monotonic() - started < 10
