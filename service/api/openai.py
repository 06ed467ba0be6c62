"""The OpenAI dialect's completions and models: `POST /v1/completions`, `GET /v1/models` and `GET /v1/models/{model}`.

What is left out of a request is as the model's own defaults are, `max_tokens` too. A text that the deadline cut is told
as `length`. No key is asked for: an `Authorization` header is not looked at.

Source: the client `openai` 3, which must work with it unchanged.
"""

import time
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from service.api.errors import ApiError, ErrorType, from_validation, invalid
from service.api.fields import as_sampling
from service.api.generation import EventStreamResponse, Generation, Submission
from service.api.openai_schemas import CompletionRequest, OpenAiSampling
from service.api.responses import data_event, json_bytes, json_response
from service.api.token_texts import pieces, spelling
from service.engine.sequence import FinishReason
from service.served_model import Bundle, ServedModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.engine.llm_engine import Completion, TokenEvent
    from service.engine.sequence import TokenLogprob
    from service.engine.tokenizer import Tokenizer

FINISH_REASONS: Final = {
    FinishReason.END: "stop",
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.DEADLINE: "length",
}
CODES: Final = {
    ErrorType.INVALID_REQUEST: None,
    ErrorType.NOT_FOUND: "unknown_url",
    ErrorType.QUEUE_FULL: "rate_limit_exceeded",
}
"""OpenAI's words for a code where it has some of its own; elsewhere ours."""

SAMPLING: Final = (
    "temperature", "top_p", "top_k", "min_p", "typical_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "logit_bias", "seed", "stop",
)  # fmt: skip
OBJECTS: Final = frozenset({"stream_options"})
NAMES: Final = {"max_new_tokens": "max_tokens", "min_new_tokens": "min_tokens"}
BEST_OF_NAMES: Final = {**NAMES, "n": "best_of"}
DONE: Final = b"data: [DONE]\n\n"
OWNER: Final = "wholesome-greentext"


def words(error: ApiError, request_id: str) -> tuple[int, dict[str, Any]]:  # noqa: ARG001 - a Wording's signature
    """An error as OpenAI puts it."""
    if error.type is ErrorType.QUEUE_FULL:
        error_type = "rate_limit_error"
    else:
        error_type = "invalid_request_error" if error.status < 500 else "server_error"
    code = CODES.get(error.type, error.type.value)
    return error.status, {"error": {"message": error.message, "type": error_type, "param": error.field, "code": code}}


class OpenAiApi:
    """The endpoints of this dialect, but for the chat."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    async def completions(self, request: Request) -> Response | EventStreamResponse:
        """Continues prompts, each with `n` texts; a stream if it is asked for."""
        try:
            asked = CompletionRequest.model_validate_json(await request.body())
        except ValidationError as error:
            raise from_validation(error, objects=OBJECTS) from None
        _check(asked)
        model = await self._generation.model(asked.model, request)
        n = asked.n or 1
        candidates = max(n, asked.best_of or n)
        chooses = candidates > n
        given = sampling(asked, max_tokens=asked.max_tokens, n=candidates)
        if chooses or asked.logprobs is not None:
            given["logprobs"] = asked.logprobs or 0
        try:
            params = self._generation.params(model, given)
            prompts = [
                self._generation.prompt(model, prompt)
                if isinstance(prompt, str)
                else self._generation.token_prompt(model, prompt)
                for prompt in asked.prompt
            ]
            submission = self._generation.submit(
                model, prompts, params, request, stream=bool(asked.stream), keep=n if chooses else None
            )
        except ApiError as error:
            raise error.renamed(BEST_OF_NAMES if chooses else NAMES) from None
        if asked.stream:
            return EventStreamResponse(self._generation, submission, CompletionEvents(submission, asked))
        completions = await self._generation.complete(submission, request.receive)
        return json_response(_answer(submission, completions, asked))

    async def models(self, request: Request) -> Response:  # noqa: ARG002 - an endpoint's signature
        """The models that are served, the default first."""
        registry = self._generation.registry
        await registry.look()
        return json_response({"object": "list", "data": [_model(bundle) for bundle in registry.bundles]})

    async def model(self, request: Request) -> Response:
        """One of them, by its name or an alias."""
        registry = self._generation.registry
        await registry.look()
        bundle = registry.find(request.path_params["model"])
        if bundle is None or bundle.fault is not None:
            names = ", ".join(bundle.name for bundle in registry.bundles)
            raise ApiError(ErrorType.MODEL_NOT_FOUND, f"model: the models here are {names}", field="model")
        return json_response(_model(bundle))


class ChunkedEvents:
    """A stream of chunks, for completions and chats alike: those of each text in order, usage, and `[DONE]`.

    Bytes are put together by hand around a text: a chunk for each token is the better part of what a stream costs.
    """

    def __init__(self, submission: Submission, asked: OpenAiSampling, *, prefix: str, kind: str) -> None:
        """`prefix` is that of the id, `kind` the `object`."""
        self._submission = submission
        head = answer_head(submission, prefix=prefix, kind=kind)
        self._head = b"data: " + json_bytes(head)[:-1] + b',"choices":['
        self._usage = bool(asked.stream_options and asked.stream_options.include_usage)
        self._tail = b'],"usage":null}\n\n' if self._usage else b"]}\n\n"
        self._ended = [False] * len(submission.streams)

    def token(self, index: int, event: "TokenEvent") -> bytes:
        """What a text has new, and whether it has ended."""
        finished = event.finished
        if finished is not None:
            if finished.finish_reason not in FINISH_REASONS:
                return b""  # an error is told when all have ended
            if finished.finish_reason is FinishReason.DEADLINE and not finished.completion_tokens:
                return b""  # which may be an error
            return self._last(index, finished, event.text)
        data = self.choice(index, event)
        return self._head + data + self._tail if data else b""

    def end(self, completions: "list[Completion]") -> bytes:
        """What ended without a token, usage if it was asked for, and the end of the stream."""
        data = b"".join(
            self._last(index, completion, "") for index, completion in enumerate(completions) if not self._ended[index]
        )
        if self._usage:
            data += self._head + b'],"usage":' + json_bytes(usage(self._submission, completions)) + b"}\n\n"
        return data + DONE

    def error(self, error: ApiError) -> bytes:
        """The same as an HTTP error's body, and the end of the stream."""
        return data_event(words(error, self._submission.request_id)[1]) + DONE

    def _last(self, index: int, completion: "Completion", text: str) -> bytes:
        self._ended[index] = True
        return self._head + self.last_choice(index, text, FINISH_REASONS[completion.finish_reason]) + self._tail

    def choice(self, index: int, event: "TokenEvent") -> bytes:
        """The choice of a chunk that brings a token; nothing, if it brings nothing."""
        raise NotImplementedError

    def last_choice(self, index: int, text: str, finish_reason: str) -> bytes:
        """The choice of the chunk that says why a text has ended."""
        raise NotImplementedError


class CompletionEvents(ChunkedEvents):
    """A stream of texts. With `echo` each begins with its prompt."""

    def __init__(self, submission: Submission, asked: CompletionRequest) -> None:
        super().__init__(submission, asked, prefix="cmpl-", kind="text_completion")
        self._logprobs = asked.logprobs
        self._offsets = [0] * len(submission.streams)
        self._echo = [bool(asked.echo)] * len(submission.streams)

    def choice(self, index: int, event: "TokenEvent") -> bytes:
        """A text's next piece. Where log probabilities are told, each token has a chunk of its own."""
        if self._logprobs is None or event.logprob is None:
            text = event.text
            if self._echo[index]:
                text = self._prompt(index) + text
            return (
                b'{"index":%d,"text":%b,"logprobs":null,"finish_reason":null}' % (index, json_bytes(text))
                if text
                else b""
            )
        tokenizer = self._submission.model.engine.tokenizer
        told = _logprobs(tokenizer, [event.logprob], [self._offsets[index]], top=self._logprobs)
        self._offsets[index] += len(event.text)
        return json_bytes({"index": index, "text": event.text, "logprobs": told, "finish_reason": None})

    def last_choice(self, index: int, text: str, finish_reason: str) -> bytes:
        """What was held back, and why the text has ended."""
        if self._echo[index]:
            text = self._prompt(index) + text
        return json_bytes({"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason})

    def _prompt(self, index: int) -> str:
        self._echo[index] = False
        return self._submission.prompt_of(index).text


def sampling(asked: OpenAiSampling, *, max_tokens: int | None, n: int) -> dict[str, Any]:
    """What `SamplingParams` is to be made from, beside defaults."""
    given = {name: getattr(asked, name) for name in SAMPLING}
    return as_sampling({**given, "max_new_tokens": max_tokens, "min_new_tokens": asked.min_tokens, "n": n})


def check_stream(asked: OpenAiSampling) -> None:
    """Refuses options of a stream that is none. Raises ApiError."""
    if asked.stream_options is not None and not asked.stream:
        raise invalid("stream_options", "is for streams; let stream be true, or leave it out")


def answer_head(submission: Submission, *, prefix: str, kind: str) -> dict[str, Any]:
    """What any answer and any chunk begins with."""
    return {
        "id": prefix + submission.request_id,
        "object": kind,
        "created": int(time.time()),
        "model": submission.model.name,
        "system_fingerprint": fingerprint(submission.model),
    }


def fingerprint(model: ServedModel) -> str:
    """Changes with the model's graph or tokenizer."""
    files = model.manifest.files
    return f"fp_{files['model.onnx'].sha256[:8]}{files['tokenizer.json'].sha256[:4]}"


def usage(submission: Submission, completions: "Sequence[Completion]") -> dict[str, Any]:
    """Tokens read, once for each prompt, and written, for each candidate."""
    prompt_tokens = sum(completion.prompt_tokens for completion in completions[:: submission.params.n])
    completion_tokens = sum(completion.completion_tokens for completion in completions)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def _check(asked: CompletionRequest) -> None:
    """Refuses what no field alone says. Raises ApiError."""
    check_stream(asked)
    n = asked.n or 1
    best_of = asked.best_of or n
    if asked.echo and asked.logprobs is not None:
        raise invalid("logprobs", "does not go with echo: prompts are not scored; leave one of them out")
    if best_of < n:
        raise invalid("best_of", "must not be less than n")
    if best_of > n and asked.stream:
        raise invalid("best_of", "must be n for a stream")
    if best_of > n and asked.temperature == 0:
        raise invalid("best_of", "all candidates would be the same; let temperature be above 0")


def _answer(submission: Submission, completions: "list[Completion]", asked: CompletionRequest) -> dict[str, Any]:
    kept = [
        (prompt, completion)
        for prompt, group in zip(submission.prompts, submission.ranked(completions), strict=True)
        for completion in group[: submission.keep]
    ]
    tokenizer = submission.model.engine.tokenizer
    choices = []
    for index, (prompt, completion) in enumerate(kept):
        logprobs = None
        if asked.logprobs is not None:
            offsets = text_offsets(submission, completion)
            logprobs = _logprobs(tokenizer, completion.logprobs[: len(offsets)], offsets, top=asked.logprobs)
        choices.append(
            {
                "index": index,
                "text": prompt.text + completion.text if asked.echo else completion.text,
                "logprobs": logprobs,
                "finish_reason": FINISH_REASONS[completion.finish_reason],
            }
        )
    head = answer_head(submission, prefix="cmpl-", kind="text_completion")
    return {**head, "choices": choices, "usage": usage(submission, completions)}


def text_offsets(submission: Submission, completion: "Completion") -> list[int]:
    """Where the tokens of a text begin, in characters; those that lie in a string to stop at are left out."""
    texts = pieces(submission.model.engine.tokenizer, completion.token_ids)
    offsets, at = [], 0
    for text in texts:
        offsets.append(at)
        at += len(text)
    if completion.finish_reason is FinishReason.STOP:
        end = len(completion.text)
        offsets = [offset for offset in offsets if offset < end]
    return offsets


def _logprobs(
    tokenizer: "Tokenizer", logprobs: "Sequence[TokenLogprob]", offsets: list[int], *, top: int
) -> dict[str, Any]:
    return {
        "tokens": [spelling(tokenizer, logprob.token_id) for logprob in logprobs],
        "token_logprobs": [logprob.logprob for logprob in logprobs],
        "top_logprobs": [{spelling(tokenizer, token): value for token, value in logprob.top} for logprob in logprobs]
        if top
        else None,
        "text_offset": offsets,
    }


def _model(bundle: Bundle) -> dict[str, Any]:
    return {"id": bundle.name, "object": "model", "created": bundle.written_s, "owned_by": OWNER}
