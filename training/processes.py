"""Several processes that train one model: who is first, and how the others hear of what it did.

``accelerate launch --multi_gpu`` or ``torchrun`` starts them, on one machine or several (``accelerate launch --cpu``
starts one, whatever it is asked for); started plainly there is one, and all of this costs nothing. Only the first
process reads or writes a run's directory, so machines need not share a disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object, parse_flag_from_env

if TYPE_CHECKING:
    from collections.abc import Callable

Made = TypeVar("Made")


class FirstProcessError(RuntimeError):
    """The first process failed at something that the others waited for; its own message says what it was."""


def join() -> PartialState:
    """This process's place among the others, found when first asked for; ``accelerate`` has one a program.

    Without a GPU, ``accelerate`` would take processes for strangers unless it is told that the CPU is meant, and each
    would train, and write, alone.
    """
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available())


def is_first() -> bool:
    """Whether this process is the one that writes, logs and prints."""
    return bool(join().is_main_process)


def on_first(make: Callable[[], Made]) -> Made:
    """What ``make`` returns in the first process, in all of them; the others wait.

    Every process must call it. What it returns travels pickled. An exception is raised in the first process as it is,
    in the others as FirstProcessError. Others wait for 30 minutes at most (gloo), so this is for short work.
    """
    state = join()
    if state.num_processes == 1:
        return make()
    if state.is_main_process:
        try:
            outcome: list[Any] = [make(), None]
        except BaseException as error:
            # Whatever it is, the others must hear of it, or they wait until they are killed.
            broadcast_object_list([None, f"{type(error).__name__}: {error}"])
            raise
        broadcast_object_list(outcome)
    else:
        outcome = broadcast_object_list([None, None])
        if outcome[1] is not None:
            raise FirstProcessError(f"the first process stopped: {outcome[1]}")
    made: Made = outcome[0]
    return made


def gather(value: Made) -> list[Made]:
    """The value of each process, in their order, in all of them. Every process must call it."""
    join()
    gathered: list[Made] = gather_object([value])
    return gathered


def leave() -> None:
    """Parts from the other processes at the end of a program; a process that simply ends warns of it."""
    join().destroy_process_group()
