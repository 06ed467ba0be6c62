"""Steps that are done once: each in a directory of its own, with a record of what it was made from.

A step whose record still holds is not done again; an interrupted one goes on from what it wrote. Of several processes
that train together the first decides and records; a step is made by all of them or by the first alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import structlog

from training.finetune import Tuning
from training.plan import TrainingPlan
from training.pretrain import ModelShape
from training.processes import on_first

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = structlog.get_logger(__name__)

RECORD = "made-from.json"
SETTINGS: dict[str, Any] = {"plan": TrainingPlan, "tuning": Tuning, "model": ModelShape}
"""Parts of a record that are dataclasses: a field that a later version adds changes nothing at its default."""


class StepError(RuntimeError):
    """A step's directory holds something that must not be thrown away unasked, or a step's input is missing."""


def once(
    directory: Path,
    made_from: dict[str, Any],
    make: Callable[[], object],
    *,
    keep: bool = False,
    everywhere: bool = False,
) -> None:
    """Runs ``make`` unless ``directory`` records that it was made from the same.

    A step that has begun leaves a record too, as ``*.part``: what it wrote is gone on with if that is the same.
    Whatever else is there is set aside, as ``NAME.before`` (of several the last), or with ``keep`` refused.
    ``everywhere``: all processes make it together.
    Raises StepError.
    """
    wanted = json.dumps(made_from, indent=2, sort_keys=True) + "\n"
    if not on_first(lambda: _begin(directory, wanted, keep=keep)):
        return
    if everywhere:
        make()
    else:
        on_first(lambda: _discard(make()))
    on_first(lambda: _finish(directory, wanted))


def is_done(directory: Path) -> bool:
    """Whether a step has been done here, from whatever."""
    return (directory / RECORD).is_file()


def sha256_of_file(path: Path) -> str:
    """A file's hash. Raises StepError when it is missing."""
    if not path.is_file():
        raise StepError(f"{path} does not exist")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _begin(directory: Path, wanted: str, *, keep: bool) -> bool:
    """Whether the step has to be made; its directory is ready for it then."""
    record, started = directory / RECORD, directory / f"{RECORD}.part"
    if _same(record, wanted):
        log.info("already done", step=directory.name)
        return False
    if not _same(started, wanted) and directory.exists():
        if keep and any(directory.iterdir()):
            raise StepError(
                f"{directory} was made from another recipe or other texts; remove it, or name another work directory"
            )
        _set_aside(directory)
    directory.mkdir(parents=True, exist_ok=True)
    started.write_text(wanted, encoding="utf-8")
    log.info("step", step=directory.name)
    return True


def _set_aside(directory: Path) -> None:
    """Hours of training may be in it; a step that had only begun does not push those out."""
    if [path.name for path in directory.iterdir()] == [f"{RECORD}.part"]:
        shutil.rmtree(directory)
        return
    before = directory.with_name(f"{directory.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    directory.rename(before)
    log.warning("made from something else, and set aside", step=directory.name, before=str(before))


def _finish(directory: Path, wanted: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    part = directory / f"{RECORD}.part"
    part.write_text(wanted, encoding="utf-8")
    part.replace(directory / RECORD)


def _same(path: Path, wanted: str) -> bool:
    if not path.is_file():
        return False
    try:
        return _without_defaults(json.loads(path.read_text(encoding="utf-8"))) == _without_defaults(json.loads(wanted))
    except (json.JSONDecodeError, AttributeError):  # cut off when the program was killed
        return False


def _without_defaults(record: dict[str, Any]) -> dict[str, Any]:
    slim = dict(record)
    for name, kind in SETTINGS.items():
        if isinstance(slim.get(name), dict):
            defaults = {field.name: field.default for field in dataclasses.fields(kind)}
            slim[name] = {key: value for key, value in slim[name].items() if defaults.get(key, ...) != value}
    return slim


def _discard(_: object) -> None:
    """What a step returns stays with it: it need not travel to other processes."""
