"""From a checked request to texts, whichever dialect asked: submit, wait or stream, and notice who leaves.

A request holds its slots as long as its client is there to read. Streams are sent as server-sent events in the words
of a dialect; before the first event an error is an ordinary HTTP status, afterwards an event.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from greentext.control_tokens import strip_leading_start
from service.api.errors import (
    ApiError,
    ErrorType,
    from_engine,
    from_sampling,
    generation_failed,
    internal,
    invalid,
    unavailable,
)
from service.api.watched import WatchedGeneration, note_client_gone, note_error, watched_in
from service.engine.errors import EngineError, PromptTooLongError
from service.engine.sampling_params import SamplingParams, SamplingParamsError
from service.engine.sequence import FinishReason
from service.registry import ModelBusyError, Registry, UnknownModelError, UnusableModelError
from service.served_model import ServedModel
from service.settings import Settings
from service.store.records import new_generation_id

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
class Prompt:
    """What stands before a text: as text, and as the token ids behind the start token."""

    text: str
    token_ids: list[int]


@dataclass(frozen=True, slots=True)
class Submission:
    """A request that the engine has taken: `params.n` streams for each of its prompts, prompt by prompt."""

    request_id: str
    model: ServedModel
    prompts: Sequence[Prompt]
    params: SamplingParams
    streams: "list[GenerationStream]"
    keep: int | None = None
    """How many texts of each prompt are wanted, the best by mean log probability; None is all."""
    request: Request | None = None
    """What asked, for those who are told when it has ended (`Finished`)."""
    shared: bool = False
    """Whether its client lets others see its texts."""
    ids: tuple[str, ...] = ()
    """Of its texts, in the order in which their client gets them."""

    def prompt_of(self, index: int) -> Prompt:
        """The prompt of text `index`."""
        return self.prompts[index // self.params.n]

    def ranked(self, completions: "Sequence[Completion]") -> "list[list[Completion]]":
        """The texts of each prompt: as they were asked for, or the best first where `keep` of them are wanted."""
        n = self.params.n
        groups = [list(completions[first : first + n]) for first in range(0, len(completions), n)]
        if self.keep is not None:
            for group in groups:
                group.sort(key=_mean_logprob, reverse=True)
        return groups

    def abort(self) -> None:
        """Ends all its texts, their slots free within a step. Those that have ended stay as they are."""
        for stream in self.streams:
            stream.abort()


Finished = Callable[[Submission, "list[list[Completion]]"], None]
"""Is told of each request that ends well, with the texts of each prompt that its client gets; must be quick."""


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

    def __init__(self, registry: Registry, settings: Settings, finished: Finished) -> None:
        self.registry = registry
        self.settings = settings
        self._finished = finished

    async def model(self, name: str | None, request: Request) -> ServedModel:
        """The model of a name, or the default, loaded; it stays so at least until whoever asked awaits something else.

        Raises:
            ApiError: There is none, or it is not there in time.
        """
        if not self.registry.is_ready:
            raise unavailable()
        try:
            if model := self.registry.loaded(name):
                return model
            async with asyncio.timeout(self._left_s(request)):
                return await self.registry.get(name)
        except UnknownModelError as error:
            raise ApiError(ErrorType.MODEL_NOT_FOUND, f"model: {error}", field="model") from None
        except UnusableModelError:
            message = "model: it cannot be loaded; GET /models says why"
            raise ApiError(ErrorType.MODEL_NOT_FOUND, message, field="model") from None
        except ModelBusyError:
            if self.registry.is_draining:
                raise unavailable() from None
            message = "too many requests wait for this model to be loaded; try again"
            raise ApiError(ErrorType.QUEUE_FULL, message, headers={"retry-after": "1"}) from None
        except TimeoutError:
            message = f"the model was not loaded within {self.settings.deadline_s:g} s; try again"
            raise ApiError(ErrorType.DEADLINE, message, headers={"retry-after": "1"}) from None

    def prompt(self, model: ServedModel, text: str, *, truncate_tokens: int | None = None) -> Prompt:
        """A client's prompt, of which the last `truncate_tokens` are read; see `beginning`.

        Raises:
            ApiError: It is too long.
        """
        if len(text) > self.settings.max_prompt_characters:
            message = f"has {len(text)} characters, and may have {self.settings.max_prompt_characters}"
            raise invalid("prompt", message)
        text = beginning(text)
        token_ids = model.engine.tokenizer.encode(text) if text else []
        return Prompt(text, token_ids if truncate_tokens is None else token_ids[-truncate_tokens:])

    def token_prompt(self, model: ServedModel, token_ids: list[int]) -> Prompt:
        """A prompt of token ids, as they are but for one start token at their head.

        Raises:
            ApiError: It has an id that is no token of text, or is too long.
        """
        control = model.manifest.control_tokens
        if token_ids and token_ids[0] == control.start.id:
            token_ids = token_ids[1:]
        if len(token_ids) >= model.engine.context_tokens:
            raise from_engine(PromptTooLongError(len(token_ids) + 1, model.engine.context_tokens - 1))
        for token_id in token_ids:
            if token_id >= model.manifest.vocab_size:
                raise invalid("prompt", f"has token {token_id}, and the vocabulary ends before it")
            if token_id in (control.start.id, control.end.id):
                raise invalid("prompt", f"has the control token {token_id}; the service sets those itself")
        return Prompt(model.engine.tokenizer.decode(token_ids), token_ids)

    def params(self, model: ServedModel, given: dict[str, Any]) -> SamplingParams:
        """Sampling parameters as given, else the model's defaults (within the service's limit), else the engine's.

        Raises:
            ApiError: A value is out of range.
        """
        defaults = model.manifest.default_sampling.model_dump()
        if "temperature" in given:  # which holds from the first line on, unless the request has two
            defaults["opening_temperature"] = None
        defaults["max_new_tokens"] = min(defaults["max_new_tokens"], self.settings.max_new_tokens)
        try:
            return SamplingParams(**{**defaults, **given})
        except SamplingParamsError as error:
            raise from_sampling(error) from None

    def submit(
        self,
        model: ServedModel,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        request: Request,
        *,
        stream: bool,
        keep: int | None = None,
        shared: bool = False,
    ) -> Submission:
        """Hands a request to the engine, all of it or nothing. Text i of each prompt has the seed plus i.

        Raises:
            ApiError: It is out of bounds, or there is no room for it now.
        """
        settings = self.settings
        if params.max_new_tokens > settings.max_new_tokens:
            raise invalid("max_new_tokens", f"may be {settings.max_new_tokens} at most")
        max_n = min(settings.max_n, model.engine.stats.slots + settings.max_waiting)
        if params.n > max_n:
            raise invalid("n", f"may be {max_n} at most")
        if len(prompts) * params.n > max_n:
            raise invalid("prompt", f"asks for {len(prompts) * params.n} texts, and a request may for {max_n}")
        start_id = model.manifest.control_tokens.start.id
        streams: list[GenerationStream] = []
        try:
            deadline_s = self._left_s(request)
            for prompt in prompts:
                token_ids = [start_id, *prompt.token_ids]
                streams += model.engine.submit(token_ids, params, stream=stream, deadline_s=deadline_s)
        except (SamplingParamsError, EngineError) as error:
            for taken in streams:
                taken.abort()
            raise (from_sampling(error) if isinstance(error, SamplingParamsError) else from_engine(error)) from None
        if (watched := watched_in(request.scope)) is not None:
            sequences = [taken.sequence for taken in streams]
            watched.generation = WatchedGeneration(model.name, params, stream, sequences)
        ids = tuple(new_generation_id() for _ in streams)
        return Submission(request.state.request_id, model, prompts, params, streams, keep, request, shared, ids)

    def finish(self, submission: Submission, completions: "list[Completion]") -> None:
        """Tells whom it concerns that a request has ended well."""
        self._finished(submission, [group[: submission.keep] for group in submission.ranked(completions)])

    def _left_s(self, request: Request) -> float:
        """What is left of the time that a request may take."""
        arrived_s: float = request.state.arrived_s
        return max(0.0, self.settings.deadline_s - (time.monotonic() - arrived_s))

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
        self.finish(submission, completions)
        return completions

    def fault(self, completions: "list[Completion]") -> ApiError | None:
        """Why texts are no good answer: None, if they are."""
        reasons = {completion.finish_reason for completion in completions}
        if FinishReason.ERROR in reasons:
            return generation_failed()
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


def _mean_logprob(completion: "Completion") -> float:
    logprobs = completion.logprobs
    return sum(logprob.logprob for logprob in logprobs) / len(logprobs) if logprobs else -math.inf


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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends all of it. Raises ApiError while nothing has been sent."""
        main = asyncio.current_task()
        companion = asyncio.create_task(self._accompany(scope, receive, send, main))
        try:
            streams = self._submission.streams
            if len(streams) == 1:
                completions = [await self._pump(0, streams[0], send)]
            else:
                completions = await asyncio.gather(
                    *(self._pump(index, stream, send) for index, stream in enumerate(streams))
                )
            if not self._gone:
                await self._finish(completions, scope, send)
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

    async def _finish(self, completions: "list[Completion]", scope: Scope, send: Send) -> None:
        fault = self._generation.fault(completions)
        if fault and not self._started:
            raise fault
        if fault is None:
            self._generation.finish(self._submission, completions)
        else:
            note_error(scope, fault.type)
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

    async def _accompany(self, scope: Scope, receive: Receive, send: Send, main: "asyncio.Task[None] | None") -> None:
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
            note_client_gone(scope)
            self._submission.abort()
            if self._lock.locked() and main is not None:
                main.cancel()
            return
