"""Our own dialect: `POST /generate`, `POST /generate_stream`, `GET /models`."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from service.api.errors import ApiError, from_sampling, from_validation
from service.api.generation import EventStreamResponse, Generation, Submission
from service.api.responses import json_bytes, json_response
from service.api.schemas import GenerateRequest
from service.engine.sampling_params import SamplingParams, SamplingParamsError
from service.registry import ServedModel

if TYPE_CHECKING:
    from service.engine.llm_engine import Completion, TokenEvent
    from service.engine.sequence import TokenLogprob

SAMPLING_FIELDS: Final = tuple(field.name for field in fields(SamplingParams))


class NativeApi:
    """The endpoints of our own dialect."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    async def generate(self, request: Request) -> Response:
        """Writes greentexts and answers when all are done."""
        submission = await self._submit(request, stream=False)
        completions = await self._generation.complete(submission, request.receive)
        return json_response(answer(submission, completions))

    async def generate_stream(self, request: Request) -> EventStreamResponse:
        """Writes greentexts and sends each token as it comes."""
        submission = await self._submit(request, stream=True)
        return EventStreamResponse(self._generation, submission, NativeEvents(submission))

    async def models(self, request: Request) -> Response:  # noqa: ARG002 - an endpoint's signature
        """The models that are served."""
        models = self._generation.registry.models
        return json_response({"models": [model_info(model, default=model is models[0]) for model in models]})

    async def _submit(self, request: Request, *, stream: bool) -> Submission:
        try:
            asked = GenerateRequest.model_validate_json(await request.body())
        except ValidationError as error:
            raise from_validation(error) from None
        model = self._generation.model(asked.model)
        params = sampling_params(asked, model, max_new_tokens=self._generation.settings.max_new_tokens)
        return self._generation.submit(model, asked.prompt, params, request_id=request.state.request_id, stream=stream)


class NativeEvents:
    """A stream in our own words: events `token`, then one `end` or `error`."""

    def __init__(self, submission: Submission) -> None:
        self._submission = submission

    def token(self, index: int, event: "TokenEvent") -> bytes:
        """A token; the end token adds nothing and is not told."""
        if event.token_id is None and not event.text:
            return b""
        data: dict[str, Any] = {"index": index, "text": event.text, "token_id": event.token_id}
        if event.logprob is not None:
            data["logprob"] = event.logprob.logprob
        return sse("token", data)

    def end(self, completions: "list[Completion]") -> bytes:
        """The same as a `POST /generate` answers."""
        return sse("end", answer(self._submission, completions))

    def error(self, error: ApiError) -> bytes:
        """The same as an HTTP error's body."""
        return sse("error", error.body(self._submission.request_id))


def sse(event: str, data: dict[str, Any]) -> bytes:
    """One server-sent event. JSON keeps the data on one line."""
    return b"event: %b\ndata: %b\n\n" % (event.encode("ascii"), json_bytes(data))


def sampling_params(asked: GenerateRequest, model: ServedModel, *, max_new_tokens: int) -> SamplingParams:
    """What the request says, else the model's defaults (bounded by `max_new_tokens`), else the engine's.

    Raises:
        ApiError: A value is out of range.
    """
    defaults = model.manifest.default_sampling.model_dump()
    defaults["max_new_tokens"] = min(defaults["max_new_tokens"], max_new_tokens)
    given = asked.model_dump(include=set(SAMPLING_FIELDS), exclude_none=True)
    if "stop" in given:
        given["stop"] = tuple(given["stop"])
    if "logit_bias" in given:
        given["logit_bias"] = {int(token): bias for token, bias in given["logit_bias"].items()}
    try:
        return SamplingParams(**{**defaults, **given})
    except SamplingParamsError as error:
        raise from_sampling(error) from None


def answer(submission: Submission, completions: "list[Completion]") -> dict[str, Any]:
    """The body of a good answer, as `GenerateResponse` describes it."""
    return {
        "id": submission.request_id,
        "model": submission.model.name,
        "greentexts": [_greentext(submission, completion) for completion in completions],
        "usage": {
            "prompt_tokens": completions[0].prompt_tokens,
            "completion_tokens": sum(completion.completion_tokens for completion in completions),
        },
        "timings": {
            "queue_ms": _ms(max(completion.queue_s for completion in completions)),
            "prefill_ms": _ms(max(completion.prefill_s for completion in completions)),
            "decode_ms": _ms(max(completion.decode_s for completion in completions)),
            "total_ms": _ms(max(completion.total_s for completion in completions)),
        },
    }


def _greentext(submission: Submission, completion: "Completion") -> dict[str, Any]:
    text = submission.prompt + completion.text
    written: dict[str, Any] = {
        "text": text,
        "lines": [line.removeprefix(">").strip() for line in text.split("\n") if line.strip()],
        "finish_reason": completion.finish_reason.value,
        "seed": completion.seed,
        "prompt": submission.prompt,
    }
    if completion.logprobs:
        written["logprobs"] = [_logprob(submission, logprob) for logprob in completion.logprobs]
    return written


def _logprob(submission: Submission, logprob: "TokenLogprob") -> dict[str, Any]:
    decode = submission.model.engine.tokenizer.decode
    return {
        "token_id": logprob.token_id,
        "text": decode([logprob.token_id]),
        "logprob": logprob.logprob,
        "top": [{"token_id": token, "text": decode([token]), "logprob": value} for token, value in logprob.top],
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def model_info(model: ServedModel, *, default: bool) -> dict[str, Any]:
    """What `GET /models` says of a model, as `ModelInfo` describes it."""
    manifest = model.manifest
    return {
        "name": model.name,
        "default": default,
        "description": manifest.description,
        "base_model": manifest.base_model,
        "architecture": manifest.architecture,
        "precision": manifest.precision,
        "context_length": model.engine.context_tokens,
        "vocab_size": manifest.vocab_size,
        "default_sampling": manifest.default_sampling.model_dump(),
        "evaluation": manifest.evaluation,
        "license": manifest.license,
        "card": model.card,
    }
