"""The OpenAI dialect's chat: `POST /v1/chat/completions`, so that clients that only chat can have greentexts.

The model knows no conversation. The last message of the role user is the beginning that it continues; the messages
before it are checked, and not read. The answer is what the model wrote, without that beginning.
"""

from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from service.api.errors import ApiError, from_validation, invalid
from service.api.generation import EventStreamResponse, Generation, Submission
from service.api.openai import FINISH_REASONS, ChunkedEvents, answer_head, check_stream, sampling, text_offsets, usage
from service.api.openai_schemas import ChatRequest
from service.api.responses import json_bytes, json_response
from service.api.token_texts import spelling

if TYPE_CHECKING:
    from service.engine.llm_engine import Completion, TokenEvent
    from service.engine.sequence import TokenLogprob
    from service.engine.tokenizer import Tokenizer

OBJECTS: Final = frozenset({"stream_options"})
NAMES: Final = {"prompt": "messages", "min_new_tokens": "min_tokens"}


class OpenAiChatApi:
    """The endpoint."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    async def completions(self, request: Request) -> Response | EventStreamResponse:
        """Continues the last message of the role user; a stream if it is asked for."""
        try:
            asked = ChatRequest.model_validate_json(await request.body())
        except ValidationError as error:
            raise from_validation(error, objects=OBJECTS) from None
        prompt = _prompt(asked)
        _check(asked)
        model = await self._generation.model(asked.model, request)
        length = "max_tokens" if asked.max_completion_tokens is None else "max_completion_tokens"
        max_tokens = getattr(asked, length)
        given = sampling(asked, max_tokens=max_tokens, n=asked.n or 1)
        if asked.logprobs:
            given["logprobs"] = asked.top_logprobs or 0
        try:
            params = self._generation.params(model, given)
            prompts = [self._generation.prompt(model, prompt)]
            submission = self._generation.submit(model, prompts, params, request, stream=bool(asked.stream))
        except ApiError as error:
            raise error.renamed({**NAMES, "max_new_tokens": length}) from None
        if asked.stream:
            return EventStreamResponse(self._generation, submission, ChatEvents(submission, asked))
        completions = await self._generation.complete(submission, request.receive)
        return json_response(_answer(submission, completions, asked))


class ChatEvents(ChunkedEvents):
    """A stream of messages: the role of each first, then its pieces."""

    def __init__(self, submission: Submission, asked: ChatRequest) -> None:
        super().__init__(submission, asked, prefix="chatcmpl-", kind="chat.completion.chunk")
        self._logprobs = bool(asked.logprobs)
        self._begun = [False] * len(submission.streams)

    def choice(self, index: int, event: "TokenEvent") -> bytes:
        """A message's next piece."""
        head = b"" if self._begun[index] else self._role(index)
        if self._logprobs and event.logprob is not None:
            told = {"content": [_logprob(self._submission.model.engine.tokenizer, event.logprob)], "refusal": None}
            delta = {"content": event.text}
            return head + json_bytes({"index": index, "delta": delta, "logprobs": told, "finish_reason": None})
        if event.text:
            text = json_bytes(event.text)
            return head + b'{"index":%d,"delta":{"content":%b},"logprobs":null,"finish_reason":null}' % (index, text)
        return b""

    def last_choice(self, index: int, text: str, finish_reason: str) -> bytes:
        """What was held back, and why the message has ended."""
        head = b"" if self._begun[index] else self._role(index)
        delta = {"content": text} if text else {}
        return head + json_bytes({"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason})

    def _role(self, index: int) -> bytes:
        """A whole chunk, and the beginning of the next."""
        self._begun[index] = True
        delta = {"role": "assistant", "content": ""}
        role = json_bytes({"index": index, "delta": delta, "logprobs": None, "finish_reason": None})
        return role + self._tail + self._head


def _check(asked: ChatRequest) -> None:
    """Refuses what no field alone says. Raises ApiError."""
    check_stream(asked)
    if asked.top_logprobs and not asked.logprobs:
        raise invalid("top_logprobs", "is for logprobs; let logprobs be true, or leave it out")
    if asked.max_tokens is not None and asked.max_completion_tokens not in (None, asked.max_tokens):
        raise invalid("max_tokens", "is an old name of max_completion_tokens; leave one of them out")


def _prompt(asked: ChatRequest) -> str:
    """Raises ApiError where there is none."""
    for message in reversed(asked.messages):
        if message.role == "user":
            return message.content
    raise invalid("messages", "must have one of the role user, to be continued")


def _answer(submission: Submission, completions: "list[Completion]", asked: ChatRequest) -> dict[str, Any]:
    tokenizer = submission.model.engine.tokenizer
    choices = []
    for index, completion in enumerate(completions):
        logprobs = None
        if asked.logprobs:
            told = completion.logprobs[: len(text_offsets(submission, completion))]
            logprobs = {"content": [_logprob(tokenizer, logprob) for logprob in told], "refusal": None}
        choices.append(
            {
                "index": index,
                "message": {"role": "assistant", "content": completion.text, "refusal": None},
                "logprobs": logprobs,
                "finish_reason": FINISH_REASONS[completion.finish_reason],
            }
        )
    head = answer_head(submission, prefix="chatcmpl-", kind="chat.completion")
    return {**head, "choices": choices, "usage": usage(submission, completions)}


def _logprob(tokenizer: "Tokenizer", logprob: "TokenLogprob") -> dict[str, Any]:
    told = _alternative(tokenizer, logprob.token_id, logprob.logprob)
    return {**told, "top_logprobs": [_alternative(tokenizer, token, value) for token, value in logprob.top]}


def _alternative(tokenizer: "Tokenizer", token_id: int, logprob: float) -> dict[str, Any]:
    content = list(tokenizer.token_bytes(token_id))
    return {"token": spelling(tokenizer, token_id), "logprob": logprob, "bytes": content}
