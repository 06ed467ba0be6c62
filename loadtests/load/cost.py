"""What programs cost while they are under load: processor time and memory, of all their processes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Self

import psutil

MIB = 1024 * 1024


def tree(pid: int) -> list[psutil.Process]:
    """A process and what it has started; nothing where it is gone."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_s(pid: int) -> float:
    """Processor time so far, of all processes that still run."""
    total = 0.0
    for process in tree(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def memory_mib(pid: int) -> float:
    """Memory that all processes have resident, what they share counted once (PSS)."""
    total = 0
    for process in tree(pid):
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / MIB


@dataclass(slots=True)
class Watch:
    """Memory of a program now and then, from a thread, while the context lasts."""

    pid: int
    every_s: float = 5.0
    memory_mib: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def _run(self) -> None:
        while not self._stop.wait(self.every_s):
            self.memory_mib.append(round(memory_mib(self.pid), 1))

    def __enter__(self) -> Self:
        self.memory_mib.append(round(memory_mib(self.pid), 1))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.memory_mib.append(round(memory_mib(self.pid), 1))
