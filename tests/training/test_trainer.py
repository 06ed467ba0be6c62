from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.training.conftest import tiny_model
from training.packing import PackedRows, pack
from training.trainer import TrainingPlan, remove_training_state, train

if TYPE_CHECKING:
    from pathlib import Path

PLAN = TrainingPlan(
    steps=12, batch_rows=2, learning_rate=3e-3, warmup_steps=2, cooldown_steps=4, evaluate_every_steps=2,
    checkpoint_every_steps=3, seed=5,
)  # fmt: skip


def rows(count: int, seed: int) -> PackedRows:
    rng = np.random.default_rng(seed)
    # Each token is followed by the next number: easy to learn.
    documents = [[(int(start) + i) % 20 + 1 for i in range(15)] for start in rng.integers(0, 20, count)]
    return pack(documents, 32, fill_id=0)


def losses(directory: Path) -> list[tuple[int, float, float]]:
    lines = (directory / "log.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return [(row["step"], row["training_loss"], row["validation_loss"]) for row in found]


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("stop_after", [4, 8, 9])
def test_a_resumed_run_is_the_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    def model() -> torch.nn.Module:
        made = tiny_model("gpt_neo", 30)
        for module in made.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.1  # so that the state of the random numbers matters
        return made

    whole = model()
    summary = train(whole, rows(20, 0), rows(5, 1), PLAN, tmp_path / "whole")

    from training import trainer

    asked = trainer._Run._indices

    def stop(self: trainer._Run, step: int) -> np.ndarray:
        if step == stop_after:
            raise StoppedError
        return asked(self, step)

    monkeypatch.setattr(trainer._Run, "_indices", stop)
    with pytest.raises(StoppedError):
        train(model(), rows(20, 0), rows(5, 1), PLAN, tmp_path / "halves")
    monkeypatch.undo()
    torch.manual_seed(99)
    second = model()
    resumed = train(second, rows(20, 0), rows(5, 1), PLAN, tmp_path / "halves")

    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    assert resumed.validation_loss == summary.validation_loss
    assert resumed.best_step == summary.best_step
    for name, weight in whole.state_dict().items():
        assert weight.equal(second.state_dict()[name]), name


def test_a_finished_run_that_is_started_again_trains_no_further(tmp_path: Path) -> None:
    plan = replace(PLAN, steps=30, patience_evaluations=1, learning_rate=0.5, warmup_steps=0)
    first = train(tiny_model("gpt_neo", 30), rows(20, 0), rows(5, 1), plan, tmp_path)
    assert first.steps < plan.steps, "the rate is so high that it must have stopped early"
    again = train(tiny_model("gpt_neo", 30), rows(20, 0), rows(5, 1), plan, tmp_path)
    assert again == first


def test_the_model_is_left_with_its_best_weights(tmp_path: Path) -> None:
    model = tiny_model("gpt_neo", 30)
    plan = replace(PLAN, steps=30, patience_evaluations=2, learning_rate=0.3, warmup_steps=0, cooldown_steps=0)
    summary = train(model, rows(20, 0), rows(5, 1), plan, tmp_path)
    assert summary.validation_loss == pytest.approx(min(loss for _, _, loss in losses(tmp_path)), abs=1e-4)
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    assert all(weight.equal(best[name]) for name, weight in model.state_dict().items())


def test_learning_lowers_the_loss_and_counts_tokens(tmp_path: Path) -> None:
    summary = train(tiny_model("gpt2", 30), rows(20, 0), rows(5, 1), replace(PLAN, steps=40), tmp_path)
    first, *_, last = losses(tmp_path)
    assert last[2] < first[2] * 0.8
    assert summary.tokens_per_second > 0


def test_each_epoch_shows_each_row_once_in_another_order() -> None:
    from training import trainer

    run = trainer._Run.__new__(trainer._Run)
    run.plan, run.training = replace(PLAN, batch_rows=4), rows(20, 0)
    count = len(run.training)
    seen = np.concatenate([run._indices(step) for step in range(count)])[: 4 * count]
    epochs = seen[: 3 * count].reshape(3, count)
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs.tolist())
    assert (epochs[0] != epochs[1]).any()


def test_evaluation_counts_each_row_once_whatever_the_batch(tmp_path: Path) -> None:
    found = []
    for batch_rows in (1, 2, 3, 16):
        plan = replace(PLAN, steps=1, batch_rows=batch_rows, learning_rate=0.0, evaluate_every_steps=1)
        directory = tmp_path / str(batch_rows)
        found.append(train(tiny_model("gpt_neo", 30), rows(20, 0), rows(5, 1), plan, directory).validation_loss)
    assert found == pytest.approx([found[0]] * 4, rel=1e-5)


def test_another_plan_does_not_go_on_where_this_one_stopped(tmp_path: Path) -> None:
    train(tiny_model("gpt_neo", 30), rows(20, 0), rows(5, 1), PLAN, tmp_path)
    with pytest.raises(ValueError, match="seed=5"):
        train(tiny_model("gpt_neo", 30), rows(20, 0), rows(5, 1), replace(PLAN, seed=6), tmp_path)
    remove_training_state(tmp_path)
    train(tiny_model("gpt_neo", 30), rows(20, 0), rows(5, 1), replace(PLAN, seed=6), tmp_path)


def test_the_rate_warms_up_stays_and_cools_down() -> None:
    plan = TrainingPlan(steps=100, warmup_steps=10, cooldown_steps=20)
    rates = [plan.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:80] == [1.0] * 71
    assert all(later < earlier for earlier, later in pairwise(rates[80:]))
    assert 0 < rates[-1] < 0.05


@pytest.mark.parametrize("field", ["steps", "batch_rows", "learning_rate", "warmup_steps", "patience_evaluations"])
def test_a_plan_that_makes_no_sense_names_its_field(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        TrainingPlan(**{"steps": 1, field: -1})


def test_nothing_to_train_on_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one packed row"):
        train(tiny_model("gpt_neo", 30), pack([], 32, fill_id=0), rows(5, 1), PLAN, tmp_path)
