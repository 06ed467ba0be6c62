"""From a checked request to texts, whichever dialect asked: submit, wait or stream, and notice who leaves.

A request holds its slots as long as its client is there to read. Streams are sent as server-sent events in the words
of a dialect; before the first event an error is an ordinary HTTP status, afterwards an event.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from starlette.types import Receive, Scope, Send

from greentext.control_tokens import strip_leading_start
from service.api.errors import ApiError, ErrorType, from_engine, from_sampling, internal, invalid, unavailable
from service.engine.errors import EngineError
from service.engine.sampling_params import SamplingParams, SamplingParamsError
from service.engine.sequence import FinishReason
from service.registry import Registry, ServedModel, UnknownModelError
from service.settings import Settings

if TYPE_CHECKING:
    from service.engine.async_engine import GenerationStream
    from service.engine.llm_engine import Completion, TokenEvent

STREAM_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
PING: Final = b": ping\n\n"


@dataclass(frozen=True, slots=True)
class Submission:
    """A request that the engine has taken: a stream for each of its texts."""

    request_id: str
    model: ServedModel
    prompt: str
    streams: "list[GenerationStream]"

    def abort(self) -> None:
        """Ends all its texts, their slots free within a step. Those that have ended stay as they are."""
        for stream in self.streams:
            stream.abort()


class Dialect(Protocol):
    """How a stream is put into words: server-sent events, whole, as bytes."""

    def token(self, index: int, event: "TokenEvent") -> bytes:
        """What text `index` has new; nothing, if it is nothing to tell."""

    def end(self, completions: "list[Completion]") -> bytes:
        """All texts have ended well."""

    def error(self, error: ApiError) -> bytes:
        """They have not."""


class Generation:
    """Submits requests, and waits for their texts."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self.registry = registry
        self.settings = settings

    def model(self, name: str | None) -> ServedModel:
        """The model of a name, or the default. Raises ApiError."""
        if not self.registry.is_ready:
            raise unavailable()
        try:
            return self.registry.get(name)
        except UnknownModelError as error:
            raise ApiError(ErrorType.MODEL_NOT_FOUND, f"model: {error}", field="model") from None

    def submit(
        self, model: ServedModel, prompt: str, params: SamplingParams, *, request_id: str, stream: bool
    ) -> Submission:
        """Hands a request to the engine. `prompt` stands as the client wrote it; see `beginning`.

        Raises:
            ApiError: It is out of bounds, or there is no room for it now.
        """
        settings = self.settings
        if len(prompt) > settings.max_prompt_characters:
            raise invalid("prompt", f"has {len(prompt)} characters, and may have {settings.max_prompt_characters}")
        if params.max_new_tokens > settings.max_new_tokens:
            raise invalid("max_new_tokens", f"may be {settings.max_new_tokens} at most")
        max_n = min(settings.max_n, model.engine.stats.slots + settings.max_waiting)
        if params.n > max_n:
            raise invalid("n", f"may be {max_n} at most")
        text = beginning(prompt)
        prompt_ids = [model.manifest.control_tokens.start.id]
        if text:
            prompt_ids += model.engine.tokenizer.encode(text)
        try:
            streams = model.engine.submit(prompt_ids, params, stream=stream, deadline_s=settings.deadline_s)
        except SamplingParamsError as error:
            raise from_sampling(error) from None
        except EngineError as error:
            raise from_engine(error) from None
        return Submission(request_id, model, text, streams)

    async def complete(self, submission: Submission, receive: Receive) -> "list[Completion]":
        """All texts of a request. When the client leaves, they are aborted at once.

        Raises:
            ApiError: There is no good answer.
        """
        watcher = asyncio.create_task(_abort_when_gone(submission, receive))
        try:
            completions = [await stream.completion() for stream in submission.streams]
        finally:
            submission.abort()
            watcher.cancel()
        if fault := self.fault(completions):
            raise fault
        return completions

    def fault(self, completions: "list[Completion]") -> ApiError | None:
        """Why texts are no good answer: None, if they are."""
        reasons = {completion.finish_reason for completion in completions}
        if FinishReason.ERROR in reasons:
            return internal()
        if FinishReason.ABORT in reasons:
            return (
                unavailable() if self.registry.is_draining else ApiError(ErrorType.ABORTED, "the client did not read")
            )
        if reasons == {FinishReason.DEADLINE} and not any(done.completion_tokens for done in completions):
            return ApiError(
                ErrorType.DEADLINE, f"no text came within {self.settings.deadline_s:g} s", headers={"retry-after": "1"}
            )
        return None


def beginning(prompt: str) -> str:
    """The beginning of a greentext that a client's prompt gives: as it is, with the `>` that it may lack."""
    text = strip_leading_start(prompt)
    return text if not text or text.startswith(">") else ">" + text


async def _abort_when_gone(submission: Submission, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    submission.abort()


class EventStreamResponse:
    """Sends the events of a submission as they come: an ASGI application that answers one request."""

    def __init__(self, generation: Generation, submission: Submission, dialect: Dialect) -> None:
        self._generation = generation
        self._submission = submission
        self._dialect = dialect
        self._started = False
        self._gone = False
        self._writes = 0
        self._lock = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Sends all of it. Raises ApiError while nothing has been sent."""
        main = asyncio.current_task()
        companion = asyncio.create_task(self._accompany(receive, send, main))
        try:
            streams = self._submission.streams
            if len(streams) == 1:
                completions = [await self._pump(0, streams[0], send)]
            else:
                completions = await asyncio.gather(
                    *(self._pump(index, stream, send) for index, stream in enumerate(streams))
                )
            if not self._gone:
                await self._finish(completions, send)
        except asyncio.CancelledError:
            if not self._gone:
                raise
        except Exception:
            if self._started:
                await self._end(self._dialect.error(internal()), send)
            raise
        finally:
            self._submission.abort()
            companion.cancel()

    async def _pump(self, index: int, stream: "GenerationStream", send: Send) -> "Completion":
        token = self._dialect.token
        async for event in stream:
            if data := token(index, event):
                await self._write(data, send)
            if event.finished is not None:
                return event.finished
        raise RuntimeError("a stream ended without its completion")

    async def _finish(self, completions: "list[Completion]", send: Send) -> None:
        fault = self._generation.fault(completions)
        if fault and not self._started:
            raise fault
        await self._end(self._dialect.error(fault) if fault else self._dialect.end(completions), send)

    async def _end(self, data: bytes, send: Send) -> None:
        await self._write(data, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, data: bytes, send: Send) -> None:
        # Several texts and the comment lines share the connection: one message after the other, the head first.
        async with self._lock:
            if self._gone:
                return
            self._writes += 1
            if not self._started:
                self._started = True
                await send({"type": "http.response.start", "status": 200, "headers": list(STREAM_HEADERS)})
            await send({"type": "http.response.body", "body": data, "more_body": True})

    async def _accompany(self, receive: Receive, send: Send, main: "asyncio.Task[None] | None") -> None:
        """Sends a comment line when there is silence, and gives up on a client that leaves or does not read."""
        interval_s = self._generation.settings.ping_interval_s
        while True:
            writes = self._writes
            try:
                async with asyncio.timeout(interval_s):
                    while (await receive())["type"] != "http.disconnect":
                        pass
            except TimeoutError:
                if self._writes != writes:
                    continue
                if not self._lock.locked():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(interval_s):
                            await self._write(PING, send)
                        continue
                # Nothing has been taken from us for the whole time: the client does not read.
            self._gone = True
            self._submission.abort()
            if self._lock.locked() and main is not None:
                main.cancel()
            return
