"""What a run tells while it trains: ``log.jsonl``, TensorBoard's event files, and a line now and then.

Rows of the log have a step each, in order, also after a run was killed and started again: what was logged after the
state that it resumed from is forgotten and logged anew. Rows with a ``validation_loss`` are evaluations.
"""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

LOG = "log.jsonl"
EVENTS = "tensorboard"
LINE_EVERY_S = 15.0
LEFT_OUT = ("seconds_left", "seconds", "tokens")
"""What the log has and a line does not need."""


class Progress:
    """The records of a run in ``directory``, from after ``step`` on; for one process of the run."""

    def __init__(self, directory: Path, *, step: int, steps: int) -> None:
        self._path = directory / LOG
        self._steps = steps
        self._last_line = time.monotonic()
        self._forget_after(step)
        self._events = _event_writer(directory / EVENTS, step)

    def record(self, row: dict[str, Any]) -> None:
        """Logs the figures of ``row["step"]``; evaluations and, every 15 seconds, other rows are lines too."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._events is not None:
            for name, value in row.items():
                if name != "step":
                    self._events.add_scalar(name, value, row["step"])
        evaluated = "validation_loss" in row
        if evaluated or time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            left = str(timedelta(seconds=row["seconds_left"]))
            shown = {key: value for key, value in row.items() if key not in LEFT_OUT}
            log.info("evaluated" if evaluated else "training", steps=self._steps, time_left=left, **shown)

    def close(self) -> None:
        """Writes out what is still buffered."""
        if self._events is not None:
            self._events.close()

    def _forget_after(self, step: int) -> None:
        if not self._path.exists():
            return
        kept = [line for line in self._path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
        part = self._path.with_name(f"{LOG}.part")
        part.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        part.replace(self._path)


def _step_of(line: str) -> float:
    """The step of a row; a line that was cut off when the program was killed is of no step."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return float("inf")


def _event_writer(directory: Path, step: int) -> Any:
    """PyTorch's SummaryWriter, or None when TensorBoard is not installed: the log has the same figures."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - takes a second, and may be missing
    except ImportError:
        log.info("no event files", reason="tensorboard is not installed", figures=LOG)
        return None
    # TensorBoard leaves out what an earlier, killed start logged from this step on.
    return SummaryWriter(str(directory), purge_step=step + 1, flush_secs=10)
