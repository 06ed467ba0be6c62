"""Answers that were paid for, and what they cost: kept on disk before anybody uses them, never paid for twice.

One file, `answers.jsonl`, in a folder of its own, so that throwing away a stage's output does not throw away money:

    {"ask": KEY, "reserved": $}        a request is about to be sent, and may cost so much
    {"answer": KEY, "cost": $, ...}    its answer, on the disk before `keep` returns
    {"free": KEY}                      it failed in a way that costs nothing
    {"lost": KEY, "cost": $}           it failed, and nobody knows whether it was billed: counted in full
    {"batch": INTENT, "keys", ...}     requests are about to go out as a batch
    {"batch_named": INTENT, ...}       the server has it, under that `batch_id`
    {"batch_done": INTENT}             its answers are in

What is spent is the answers' cost and the lost; what was sent when the process was killed is lost too, because nobody
can know. So `spent + reserved` never passes a budget that `fits` was asked about, over all runs. Money is in
microdollars.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from data_pipeline.errors import JournalError
from data_pipeline.journal import Journal
from data_pipeline.synthesis.errors import AnswersError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

FILE: Final = "answers.jsonl"
LOCK: Final = ".lock"
MICRO: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said to a request, and what it cost."""

    content: str
    finish_reason: str
    """OpenAI's: `stop`, `length`, `content_filter`; empty where the server gave none."""
    refusal: str
    model: str
    """What the server says it is."""
    answer_format: str
    input_tokens: int
    output_tokens: int
    cost_microdollars: float
    usage_known: bool = True
    """Whether the server said how many tokens; otherwise they are 0, and the cost is an upper bound."""
    stamp: str = ""
    """The server's id for the answer."""


@dataclass(slots=True)
class OpenBatch:
    """A batch that may be at the server."""

    intent: str
    """Our own name for it, which the server is told as metadata."""
    keys: dict[str, float]
    """Reserved microdollars by request key."""
    answer_format: str
    batch_id: str | None = None
    """The server's; None while nobody knows whether it got there."""


@dataclass(slots=True)
class Ledger:
    """The answers folder, to be used in a `with`. One process at a time; not thread-safe."""

    folder: Path
    spent: float = 0.0
    """Microdollars: of answers, and of requests that may have been billed."""
    reserved: float = 0.0
    """Microdollars: of requests in flight."""
    lost_before: int = 0
    """Requests that were in flight when an earlier run was killed: they may have been billed."""
    _offsets: dict[str, int] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)
    _batches: dict[str, OpenBatch] = field(default_factory=dict)
    _journal: Journal | None = None
    _lock: int = -1

    def __enter__(self) -> Self:
        """Opens the folder. Raises AnswersError, OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise AnswersError(
                    f"another process uses the answers in {self.folder}: wait for it, stop it, or set another folder"
                ) from error
            self._journal = Journal(self.folder / FILE)
            self._replay(self._journal)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the folder."""
        if self._journal is not None:
            self._journal.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def __contains__(self, key: str) -> bool:
        return key in self._offsets

    def answer(self, key: str) -> Answer:
        """The answer to a request. Raises KeyError."""
        entry = next(iter(self._open().read([self._offsets[key]])))
        return Answer(**entry["said"], cost_microdollars=entry["cost"])

    def fits(self, microdollars: float, budget_microdollars: float | None) -> bool:
        """Whether so much more can be in flight without passing a budget."""
        # A millionth of a cent forgives what adding floats up loses.
        return budget_microdollars is None or self.spent + self.reserved + microdollars <= budget_microdollars + 0.01

    def ask(self, key: str, microdollars: float) -> None:
        """A request is about to be sent, and may cost so much. Raises OSError."""
        if key in self._asked or key in self:
            raise ValueError(f"{key} is in flight or answered already")
        self._open().append({"ask": key, "reserved": microdollars})
        self._asked[key] = microdollars
        self.reserved += microdollars

    def keep(self, key: str, answer: Answer, *, sync: bool = True) -> None:
        """The answer to a request that was asked, on the disk when this, or `sync`, returns. Raises OSError."""
        said = {
            name: getattr(answer, name)
            for name in Answer.__dataclass_fields__
            if name != "cost_microdollars"
        }  # fmt: skip
        journal = self._open()
        offset = journal.append({"answer": key, "cost": answer.cost_microdollars, "said": said})
        if sync:
            journal.sync()
        self._settle(key, answer.cost_microdollars)
        self._offsets[key] = offset

    def sync(self) -> None:
        """All that was kept is on the disk when this returns. Raises OSError."""
        self._open().sync()

    def free(self, key: str) -> None:
        """A request failed in a way that costs nothing. Raises OSError."""
        self._open().append({"free": key})
        self._settle(key, 0.0)

    def lose(self, key: str) -> None:
        """A request failed, and may have been billed: what was reserved for it counts as spent. Raises OSError."""
        cost = self._reserved_for(key)
        self._open().append({"lost": key, "cost": cost})
        self._settle(key, cost)

    @property
    def batches(self) -> Sequence[OpenBatch]:
        """Batches that were begun and whose answers are not all in."""
        return tuple(self._batches.values())

    def begin_batch(self, intent: str, keys: dict[str, float], answer_format: str) -> OpenBatch:
        """Requests are about to go out as a batch; on the disk when this returns. Raises OSError."""
        journal = self._open()
        journal.append({"batch": intent, "keys": keys, "answer_format": answer_format})
        journal.sync()
        batch = self._batches[intent] = OpenBatch(intent, keys, answer_format)
        self.reserved += sum(keys.values())
        return batch

    def name_batch(self, batch: OpenBatch, batch_id: str) -> None:
        """The server has it, under that name; on the disk when this returns. Raises OSError."""
        journal = self._open()
        journal.append({"batch_named": batch.intent, "batch_id": batch_id})
        journal.sync()
        batch.batch_id = batch_id

    def end_batch(self, batch: OpenBatch) -> None:
        """All there is of it is in; what is unsettled cost nothing. Raises OSError."""
        self._open().append({"batch_done": batch.intent})
        self._end_batch(batch)

    def _open(self) -> Journal:
        if self._journal is None:
            raise ValueError("the answers are used in a `with`")
        return self._journal

    def _reserved_for(self, key: str) -> float:
        if key in self._asked:
            return self._asked[key]
        return next((batch.keys[key] for batch in self._batches.values() if key in batch.keys), 0.0)

    def _settle(self, key: str, cost: float) -> None:
        self.reserved -= self._reserved_for(key)
        self.spent += cost
        self._asked.pop(key, None)
        for batch in self._batches.values():
            batch.keys.pop(key, None)
        if not self._asked and not self._batches:
            self.reserved = 0.0  # what adding and subtracting left over

    def _end_batch(self, batch: OpenBatch) -> None:
        for key in tuple(batch.keys):
            self._settle(key, 0.0)
        self._batches.pop(batch.intent, None)

    def _replay(self, journal: Journal) -> None:
        """Takes in what earlier runs wrote."""
        whole = 0
        try:
            for offset, entry in journal.replay():
                self._take(offset, entry)
                whole += 1
        except (JournalError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise AnswersError(
                f"{journal.path} is damaged at line {whole + 1}: move the lines from there on into another file "
                "(answers among them are paid for), or set another folder for the answers"
            ) from error
        self.lost_before = len(self._asked)
        for key in tuple(self._asked):
            self.lose(key)

    def _take(self, offset: int, entry: Any) -> None:
        if "answer" in entry:
            Answer(**entry["said"], cost_microdollars=entry["cost"])
            self._settle(entry["answer"], float(entry["cost"]))
            self._offsets[entry["answer"]] = offset
        elif "ask" in entry:
            self._asked[entry["ask"]] = float(entry["reserved"])
            self.reserved += self._asked[entry["ask"]]
        elif "free" in entry:
            self._settle(entry["free"], 0.0)
        elif "lost" in entry:
            self._settle(entry["lost"], float(entry["cost"]))
        elif "batch" in entry:
            keys = {str(key): float(reserved) for key, reserved in entry["keys"].items()}
            self._batches[entry["batch"]] = OpenBatch(entry["batch"], keys, entry["answer_format"])
            self.reserved += sum(keys.values())
        elif "batch_named" in entry:
            self._batches[entry["batch_named"]].batch_id = entry["batch_id"]
        else:
            self._end_batch(self._batches[entry["batch_done"]])
