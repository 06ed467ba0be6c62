"""Our own dialect: `POST /generate`, `POST /generate_stream`, `GET /models`."""

from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from service.api.edition import edition_of
from service.api.errors import ApiError, from_validation, invalid, native_words
from service.api.fields import as_sampling
from service.api.generation import EventStreamResponse, Generation, Submission
from service.api.responses import json_bytes, json_response
from service.api.schemas import GenerateRequest
from service.served_model import Bundle

if TYPE_CHECKING:
    from service.engine.llm_engine import Completion, TokenEvent
    from service.engine.sequence import TokenLogprob

NOT_SAMPLING: Final = {"prompt", "model", "share"}
OTHER_DIALECTS: Final = {
    "inputs": "there is no such field; send `inputs` to POST /, or `prompt` here",
    "messages": "there is no such field; send `messages` to POST /v1/chat/completions, or `prompt` here",
    "max_tokens": "there is no such field; send `max_tokens` to POST /v1/completions, or `max_new_tokens` here",
    "stream": "there is no such field; POST /generate_stream writes a stream",
}
"""What a client of another dialect is likely to have meant."""


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
        """The models that are served, and the bundles that cannot be."""
        registry = self._generation.registry
        await registry.look()
        served = [model_info(bundle, registry.aliases_of(bundle.name)) for bundle in registry.bundles]
        unusable = [
            {"directory": found.directory, "state": found.state, "reason": found.reason} for found in registry.unusable
        ]
        return json_response({"models": served, "unusable": unusable})

    async def _submit(self, request: Request, *, stream: bool) -> Submission:
        try:
            asked = GenerateRequest.model_validate_json(await request.body())
        except ValidationError as error:
            raise _refusal(error) from None
        generation = self._generation
        model = await generation.model(asked.model, request)
        params = generation.params(model, as_sampling(asked.model_dump(exclude=NOT_SAMPLING)))
        prompt = generation.prompt(model, asked.prompt)
        return generation.submit(model, [prompt], params, request, stream=stream, shared=asked.share)


def _refusal(error: ValidationError) -> ApiError:
    refusal = from_validation(error)
    hint = OTHER_DIALECTS.get(refusal.field or "")
    return refusal if hint is None or refusal.field is None else invalid(refusal.field, hint)


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
        return sse("error", native_words(error, self._submission.request_id)[1])


def sse(event: str, data: dict[str, Any]) -> bytes:
    """One server-sent event. JSON keeps the data on one line."""
    return b"event: %b\ndata: %b\n\n" % (event.encode("ascii"), json_bytes(data))


def answer(submission: Submission, completions: "list[Completion]") -> dict[str, Any]:
    """The body of a good answer, as `GenerateResponse` describes it."""
    return {
        "id": submission.request_id,
        "model": submission.model.name,
        "model_edition": edition_of(submission.model.manifest),
        "greentexts": [_greentext(submission, completion, i) for i, completion in enumerate(completions)],
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


def _greentext(submission: Submission, completion: "Completion", index: int) -> dict[str, Any]:
    prompt = submission.prompt_of(index).text
    text = prompt + completion.text
    written: dict[str, Any] = {
        "id": submission.ids[index],
        "text": text,
        "lines": [line.removeprefix(">").strip() for line in text.split("\n") if line.strip()],
        "finish_reason": completion.finish_reason.value,
        "seed": completion.seed,
        "prompt": prompt,
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


def model_info(bundle: Bundle, aliases: list[str]) -> dict[str, Any]:
    """What `GET /models` says of a model, as `ModelInfo` describes it."""
    manifest = bundle.manifest
    sampling = manifest.default_sampling
    opening = sampling.temperature if sampling.opening_temperature is None else sampling.opening_temperature
    return {
        "name": bundle.name,
        "edition": edition_of(manifest),
        "aliases": aliases,
        "default": bundle.is_default,
        "state": bundle.state,
        "description": manifest.description,
        "base_model": manifest.base_model,
        "architecture": manifest.architecture,
        "precision": manifest.precision,
        "context_length": bundle.context_tokens,
        "vocab_size": manifest.vocab_size,
        "default_sampling": {**sampling.model_dump(), "opening_temperature": opening},
        "evaluation": manifest.evaluation,
        "license": manifest.license,
        "card": bundle.card,
    }
