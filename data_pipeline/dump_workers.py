"""Generators run in processes of their own, their answers as they come.

Bounded: a process waits while nobody takes what it has. An exception in one of them comes out of `in_processes`, and so
does the death of one; the others are stopped then. A process whose parent is gone ends at its next answer.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, TypeVar, cast

from data_pipeline.stage import StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from multiprocessing.process import BaseProcess

T = TypeVar("T")


class WorkerDiedError(StageError):
    """A process was killed, as happens when memory runs out."""


def in_processes(
    generate: Callable[..., Iterable[T]], arguments: Sequence[tuple[Any, ...]], processes: int
) -> Iterator[T]:
    """What `generate(*each)` yields for each tuple of arguments, `processes` of them at a time.

    Answers of one call come in its order; those of several as it happens. Function, arguments and answers are pickled.

    Raises:
        WorkerDiedError: A process died.
        Exception: Whatever `generate` raised.
    """
    context = multiprocessing.get_context("spawn")
    waiting = deque(arguments)
    # A pipe for each: of a process that dies within a word, the pipe ends, and nobody else's.
    running: dict[connection.Connection, BaseProcess] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                ear, mouth = context.Pipe(duplex=False)
                running[ear] = context.Process(target=_work, args=(mouth, generate, waiting.popleft()), daemon=True)
                running[ear].start()
                mouth.close()
            for ready in connection.wait(list(running)):
                ear = cast("connection.Connection", ready)
                kind, answer = _heard(ear, running[ear])
                if kind == "error":
                    raise answer
                if kind == "end":
                    running.pop(ear).join()
                    ear.close()
                else:
                    yield answer
    finally:
        for ear, process in running.items():
            if process.pid is not None:
                process.kill()
                process.join()
            ear.close()


def _heard(ear: connection.Connection, process: BaseProcess) -> tuple[str, Any]:
    try:
        kind, answer = ear.recv()
    except (EOFError, OSError) as error:
        process.join()
        raise WorkerDiedError(
            f"a process reading a file died ({process.exitcode}), perhaps for want of memory: try --workers 1"
        ) from error
    return kind, answer


def _work(mouth: connection.Connection, generate: Callable[..., Iterable[Any]], arguments: tuple[Any, ...]) -> None:
    try:
        for answer in generate(*arguments):
            mouth.send(("answer", answer))
        mouth.send(("end", None))
    except (BrokenPipeError, KeyboardInterrupt):
        return  # nobody listens any more
    except Exception as error:  # noqa: BLE001  # it is raised again where it is waited for
        mouth.send(("error", error))
