"""The files that a run resumes from: its last state, and its best weights.

A file is whole or not there, whenever the program is killed. Knows nothing of how a run trains.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 2
STATE, BEST = "state.pt", "best.pt"


class TrainingStateError(ValueError):
    """What a run left cannot be gone on with; the message says why, and what to do."""


def write_atomically(content: dict[str, Any], path: Path) -> None:
    """Saves tensors and plain values so that ``path`` holds either what it held or all of this."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read_state(directory: Path) -> dict[str, Any] | None:
    """The last state, on the CPU; None when there is none. Makes the directory for the next one.

    Raises TrainingStateError when it cannot be read.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / STATE
    if not path.exists():
        return None
    state = read_weights(path)
    if state.get("version") != VERSION:
        raise TrainingStateError(f"{path} was written by another version of this program; remove it to start anew")
    return state


def read_weights(path: Path) -> dict[str, Any]:
    """Tensors and plain values of a file that ``write_atomically`` wrote, on the CPU; runs no code of it."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise TrainingStateError(f"{path} cannot be read ({error}); remove {STATE} beside it to start anew") from error
    return content


def require_same(saved: dict[str, Any], current: dict[str, Any], path: Path) -> None:
    """Raises TrainingStateError naming the first thing in which a run differs from the one that left ``path``."""
    for name, value in current.items():
        if saved.get(name) != value:
            raise TrainingStateError(
                f"{path} was written with {name}={saved.get(name)}, this run has {value}; "
                f"train into another directory, or remove it to start anew"
            )


def random_state() -> dict[str, torch.Tensor]:
    """State of PyTorch's random numbers in this process (they drop out)."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, torch.Tensor]) -> None:
    """Sets what ``random_state`` returned."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def remove_training_state(directory: Path) -> None:
    """Deletes what a finished run no longer needs (optimizer state and the best weights beside the checkpoint)."""
    for name in (STATE, BEST):
        for path in (directory / name, directory / f"{name}.part"):
            path.unlink(missing_ok=True)
