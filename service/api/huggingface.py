"""The Hugging Face dialect: `POST /`, `POST /models/{model}` and `GET /info`, as the hub's inference API and
text-generation-inference (TGI) speak it.

Where the two differ it is TGI: `return_full_text` is false unless asked for, and status codes and errors are TGI's.
Three liberties: a string to stop at is no part of the text, the end token is not counted among the new tokens and
stands for no text, and a text that the deadline cut is told as `length`.

Sources: the clients `text_generation` 0.7 and `huggingface_hub` 0.36, which must work with it unchanged.
"""

from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from greentext import __version__
from service.api.errors import ApiError, ErrorType, from_validation, invalid, unavailable
from service.api.fields import as_sampling
from service.api.generation import EventStreamResponse, Generation, Submission
from service.api.huggingface_schemas import HuggingFaceParameters, HuggingFaceRequest
from service.api.responses import data_event, json_bytes, json_response
from service.api.token_texts import pieces
from service.engine.sampling_params import MAX_STOP_STRINGS
from service.engine.sequence import FinishReason

if TYPE_CHECKING:
    from service.engine.llm_engine import Completion, TokenEvent
    from service.engine.sequence import TokenLogprob
    from service.engine.tokenizer import Tokenizer

FINISH_REASONS: Final = {
    FinishReason.END: "eos_token",
    FinishReason.STOP: "stop_sequence",
    FinishReason.LENGTH: "length",
    FinishReason.DEADLINE: "length",
}
ERROR_TYPES: Final = {
    ErrorType.INVALID_REQUEST: (422, "validation"),
    ErrorType.QUEUE_FULL: (429, "overloaded"),
    ErrorType.GENERATION: (424, "generation"),
    ErrorType.ABORTED: (500, "incomplete_generation"),
}
"""TGI's statuses and words where it has some; elsewhere ours."""

SAMPLING: Final = {
    "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "frequency_penalty",
    "presence_penalty", "seed", "stop", "max_new_tokens", "min_new_tokens",
}  # fmt: skip
CHOOSING: Final = ("temperature", "top_k", "top_p", "typical_p")
OBJECTS: Final = frozenset({"parameters", "options"})
NAMES: Final = {"prompt": "inputs", "n": "parameters.num_return_sequences"} | {
    name: f"parameters.{name}" for name in sorted(SAMPLING)
}
BEST_OF_NAMES: Final = {**NAMES, "n": "parameters.best_of"}

PLAIN_TOKEN: Final = (
    b'data: {"index":%d,"token":{"id":%d,"text":%b,"logprob":%b,"special":false},'
    b'"generated_text":null,"details":null}\n\n'
)


def words(error: ApiError, request_id: str) -> tuple[int, dict[str, Any]]:  # noqa: ARG001 - a Wording's signature
    """An error as TGI puts it."""
    status, error_type = ERROR_TYPES.get(error.type, (error.status, error.type.value))
    return status, {"error": error.message, "error_type": error_type}


class HuggingFaceApi:
    """The endpoints of this dialect."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    async def generate(self, request: Request) -> Response | EventStreamResponse:
        """Writes texts, with the default model or the one that the path names; a stream if it is asked for."""
        try:
            asked = HuggingFaceRequest.model_validate_json(await request.body())
        except ValidationError as error:
            raise from_validation(error, objects=OBJECTS) from None
        parameters = asked.parameters or HuggingFaceParameters()
        _check(asked, parameters)
        model = await self._generation.model(request.path_params.get("model"), request)
        best_of = parameters.best_of or 1
        given = _sampling(parameters, details=bool(parameters.details or asked.stream))
        try:
            params = self._generation.params(model, given)
            texts = [asked.inputs] if isinstance(asked.inputs, str) else asked.inputs
            prompts = [self._generation.prompt(model, text, truncate_tokens=parameters.truncate) for text in texts]
            submission = self._generation.submit(
                model, prompts, params, request, stream=bool(asked.stream), keep=1 if best_of > 1 else None
            )
        except ApiError as error:
            raise error.renamed(BEST_OF_NAMES if best_of > 1 else NAMES) from None
        if asked.stream:
            return EventStreamResponse(self._generation, submission, HuggingFaceEvents(submission, parameters))
        completions = await self._generation.complete(submission, request.receive)
        groups = [
            _texts(submission, prompt.text, group, parameters)
            for prompt, group in zip(prompts, submission.ranked(completions), strict=True)
        ]
        return json_response(groups[0] if isinstance(asked.inputs, str) else groups)

    async def info(self, request: Request) -> Response:  # noqa: ARG002 - an endpoint's signature
        """What the default model is, and the limits."""
        default, settings = self._generation.registry.default, self._generation.settings
        if default is None or default.model is None:
            raise unavailable()
        slots = default.model.engine.stats.slots
        max_n = min(settings.max_n, slots + settings.max_waiting)
        return json_response(
            {
                "model_id": default.name,
                "model_sha": default.manifest.files["model.onnx"].sha256,
                "model_dtype": default.manifest.precision,
                "model_device_type": "cpu",
                "model_pipeline_tag": "text-generation",
                "max_concurrent_requests": slots + settings.max_waiting,
                "max_best_of": max_n,
                "max_stop_sequences": MAX_STOP_STRINGS,
                "max_input_tokens": default.context_tokens - 1,
                "max_total_tokens": default.context_tokens,
                "max_client_batch_size": max_n,
                "router": "wholesome-greentext",
                "version": __version__,
            }
        )


class HuggingFaceEvents:
    """A stream of one text: an event for each token, the last with the whole text and its details."""

    def __init__(self, submission: Submission, parameters: HuggingFaceParameters) -> None:
        self._submission = submission
        self._tokenizer = submission.model.engine.tokenizer
        self._beginning = submission.prompts[0].text if parameters.return_full_text else ""
        self._top = bool(parameters.top_n_tokens)
        self._tokens = 0
        self._rest = ""
        self._last: dict[str, Any] | None = None
        """The last token, once the engine is through: what is to be told of the whole text goes with it."""

    def token(self, index: int, event: "TokenEvent") -> bytes:
        """A token. One that comes when the text has ended is kept until it is known to be the last."""
        if event.token_id is None or event.logprob is None:
            self._rest = event.text
            return b""
        self._tokens += 1
        last = self._flush()
        logprob = event.logprob
        if not self._top and not self._submission.streams[index].ended:
            # By hand: dictionaries for each token would cost twice as much.
            return last + PLAIN_TOKEN % (
                self._tokens,
                event.token_id,
                json_bytes(event.text),
                json_bytes(logprob.logprob),
            )
        token = {"id": event.token_id, "text": event.text, "logprob": logprob.logprob, "special": False}
        told: dict[str, Any] = {"index": self._tokens, "token": token}
        if self._top:
            told["top_tokens"] = _top_tokens(logprob, self._tokenizer)
        if self._submission.streams[index].ended:
            self._last = told
            return last
        return last + _event(told)

    def end(self, completions: "list[Completion]") -> bytes:
        """The last token, with the whole text and its details."""
        completion = completions[0]
        told = self._last
        if completion.finish_reason in (FinishReason.END, FinishReason.DEADLINE) or told is None:
            # Nothing but the end is left to tell; or text that was held back for a stop string, which is no control
            # token's, so that clients that skip those do not lose it.
            end_id = self._submission.model.manifest.control_tokens.end.id
            token = {"id": end_id, "text": self._rest, "logprob": None, "special": not self._rest}
            before, told = self._flush(), {"index": self._tokens + 1, "token": token}
        else:
            before = b""
            told["token"]["text"] += self._rest
        details = {**_ending(completion), "input_length": completion.prompt_tokens}
        return before + _event(told, self._beginning + completion.text, details)

    def error(self, error: ApiError) -> bytes:
        """The same as an HTTP error's body."""
        return self._flush() + data_event(words(error, self._submission.request_id)[1])

    def _flush(self) -> bytes:
        told, self._last = self._last, None
        return b"" if told is None else _event(told)


def _event(told: dict[str, Any], generated_text: str | None = None, details: dict[str, Any] | None = None) -> bytes:
    return data_event({**told, "generated_text": generated_text, "details": details})


def _check(asked: HuggingFaceRequest, parameters: HuggingFaceParameters) -> None:
    """Refuses what no field alone says. Raises ApiError."""
    best_of, several = parameters.best_of or 1, parameters.num_return_sequences or 1
    if parameters.watermark:
        raise invalid("parameters.watermark", "is not supported here; leave it out")
    if parameters.decoder_input_details:
        raise invalid("parameters.decoder_input_details", "is not supported here: prompts are not scored; leave it out")
    if parameters.top_n_tokens and not (parameters.details or asked.stream):
        raise invalid("parameters.top_n_tokens", "is told with details or in a stream; let details be true")
    if best_of > 1 and several > 1:
        raise invalid("parameters.best_of", "chooses one text; leave it or num_return_sequences out")
    if best_of > 1 and _is_greedy(parameters):
        raise invalid("parameters.best_of", "all candidates would be the same; let do_sample be true")
    if not asked.stream:
        return
    if not isinstance(asked.inputs, str):
        raise invalid("inputs", "must be one string for a stream")
    if best_of > 1:
        raise invalid("parameters.best_of", "must be 1 for a stream")
    if several > 1:
        raise invalid("parameters.num_return_sequences", "must be 1 for a stream")


def _is_greedy(parameters: HuggingFaceParameters) -> bool:
    return parameters.do_sample is False and all(getattr(parameters, name) is None for name in CHOOSING)


def _sampling(parameters: HuggingFaceParameters, *, details: bool) -> dict[str, Any]:
    """What `SamplingParams` is to be made from, beside defaults. Candidates are compared by their log probabilities."""
    given = as_sampling({name: getattr(parameters, name) for name in SAMPLING})
    if _is_greedy(parameters):
        given["temperature"] = 0.0
    best_of = parameters.best_of or 1
    given["n"] = max(best_of, parameters.num_return_sequences or 1)
    if details or best_of > 1:
        given["logprobs"] = (details and parameters.top_n_tokens) or 0
    return given


def _texts(
    submission: Submission, prompt: str, completions: "list[Completion]", parameters: HuggingFaceParameters
) -> list[dict[str, Any]]:
    """The texts of one input, with their details if they were asked for."""
    head = prompt if parameters.return_full_text else ""
    kept = completions[: submission.keep]
    texts: list[dict[str, Any]] = [{"generated_text": head + completion.text} for completion in kept]
    if parameters.details:
        for text, completion in zip(texts, kept, strict=True):
            text["details"] = _details(submission, completion, parameters)
        if others := completions[len(kept) :]:
            texts[0]["details"]["best_of_sequences"] = [
                {"generated_text": head + other.text, **_details(submission, other, parameters)} for other in others
            ]
    return texts


def _ending(completion: "Completion") -> dict[str, Any]:
    return {
        "finish_reason": FINISH_REASONS[completion.finish_reason],
        "generated_tokens": completion.completion_tokens,
        "seed": completion.seed,
    }


def _details(submission: Submission, completion: "Completion", parameters: HuggingFaceParameters) -> dict[str, Any]:
    tokenizer = submission.model.engine.tokenizer
    texts = pieces(tokenizer, completion.token_ids, submission.params.stop)
    details = {**_ending(completion), "prefill": []}
    details["tokens"] = [
        {"id": logprob.token_id, "text": text, "logprob": logprob.logprob, "special": False}
        for text, logprob in zip(texts, completion.logprobs, strict=True)
    ]
    if parameters.top_n_tokens:
        details["top_tokens"] = [_top_tokens(logprob, tokenizer) for logprob in completion.logprobs]
    return details


def _top_tokens(logprob: "TokenLogprob", tokenizer: "Tokenizer") -> list[dict[str, Any]]:
    """The likeliest tokens of a step. Among them may be the end token, which stands for no text."""
    return [
        {
            "id": token_id,
            "text": tokenizer.decode([token_id]),
            "logprob": value,
            "special": not tokenizer.token_bytes(token_id),
        }
        for token_id, value in logprob.top
    ]
