"""Reads pages on all cores: each in a process of its own kind, within its time, and without taking others with it.

What may happen to a page has a name in `Trouble`; nothing that a picture holds ends a run. Only a missing Tesseract
does.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from data_pipeline.images.picture import PictureLimits, inspect
from data_pipeline.images.refusals import RefusedError
from data_pipeline.ocr.engine import EngineFailedError, EngineTimeoutError, one_thread
from data_pipeline.ocr.page import Reading, read_page

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import FrameType

    from data_pipeline.ocr.ink import Pixels

AHEAD: Final = 3
"""Pages a worker that wait for it, so that none is idle, and a kill loses few."""


class Trouble(StrEnum):
    """Why a page could not be read; beside these there are the reasons of `data_pipeline.images`."""

    TIMEOUT = "timeout"
    ENGINE = "engine_failed"
    CRASHED = "reader_crashed"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Task:
    """A page to read."""

    key: str
    path: Path
    limits: PictureLimits
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a page: a reading, or why there is none."""

    key: str
    reading: Reading | None = None
    reason: str = ""
    detail: str = ""


class PageTimeoutError(Exception):
    """A page took longer than its limit before it came to Tesseract."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_picture(path: Path, limits: PictureLimits) -> Pixels:
    """A picture as (height, width, 3), on white where it is transparent; its size is judged before it is decoded.

    Raises:
        RefusedError: It is no picture, or none that we take.
        OSError: It cannot be read.
    """
    import numpy as np  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    inspect(path, limits)
    with Image.open(path) as image:
        over = image.convert("RGBA") if image.has_transparency_data else None
        if over is not None:
            return np.asarray(Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB"))
        return np.asarray(image.convert("RGB"))


def read_task(task: Task) -> Outcome:
    """Reads one page, here.

    Raises:
        EngineMissingError: Tesseract is not installed.
    """
    began_s = time.monotonic()
    try:
        with _no_longer_than(task.timeout_s):
            rgb = read_picture(task.path, task.limits)
        left_s = task.timeout_s - (time.monotonic() - began_s)
        return Outcome(task.key, read_page(rgb, left_s, limited=_no_longer_than))
    except RefusedError as error:
        return Outcome(task.key, reason=error.reason, detail=error.detail)
    except (PageTimeoutError, EngineTimeoutError):
        return Outcome(task.key, reason=Trouble.TIMEOUT, detail=f"not done after {task.timeout_s:g} s")
    except EngineFailedError as error:
        return Outcome(task.key, reason=Trouble.ENGINE, detail=str(error))
    except MemoryError:
        return Outcome(task.key, reason=Trouble.CRASHED, detail="out of memory")
    except OSError as error:
        return Outcome(task.key, reason=Trouble.UNREADABLE, detail=error.strerror or type(error).__name__)


def read_all(tasks: Iterable[Task], workers: int) -> Iterator[Outcome]:
    """Reads pages side by side, and yields what became of each as it comes.

    Raises:
        EngineMissingError: Tesseract is not installed.
    """
    waiting = iter(tasks)
    while True:
        under_way: dict[Future[Outcome], Task] = {}
        try:
            with _pool(workers) as pool:
                yield from _through(pool, waiting, under_way, workers * AHEAD)
        except BrokenProcessPool:
            # One of these took its process down. Which, each for itself tells.
            for task in under_way.values():
                yield _alone(task)
        else:
            return


def _through(
    pool: ProcessPoolExecutor, waiting: Iterator[Task], under_way: dict[Future[Outcome], Task], most: int
) -> Iterator[Outcome]:
    while True:
        while len(under_way) < most and (task := next(waiting, None)) is not None:
            try:
                under_way[pool.submit(read_task, task)] = task
            except BrokenProcessPool:
                under_way[Future()] = task
                raise
        if not under_way:
            return
        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for future in done:
            outcome = future.result()
            del under_way[future]
            yield outcome


def _alone(task: Task) -> Outcome:
    try:
        with _pool(1) as pool:
            return pool.submit(read_task, task).result()
    except BrokenProcessPool:
        return Outcome(task.key, reason=Trouble.CRASHED, detail="the process that read it ended")


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    # Not forked: threads and locks of the parent are no business of theirs.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    one_thread()
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent has it too, and ends us


def _end_with_parent() -> None:
    """A killed parent tells nobody; its workers would wait for pages for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    """Ends what runs within after a time. Only where signals can be had: in a process's first thread."""

    def too_late(_number: int, _frame: FrameType | None) -> None:
        raise PageTimeoutError

    if seconds <= 0:
        raise PageTimeoutError
    try:
        before: Any = signal.signal(signal.SIGALRM, too_late)
    except (AttributeError, ValueError):  # another system, another thread
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
