"""Asking by the Batch API: files of requests, answered within a day at a lower price.

A batch is paid for once it is created, so its name goes into the ledger before it is created and is told to the server
as metadata. A run that was killed in between finds it there again instead of creating another.

Source: https://platform.openai.com/docs/guides/batch.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

import orjson
from openai import APIConnectionError, APIStatusError

from data_pipeline.synthesis.errors import BatchError, ServerRefusesError, UnansweredError
from data_pipeline.synthesis.ledger import MICRO
from data_pipeline.synthesis.pace import backoff_s, retry_after_s
from data_pipeline.synthesis.protocol import Failure, Verdict, judge, read_body, refused_answer, weaker
from data_pipeline.synthesis.settings import AnswerFormat, Mode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from openai import AsyncOpenAI
    from openai.types import Batch, FileObject

    from data_pipeline.synthesis.ledger import Ledger, OpenBatch
    from data_pipeline.synthesis.plan import Request
    from data_pipeline.synthesis.settings import SynthesisSettings

ENDPOINT: Final = "/v1/chat/completions"
MAX_FILE_BYTES: Final = 100 * 1024**2
"""Half of what OpenAI takes in one file."""
METADATA_NAME: Final = "gtx_batch"
FINAL_STATES: Final = frozenset({"completed", "failed", "expired", "cancelled"})

T = TypeVar("T")


@dataclass(slots=True)
class Batcher:
    """Sends batches and gets their answers into the ledger."""

    settings: SynthesisSettings
    client: AsyncOpenAI
    ledger: Ledger
    failures: dict[str, Counter[str]] = field(default_factory=dict)
    """By request key, what went wrong."""
    on_wait: Callable[[str], None] = lambda _: None
    """Told what is waited for."""
    answer_format: AnswerFormat = field(init=False)
    _cancelled: set[str] = field(default_factory=set)
    _rng: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self.answer_format = self.settings.answer_format

    def worst_cost(self, request: Request) -> float:
        """The most that a request can cost, in microdollars."""
        price = self.settings.price(Mode.BATCH)
        return 0.0 if price is None else price.microdollars(request.max_input_tokens, request.max_output_tokens)

    async def send(self, requests: Sequence[Request]) -> int:
        """Creates batches of as many of the requests as the budget allows, and returns how many those are.

        Raises:
            ServerRefusesError: The server has no batches, or wants none of ours.
            UnansweredError: It failed too often.
        """
        sent = 0
        for chunk in self._chunks(requests):
            keys = {request.key: self.worst_cost(request) for request in chunk}
            lines = b"".join(self._line(request) for request in chunk)
            file = await self._upload(lines)
            # Nothing is owed for a file; from here on something may be.
            batch = self.ledger.begin_batch(secrets.token_hex(12), keys, self.answer_format.value)
            created = await self._create(batch, file.id)
            self.ledger.name_batch(batch, created.id)
            sent += len(chunk)
        return sent

    async def collect(self) -> None:
        """Waits for all batches that the ledger knows of, and takes in what they answered.

        Raises:
            BatchError: The server refused a batch as a whole.
            UnansweredError: A batch ended before all of it was answered.
            ServerRefusesError: Its requests cannot be answered.
        """
        for batch in self.ledger.batches:
            if batch.batch_id is None:
                found = await self._find(batch.intent)
                if found is None:
                    self.ledger.end_batch(batch)  # it never got there
                    continue
                self.ledger.name_batch(batch, found.id)
        for batch in self.ledger.batches:
            state = await self._wait(batch)
            fatal = await self._take_answers(batch, state)
            unanswered = len(batch.keys)
            self.ledger.sync()
            self.ledger.end_batch(batch)
            if state.status == "failed":
                problems = (state.errors.data if state.errors else None) or []
                told = (
                    "; ".join(f"{problem.code}: {problem.message}" for problem in problems[:5]) or "it did not say why"
                )
                raise BatchError(
                    f"the server refused batch {state.id}: {told}. Nothing was paid for it; send fewer requests at a "
                    "time (--batch-requests), wait until earlier batches are done, or ask with --mode live"
                )
            if fatal is not None:
                raise ServerRefusesError(
                    f"{self.settings.base_url} does not answer for {self.settings.model}: {fatal.message}"
                )
            if state.status != "completed":
                raise UnansweredError(
                    f"batch {state.id} is {state.status}, {unanswered} requests in it went unanswered; what was "
                    "answered is kept. Start again to ask for the rest, or ask for it with --mode live"
                )

    async def _upload(self, lines: bytes) -> FileObject:
        return await self._call(
            lambda: self.client.files.create(file=("greentexts.jsonl", lines), purpose="batch"),
        )

    async def _download(self, file_id: str) -> bytes:
        return (await self._call(lambda: self.client.files.content(file_id))).content

    def _chunks(self, requests: Sequence[Request]) -> Iterator[list[Request]]:
        """Requests by batch, within its limits and the budget, which is asked anew for each."""
        budget = self.settings.budget_dollars
        chunk: list[Request] = []
        size_bytes, cost = 0, 0.0
        for request in requests:
            more_bytes, more_cost = len(self._line(request)), self.worst_cost(request)
            if chunk and (len(chunk) == self.settings.batch_requests or size_bytes + more_bytes > MAX_FILE_BYTES):
                yield chunk
                chunk, size_bytes, cost = [], 0, 0.0
            if not self.ledger.fits(cost + more_cost, None if budget is None else budget * MICRO):
                break
            chunk.append(request)
            size_bytes, cost = size_bytes + more_bytes, cost + more_cost
        if chunk:
            yield chunk

    def _line(self, request: Request) -> bytes:
        line = {
            "custom_id": request.key,
            "method": "POST",
            "url": ENDPOINT,
            "body": request.body_for(self.answer_format),
        }
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    async def _create(self, batch: OpenBatch, file_id: str) -> Batch:
        """The batch at the server, created once even where the answer to its creation got lost."""

        async def create() -> Batch:
            return await self.client.batches.create(
                input_file_id=file_id,
                endpoint=ENDPOINT,
                completion_window="24h",
                metadata={METADATA_NAME: batch.intent},
            )

        try:
            return await self._call(create, unless=lambda: self._find(batch.intent))
        except ServerRefusesError:
            self.ledger.end_batch(batch)
            raise

    async def _find(self, intent: str) -> Batch | None:
        """The batch of that name, if the server has it. The newest come first, and ours is among the last day's."""

        async def look() -> Batch | None:
            async for batch in self.client.batches.list(limit=100):
                if (batch.metadata or {}).get(METADATA_NAME) == intent:
                    return batch
            return None

        return await self._call(look)

    async def _wait(self, batch: OpenBatch) -> Batch:
        """The batch in its last state; cancelled where it takes longer than the deadline."""
        batch_id = str(batch.batch_id)
        while True:
            state = await self._call(lambda: self.client.batches.retrieve(batch_id))
            if state.status in FINAL_STATES:
                return state
            counts = state.request_counts
            self.on_wait(f"batch {batch_id} {state.status}" + (f" {counts.completed}/{counts.total}" if counts else ""))
            deadline_s = self.settings.batch_deadline_s
            late = deadline_s is not None and time.time() - state.created_at > deadline_s
            if late and state.status != "cancelling" and batch_id not in self._cancelled:
                await self._call(lambda: self.client.batches.cancel(batch_id))
                self._cancelled.add(batch_id)
            await asyncio.sleep(self.settings.batch_poll_s)

    async def _take_answers(self, batch: OpenBatch, state: Batch) -> Failure | None:
        """Takes in a batch's answers; what must end the run, if there is such."""
        fatal: Failure | None = None
        for file_id in (state.output_file_id, state.error_file_id):
            if not file_id:
                continue
            for line in (await self._download(file_id)).splitlines():
                failure = self._take_line(batch, line)
                if failure is not None and failure.verdict is Verdict.FATAL:
                    fatal = fatal or failure
        return fatal

    def _take_line(self, batch: OpenBatch, line: bytes) -> Failure | None:
        """Settles one line of an output or error file. What is no such line, or about a stranger, settles nothing."""
        try:
            entry = orjson.loads(line)
            key, response, error = entry["custom_id"], entry.get("response"), entry.get("error")
            status = int(response["status_code"]) if response else 0
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        if not isinstance(key, str) or key not in batch.keys or key in self.ledger:
            return None
        sent_format = AnswerFormat(batch.answer_format)
        if status == 200:
            outcome = read_body(response.get("body"), sent_format, self.settings.price(Mode.BATCH), batch.keys[key])
        elif status:
            outcome = judge(status, response.get("body"), sent_format, self.settings.api_key_variable)
        else:
            code = str((error or {}).get("code") or "no_response") if isinstance(error, dict | None) else "no_response"
            outcome = Failure(Verdict.AGAIN, code, str(error))
        if not isinstance(outcome, Failure):
            self.ledger.keep(key, outcome, sync=False)
            return None
        self.failures.setdefault(key, Counter())[f"failed_{outcome.name}"] += 1
        if outcome.verdict is Verdict.REFUSED:
            self.ledger.keep(key, refused_answer(outcome, sent_format), sync=False)
        elif outcome.verdict is Verdict.AGAIN_MAYBE_BILLED:
            self.ledger.lose(key)
        elif outcome.verdict is Verdict.WEAKER_FORMAT and sent_format is self.answer_format:
            self.answer_format = weaker(sent_format)
        return outcome

    async def _call(
        self, call: Callable[[], Awaitable[T]], *, unless: Callable[[], Awaitable[T | None]] | None = None
    ) -> T:
        """What a call answers, tried again where that may help; not again where `unless` finds that it was done."""
        failures = 0
        while True:
            headers: Mapping[str, str] = {}
            try:
                async with asyncio.timeout(self.settings.timeout_s):
                    return await call()
            except APIStatusError as error:
                failure = judge(error.status_code, error.body, AnswerFormat.PLAIN, self.settings.api_key_variable)
                headers = error.response.headers
            except (APIConnectionError, TimeoutError) as error:
                failure = Failure(Verdict.AGAIN_MAYBE_BILLED, "connection", f"{error} ({error.__cause__})")
            if failure.verdict not in (Verdict.AGAIN, Verdict.AGAIN_MAYBE_BILLED):
                raise ServerRefusesError(f"{self.settings.base_url} takes no batches from us: {failure.message}")
            failures += 1
            if failures >= self.settings.attempts:
                raise UnansweredError(f"{self.settings.base_url}: {failure.name}: {failure.message}; start again later")
            await asyncio.sleep(max(retry_after_s(headers) or 0.0, backoff_s(failures, self._rng)))
            if unless is not None and (found := await unless()) is not None:
                return found
