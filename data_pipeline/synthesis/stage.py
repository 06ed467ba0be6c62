"""The stage `synthesis`: greentexts from a language model, of three kinds, over themes.

An item is a kind, a theme and a sample number; its request is made of the prompts and the seed, its answer comes from
the ledger or, where it is not there yet, from the server. So a run that was killed goes on, and one that is begun anew
(`--restart`, or more samples in another folder) pays only for what was never answered.

Raises `SynthesisError` and the other `StageError`s; after each of them the same command goes on.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from data_pipeline.results import sha256_of
from data_pipeline.rows import Source, TextRow
from data_pipeline.stage import Drop, StageRun, progress_bar
from data_pipeline.synthesis.errors import BudgetSpentError, SynthesisError, UnansweredError
from data_pipeline.synthesis.ledger import MICRO, Ledger
from data_pipeline.synthesis.plan import Item, Request, items, make_request
from data_pipeline.synthesis.prompts import PromptBook, PromptError, read_examples, read_prompts
from data_pipeline.synthesis.reading import Reading, read_answer
from data_pipeline.synthesis.settings import OPENAI_URL, Mode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from openai import AsyncOpenAI
    from tqdm import tqdm

    from data_pipeline.results import Summary
    from data_pipeline.synthesis.ledger import Answer
    from data_pipeline.synthesis.settings import SynthesisSettings

STAGE: Final = "synthesis"
CONNECT_TIMEOUT_S: Final = 15.0
JUDGEMENT_VERSION: Final = 1
"""Of how prompts are put together and answers are read."""


def run(inputs: Sequence[Path], folder: Path, settings: SynthesisSettings, *, restart: bool = False) -> Summary:
    """Asks for all greentexts that the settings name. `inputs`, if any, hold example greentexts for the prompts.

    Raises:
        StageError: It cannot go on; see `data_pipeline.synthesis.errors`.
        OSError: A folder cannot be written.
    """
    book = replace(read_prompts(settings.prompts), examples=read_examples(inputs))
    if unknown := [theme for theme in settings.themes if theme not in book.themes]:
        raise PromptError(f"there is no theme {', '.join(unknown)}; themes are {', '.join(book.themes)}")
    made_from = {
        "judgement": JUDGEMENT_VERSION,
        "prompts": book.version,
        "words": book.words_version,
        "examples": [sha256_of(path) for path in inputs],
        **settings.of_the_result(),
    }
    here = folder.resolve()
    answers = (settings.answers or here.with_name(f"{here.name}.answers")).resolve()
    if answers.is_relative_to(here):
        raise SynthesisError(f"{answers} is within {here}, which --restart empties: set another folder for the answers")
    with StageRun(folder, STAGE, made_from, restart=restart) as stage_run:
        if stage_run.summary is not None:
            return stage_run.summary
        plan = tuple(items(settings, settings.themes or tuple(book.themes)))
        with (
            Ledger(answers) as ledger,
            progress_bar(STAGE, len(plan), "request", done=stage_run.done) as bar,
        ):
            work = _Work(settings, book, plan, stage_run, ledger, bar)
            if ledger.lost_before:
                bar.write(
                    f"{ledger.lost_before} requests were in flight when an earlier run was killed: they may have been "
                    "billed, count as spent, and are asked again",
                    file=sys.stderr,
                )
            asyncio.run(work.do())
        return stage_run.finish()


@dataclass(slots=True)
class _Work:
    """One run's items on their way into the journal."""

    settings: SynthesisSettings
    book: PromptBook
    plan: tuple[Item, ...]
    stage_run: StageRun
    ledger: Ledger
    bar: tqdm[Any]
    failures: dict[str, Counter[str]] = field(default_factory=dict)
    """By request, what went wrong before it was answered."""
    waiting_for: str = ""

    async def do(self) -> None:
        """Answers and records every item."""
        # What is in the ledger costs nothing and needs no server.
        open_items = [item for item in self._unrecorded() if not self._record_from_ledger(item)]
        if not open_items and not self.ledger.batches:
            return
        async with _client(self.settings) as client:
            try:
                if self.ledger.batches or self.settings.mode is Mode.BATCH:
                    await self._by_batch(client, open_items)
                    open_items = [item for item in open_items if not self._record_from_ledger(item)]
                if self.settings.mode is Mode.LIVE:
                    await self._live(client, open_items)
            except BudgetSpentError:
                if not self.settings.finish_at_budget:
                    raise
                for item in self._unrecorded():
                    self._record_over_budget(item)

    async def _live(self, client: AsyncOpenAI, open_items: list[Item]) -> None:
        from data_pipeline.synthesis.live import Asker  # noqa: PLC0415

        asker = Asker(self.settings, client, self.ledger)
        asker.on_change = lambda: self._show(f"{asker.in_flight} in flight")
        waiting = iter(open_items)
        begun: list[Item] = []
        unanswered: list[UnansweredError] = []

        async def worker() -> None:
            for item in waiting:
                begun.append(item)
                if asker.server_is_away:
                    return
                try:
                    while not self._record_from_ledger(item):
                        request = self._next_request(item)
                        await asker.ask(request, self.failures.setdefault(request.key, Counter()))
                except UnansweredError as error:
                    unanswered.append(error)

        workers = [asyncio.create_task(worker()) for _ in range(min(self.settings.concurrency, len(open_items)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()
            if asker.in_flight and asyncio.current_task().cancelling():  # type: ignore[union-attr]
                self.bar.write(
                    f"waiting for {asker.in_flight} requests in flight, which cost; interrupt again to leave them",
                    file=sys.stderr,
                )
            await asyncio.gather(*workers, return_exceptions=True)
            await asker.drain()
            for item in begun:
                self._record_from_ledger(item)
        if unanswered:
            left = sum(1 for _ in self._unrecorded())
            raise UnansweredError(
                f"{left} requests went without an answer, the last after failing {unanswered[-1]}. "
                "All other answers are kept: start again to go on"
            )

    async def _by_batch(self, client: AsyncOpenAI, open_items: list[Item]) -> None:
        from data_pipeline.synthesis.batches import Batcher  # noqa: PLC0415
        from data_pipeline.synthesis.live import budget_message  # noqa: PLC0415

        batcher = Batcher(self.settings, client, self.ledger, self.failures, on_wait=self._show_waiting)
        tries: Counter[str] = Counter()
        try:
            await batcher.collect()
            while self.settings.mode is Mode.BATCH:
                wanted = [self._next_request(item) for item in open_items if not self._record_from_ledger(item)]
                if not wanted:
                    return
                requests = [request for request in wanted if tries[request.key] < self.settings.attempts]
                if not requests:
                    raise UnansweredError(
                        f"{len(wanted)} requests went without an answer in {self.settings.attempts} batches. "
                        "All other answers are kept: start again to go on"
                    )
                sent = await batcher.send(requests)
                if not sent:
                    cost = batcher.worst_cost(requests[0])
                    raise BudgetSpentError(budget_message(self.ledger, self.settings.budget_dollars or 0.0, cost))
                tries.update(request.key for request in requests[:sent])
                await batcher.collect()
        finally:
            self.ledger.sync()
            for item in self._unrecorded():
                self._record_from_ledger(item)

    def _unrecorded(self) -> Iterator[Item]:
        return (item for item in self.plan if not self.stage_run.is_done(item.key))

    def _requests(self, item: Item) -> Iterator[Request]:
        """An item's request, and the same asked anew, as often as may be."""
        return (make_request(item, ask, self.settings, self.book) for ask in range(1 + self.settings.extra_asks))

    def _next_request(self, item: Item) -> Request:
        """What is to be asked next for an item that is not settled."""
        return next(request for request in self._requests(item) if request.key not in self.ledger)

    def _record_from_ledger(self, item: Item) -> bool:
        """Records an item if its answer is there; whether it is recorded."""
        if self.stage_run.is_done(item.key):
            return True
        asked: list[tuple[Request, Answer, Reading]] = []
        for request in self._requests(item):
            if request.key not in self.ledger:
                return False
            answer = self.ledger.answer(request.key)
            reading = read_answer(answer.content, complete=answer.finish_reason != "length")
            asked.append((request, answer, reading))
            if reading.texts:
                break
        self._record(item, asked)
        return True

    def _record(self, item: Item, asked: list[tuple[Request, Answer, Reading]]) -> None:
        kept, dropped = [], []
        counted: Counter[str] = Counter()
        for request, answer, reading in asked:
            place = {"kind": item.kind, "theme": item.theme, "sample": item.sample, "key": request.key}
            origin = f"{answer.model or self.settings.model}, prompts {self.book.version}"
            kept += [
                TextRow(
                    id=f"{Source.SYNTHETIC}:{request.key[:20]}-{number}",
                    text=text,
                    source=Source.SYNTHETIC,
                    kind=item.kind,
                    theme=item.theme,
                    origin=origin,
                )
                for number, text in enumerate(reading.texts)
            ]
            dropped += [Drop(reason, {**place, "raw": raw}) for reason, raw in reading.rejected]
            if not reading.texts:
                reason, detail = _why_nothing(answer)
                dropped.append(Drop(reason, {**place, "raw": answer.content}, detail))
            counted.update(self.failures.pop(request.key, {}))
            counted["answers"] += 1
            counted["input_tokens"] += answer.input_tokens
            counted["output_tokens"] += answer.output_tokens
            counted["cost_microdollars"] += round(answer.cost_microdollars)
            counted["answers_of_unknown_length"] += not answer.usage_known
            counted["answers_cut_off"] += answer.finish_reason == "length"
            counted.update({f"repaired_{name}": count for name, count in reading.repairs.items()})
        self.stage_run.record(item.position, item.key, kept=kept, dropped=dropped, counted=+counted)
        self.bar.update()

    def _record_over_budget(self, item: Item) -> None:
        row = {"kind": item.kind, "theme": item.theme, "sample": item.sample}
        self.stage_run.record(item.position, item.key, dropped=[Drop("over_budget", row)])
        self.bar.update()

    def _show_waiting(self, what: str) -> None:
        """As `_show`, and at once: nothing else happens while a batch is waited for. Once for each state."""
        if what != self.waiting_for:
            self.waiting_for = what
            self._show(what)
            self.bar.refresh()

    def _show(self, what: str) -> None:
        money = f"${self.ledger.spent / MICRO:,.4f}" if self.settings.prices else ""
        if self.settings.budget_dollars is not None:
            money += f" of ${self.settings.budget_dollars:,.2f}"
        self.bar.set_postfix_str(", ".join(part for part in (money, what) if part), refresh=False)


def _why_nothing(answer: Answer) -> tuple[str, str]:
    """Reason and detail where an answer holds no greentext."""
    if answer.refusal or answer.finish_reason == "content_filter":
        return "refused", answer.refusal
    if not answer.content.strip():
        return "empty_answer", answer.finish_reason
    return "malformed", answer.finish_reason


@asynccontextmanager
async def _client(settings: SynthesisSettings) -> AsyncIterator[AsyncOpenAI]:
    """A client with the key from the environment, and no retries of its own. Raises SynthesisError."""
    # It takes a second to import, which a finished run need not wait for.
    from openai import AsyncOpenAI, OpenAIError, Timeout  # noqa: PLC0415

    key = os.environ.get(settings.api_key_variable, "").strip()
    if not key and settings.base_url.rstrip("/") == OPENAI_URL:
        raise SynthesisError(
            f"the environment variable {settings.api_key_variable} holds no API key: "
            f"export {settings.api_key_variable}=..., or name a server that needs none with --base-url"
        )
    try:
        client = AsyncOpenAI(
            api_key=key or "none",
            base_url=settings.base_url,
            max_retries=0,
            timeout=Timeout(settings.timeout_s, connect=min(settings.timeout_s, CONNECT_TIMEOUT_S)),
        )
    except OpenAIError as error:
        raise SynthesisError(f"no client for {settings.base_url}: {error}") from error
    async with client:
        yield client
