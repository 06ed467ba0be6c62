"""Asking a server, many requests at a time: within its limits, within the budget, and again when it fails.

An answer is in the ledger before `ask` returns. What is in flight when the run is stopped is waited for: it costs.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from openai import APIConnectionError, APIStatusError, AsyncOpenAI

from data_pipeline.synthesis.errors import BudgetSpentError, ServerRefusesError, UnansweredError
from data_pipeline.synthesis.ledger import MICRO
from data_pipeline.synthesis.pace import Pace, backoff_s, retry_after_s
from data_pipeline.synthesis.protocol import Failure, Verdict, judge, read_body, refused_answer, weaker
from data_pipeline.synthesis.settings import Mode

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping

    from data_pipeline.synthesis.ledger import Answer, Ledger
    from data_pipeline.synthesis.plan import Request
    from data_pipeline.synthesis.settings import AnswerFormat, SynthesisSettings

BYTES_PER_TOKEN = 3
"""For the limit on tokens, which need not be kept to the token; English has about four."""
GIVE_UP_AFTER = 5
"""So many requests in a row that fail as often as they may, and the server is taken to be away."""


@dataclass(slots=True)
class Asker:
    """Sends requests; made within an event loop, to be used in one `async with` of its client."""

    settings: SynthesisSettings
    client: AsyncOpenAI
    ledger: Ledger
    on_change: Callable[[], None] = lambda: None
    """Called whenever the costs have changed."""
    pace: Pace = field(init=False)
    answer_format: AnswerFormat = field(init=False)
    """What is asked for by now."""
    _sending: set[asyncio.Task[tuple[Answer | Failure, Mapping[str, str]]]] = field(default_factory=set)
    _settled: asyncio.Condition = field(default_factory=asyncio.Condition)
    _disk: asyncio.Lock = field(default_factory=asyncio.Lock)
    _kept: int = 0
    _synced: int = 0
    """How many of the kept answers are on the disk."""
    _rng: random.Random = field(default_factory=random.Random)
    _given_up: int = 0

    def __post_init__(self) -> None:
        self.pace = Pace(self.settings.requests_per_minute, self.settings.tokens_per_minute)
        self.answer_format = self.settings.answer_format

    def worst_cost(self, request: Request) -> float:
        """The most that a request can cost, in microdollars."""
        price = self.settings.price(Mode.LIVE)
        return 0.0 if price is None else price.microdollars(request.max_input_tokens, request.max_output_tokens)

    async def ask(self, request: Request, counted: Counter[str]) -> None:
        """Gets the answer to a request into the ledger. What went wrong on the way is added to `counted`.

        Raises:
            BudgetSpentError: It could pass the budget.
            ServerRefusesError: No request can be answered.
            UnansweredError: It failed as often as it may.
        """
        failures = 0
        while True:
            sent_format = self.answer_format
            outcome, headers = await self._once(request, sent_format)
            if not isinstance(outcome, Failure):
                self._given_up = 0
                self.pace.heed(headers)
                return
            counted[f"failed_{outcome.name}"] += 1
            if outcome.verdict is Verdict.AGAIN_MAYBE_BILLED:
                counted["perhaps_billed_microdollars"] += round(self.worst_cost(request))
            if outcome.verdict is Verdict.FATAL:
                raise ServerRefusesError(
                    f"{self.settings.base_url} does not answer for {self.settings.model}: {outcome.message}"
                )
            if outcome.verdict is Verdict.REFUSED:
                return
            if outcome.verdict is Verdict.WEAKER_FORMAT:
                if sent_format is self.answer_format:
                    self.answer_format = weaker(sent_format)
                continue
            failures += 1
            if failures == self.settings.attempts:
                self._given_up += 1
                raise UnansweredError(f"{failures} times: {outcome.name}: {outcome.message}")
            await self._rest(failures, outcome, headers)

    @property
    def in_flight(self) -> int:
        """Requests sent and not answered yet."""
        return len(self._sending)

    @property
    def server_is_away(self) -> bool:
        """Whether trying further requests is of no use."""
        return self._given_up >= GIVE_UP_AFTER

    async def drain(self) -> None:
        """Waits for what is in flight: it is paid for."""
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _once(self, request: Request, answer_format: AnswerFormat) -> tuple[Answer | Failure, Mapping[str, str]]:
        """Sends a request once and settles what it cost."""
        await self.pace.wait(request.max_input_tokens // BYTES_PER_TOKEN + request.max_output_tokens)
        await self._reserve(request.key, self.worst_cost(request))
        # A task of its own: who waits for it may be stopped, but the answer is paid for and goes into the ledger.
        task = asyncio.create_task(self._send_and_settle(request, answer_format))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return await asyncio.shield(task)

    async def _send_and_settle(
        self, request: Request, answer_format: AnswerFormat
    ) -> tuple[Answer | Failure, Mapping[str, str]]:
        outcome, headers = await self._send(request, answer_format)
        if not isinstance(outcome, Failure):
            await self._keep(request.key, outcome)
        elif outcome.verdict is Verdict.REFUSED:
            await self._keep(request.key, refused_answer(outcome, answer_format))
        elif outcome.verdict is Verdict.AGAIN_MAYBE_BILLED:
            self.ledger.lose(request.key)
        else:
            self.ledger.free(request.key)
        async with self._settled:
            self._settled.notify_all()
        self.on_change()
        return outcome, headers

    async def _keep(self, key: str, answer: Answer) -> None:
        """The answer is on the disk when this returns. Disks stall: the loop goes on, and one wait serves many."""
        self.ledger.keep(key, answer, sync=False)
        self._kept += 1
        mine = self._kept
        async with self._disk:
            if self._synced < mine:
                written = self._kept
                await asyncio.to_thread(self.ledger.sync)
                self._synced = written

    async def _reserve(self, key: str, cost: float) -> None:
        """Waits until so much can be in flight within the budget: what is in flight mostly costs less than it may."""
        budget = self.settings.budget_dollars
        async with self._settled:
            while budget is not None and not self.ledger.fits(cost, budget * MICRO):
                if self.ledger.reserved == 0:
                    raise BudgetSpentError(budget_message(self.ledger, budget, cost))
                await self._settled.wait()
            self.ledger.ask(key, cost)

    async def _send(self, request: Request, answer_format: AnswerFormat) -> tuple[Answer | Failure, Mapping[str, str]]:
        body = cast("Any", request.body_for(answer_format))
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                response = await self.client.chat.completions.with_raw_response.create(
                    **body, extra_headers={"X-Client-Request-Id": request.key}
                )
                content = response.http_response.content
        except APIStatusError as error:
            failure = judge(error.status_code, error.body, answer_format, self.settings.api_key_variable)
            return failure, error.response.headers
        except TimeoutError:
            return Failure(Verdict.AGAIN_MAYBE_BILLED, "timeout", f"no answer in {self.settings.timeout_s:g} s"), {}
        except APIConnectionError as error:
            cause = error.__cause__
            name = "connection" if cause is None else type(cause).__name__
            unsent = name in ("ConnectError", "ConnectTimeout", "PoolTimeout")
            verdict = Verdict.AGAIN if unsent else Verdict.AGAIN_MAYBE_BILLED
            what = "unreachable" if unsent else "timeout" if name.endswith("Timeout") else "cut_connection"
            return Failure(verdict, what, f"{error} ({cause or name})"), {}
        answer = read_body(content, answer_format, self.settings.price(Mode.LIVE), self.worst_cost(request))
        return answer, response.headers

    async def _rest(self, failures: int, outcome: Failure, headers: Mapping[str, str]) -> None:
        wanted_s = retry_after_s(headers)
        if wanted_s is not None and wanted_s > self.settings.longest_wait_s:
            raise ServerRefusesError(
                f"{self.settings.base_url} wants a pause of {wanted_s:,.0f} s ({outcome.message}): "
                "start again by then, or raise --longest-wait-s"
            )
        if wanted_s is not None and outcome.name in ("http_429", "http_503"):
            self.pace.pause(wanted_s)  # a limit holds for all requests
        await asyncio.sleep(max(wanted_s or 0.0, backoff_s(failures, self._rng)))


def budget_message(ledger: Ledger, budget_dollars: float, cost: float) -> str:
    """For people, why the budget ends the run."""
    return (
        f"the budget of ${budget_dollars:,.4f} is spent: ${ledger.spent / MICRO:,.4f} so far, and the next request "
        f"could cost ${cost / MICRO:,.4f}; answers are kept. Raise --budget-dollars to go on, or use what there is "
        "with --finish-at-budget"
    )
