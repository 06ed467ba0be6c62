"""Steps are made once, and again when what they are made from has changed."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from training.plan import TrainingPlan
from training.steps import RECORD, StepError, is_done, once

if TYPE_CHECKING:
    from pathlib import Path


def test_a_step_is_made_once_and_anew_when_its_inputs_change(tmp_path: Path) -> None:
    directory, made = tmp_path / "step", []

    def make() -> None:
        made.append(sorted(path.name for path in directory.iterdir()))
        (directory / "file").write_text("x", encoding="utf-8")

    assert not is_done(directory)
    once(directory, {"a": 1}, make)
    once(directory, {"a": 1}, make)
    assert is_done(directory)
    assert made == [[f"{RECORD}.part"]]
    once(directory, {"a": 2}, make)
    assert made[1:] == [[f"{RECORD}.part"]], "what was made from something else is out of the way"
    before = tmp_path / "step.before"
    assert json.loads((before / RECORD).read_text(encoding="utf-8")) == {"a": 1}
    assert (before / "file").exists()
    with pytest.raises(StepError, match="remove it, or name another"):
        once(directory, {"a": 3}, make, keep=True)
    assert (directory / "file").exists()


@pytest.mark.parametrize("everywhere", [False, True])
def test_an_interrupted_step_finds_what_it_wrote(tmp_path: Path, everywhere: bool) -> None:
    directory = tmp_path / "step"

    def interrupted() -> None:
        (directory / "half").write_text("x", encoding="utf-8")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        once(directory, {"a": 1}, interrupted, everywhere=everywhere)
    assert not is_done(directory)
    found = []
    once(directory, {"a": 1}, lambda: found.append((directory / "half").exists()), everywhere=everywhere)
    with pytest.raises(KeyboardInterrupt):
        once(directory, {"a": 2}, interrupted, everywhere=everywhere)
    once(directory, {"a": 3}, lambda: found.append((directory / "half").exists()), everywhere=everywhere)
    assert found == [True, False]
    assert (tmp_path / "step.before" / "half").exists(), "half a step is work as well"


def test_a_step_that_had_only_begun_pushes_out_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "step"

    def interrupted() -> None:
        raise KeyboardInterrupt

    once(directory, {"a": 1}, lambda: (directory / "hours").write_text("x", encoding="utf-8"))
    for a in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            once(directory, {"a": a}, interrupted)
    assert (tmp_path / "step.before" / "hours").exists()


def test_a_field_that_a_later_version_adds_changes_nothing_at_its_default(tmp_path: Path) -> None:
    directory, made = tmp_path / "step", []
    plan = asdict(TrainingPlan(steps=3))
    once(directory, {"plan": plan}, lambda: made.append(1))
    older = {key: value for key, value in plan.items() if key not in ("schedule", "evaluations", "warmup_share")}
    (directory / RECORD).write_text(json.dumps({"plan": older}), encoding="utf-8")
    once(directory, {"plan": plan}, lambda: made.append(2))
    once(directory, {"plan": {**plan, "schedule": "cosine"}}, lambda: made.append(3))
    assert made == [1, 3]


def test_a_record_that_was_cut_off_counts_as_none(tmp_path: Path) -> None:
    directory, made = tmp_path / "step", []
    once(directory, {"a": 1}, lambda: made.append(1))
    (directory / RECORD).write_text('{"a"', encoding="utf-8")
    once(directory, {"a": 1}, lambda: made.append(2))
    assert made == [1, 2]
