"""More people than a service has room for."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, Final, Self

from loadtests.load.wire import LostError, Wire

if TYPE_CHECKING:
    from types import TracebackType

LOOK_UP_S: Final = 0.1
"""How often who waits for an answer looks whether it is time to go."""


@dataclass(slots=True)
class Crowd:
    """Threads that ask for texts again and again while the context lasts; then all leave, with or without an answer.

    Who is sent away comes back after `pause_s`.
    """

    url: str
    people: int
    body: dict[str, Any]
    pause_s: float = 0.25
    statuses: Counter[int | str] = field(default_factory=Counter)
    """How often each status was answered, and `lost` for no answer."""
    _go: Event = field(default_factory=Event)
    _lock: Lock = field(default_factory=Lock)
    _threads: list[Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [Thread(target=self._ask_on) for _ in range(self.people)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._go.set()
        for thread in self._threads:
            thread.join()

    def _ask_on(self) -> None:
        with closing(Wire.to(self.url)) as wire:
            while not self._go.is_set():
                status = self._ask(wire)
                if status is None:
                    return
                with self._lock:
                    self.statuses[status] += 1
                if status != 200:
                    self._go.wait(self.pause_s)

    def _ask(self, wire: Wire) -> int | str | None:
        """What was answered; None for who left before."""
        try:
            wire.send(wire.request_bytes("POST", "/generate", self.body))
            while not wire.has_answer(LOOK_UP_S):
                if self._go.is_set():
                    return None
            return wire.read().status
        except (LostError, OSError, ValueError):
            wire.close()
            return "lost"
