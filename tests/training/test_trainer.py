from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from structlog.testing import capture_logs

from tests.training.conftest import tiny_model
from tests.training.counting import PLAN, VOCAB_SIZE, counting_rows, log_of, losses, model_with, run, tiny_llama
from training import trainer
from training.packed_loss import precision_on
from training.packing import IGNORED, PackedRows, pack
from training.trainer import TrainingDivergedError, TrainingPlan, remove_training_state, train
from training.training_state import TrainingStateError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


class StoppedError(Exception):
    pass


def run_until(step: int, monkeypatch: pytest.MonkeyPatch, directory: Path, dropout: float, **plan: object) -> None:
    asked = trainer.rows_of_step

    def stop(at: int, **kwargs: int) -> np.ndarray:
        if at == step:
            raise StoppedError
        return asked(at, **kwargs)

    monkeypatch.setattr(trainer, "rows_of_step", stop)
    with pytest.raises(StoppedError):
        run(directory, dropout, **plan)
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("stop_after", "plan"),
    [
        (2, {"optimizer": "muon"}),  # before there is a state
        (4, {"optimizer": "muon"}),
        (8, {"optimizer": "muon", "precision": "bf16", "micro_batch_rows": 3}),
        (9, {"optimizer": "adamw", "schedule": "cosine"}),
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int, plan: dict[str, object]
) -> None:
    whole, summary = run(tmp_path / "whole", 0.1, **plan)
    run_until(stop_after, monkeypatch, tmp_path / "halves", 0.1, **plan)
    torch.manual_seed(99)
    second, resumed = run(tmp_path / "halves", 0.1, **plan)
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    assert resumed.validation_loss == summary.validation_loss
    assert resumed.best_step == summary.best_step
    for name, weight in whole.state_dict().items():
        assert weight.equal(second.state_dict()[name]), name


def test_a_finished_run_that_is_started_again_trains_no_further(tmp_path: Path) -> None:
    plan = {"steps": 30, "patience_evaluations": 1, "learning_rate": 0.5, "warmup_steps": 0}
    _, first = run(tmp_path, **plan)
    assert first.steps < 30, "the rate is so high that it must have stopped early"
    _, again = run(tmp_path, **plan)
    assert again == first


def test_a_run_that_was_too_short_can_be_made_longer(tmp_path: Path) -> None:
    longer = {"steps": 20, "schedule": "constant"}
    run(tmp_path / "long", **longer)
    run(tmp_path / "short", **{**longer, "steps": 12})
    run(tmp_path / "short", **longer)
    assert losses(tmp_path / "short") == losses(tmp_path / "long")


def test_the_model_is_left_with_its_best_weights(tmp_path: Path) -> None:
    model, summary = run(
        tmp_path, steps=30, patience_evaluations=2, learning_rate=0.3, warmup_steps=0, schedule="constant"
    )
    found = [loss for _, _, loss in losses(tmp_path) if loss is not None]
    assert summary.validation_loss == pytest.approx(min(found), abs=1e-4)
    assert found[-1] > min(found), "it must have stopped for want of patience"
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    assert all(weight.equal(best[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neo", "llama"])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_learning_lowers_the_loss_and_counts_tokens(tmp_path: Path, architecture: str, optimizer: str) -> None:
    model = tiny_llama(VOCAB_SIZE) if architecture == "llama" else tiny_model(architecture, VOCAB_SIZE)
    plan = replace(PLAN, steps=40, optimizer=optimizer)  # type: ignore[arg-type]
    summary = train(model, counting_rows(45, 0), counting_rows(11, 1), plan, tmp_path)
    found = [loss for _, _, loss in losses(tmp_path) if loss is not None]
    assert found[-1] < found[0] * 0.8
    assert summary.tokens_per_second > 0


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_batch_in_passes_is_a_batch_at_once(tmp_path: Path, optimizer: str) -> None:
    whole, _ = run(tmp_path / "whole", optimizer=optimizer, batch_rows=7)
    for rows in (1, 3):
        parts, _ = run(tmp_path / str(rows), optimizer=optimizer, batch_rows=7, micro_batch_rows=rows)
        # Muon orthogonalises in bf16: what differs in the seventh digit may differ in the third after it.
        tolerance = 1e-4 if optimizer == "adamw" else 2e-2
        for one, other in zip(losses(tmp_path / "whole"), losses(tmp_path / str(rows)), strict=True):
            assert other == pytest.approx(one, abs=tolerance)
        for name, weight in whole.state_dict().items():
            torch.testing.assert_close(parts.state_dict()[name], weight, atol=10 * tolerance, rtol=0)


def test_each_real_token_counts_alike_however_rows_are_filled(tmp_path: Path) -> None:
    # One full row and one of almost nothing but filling: the mean over tokens, not over rows or passes.
    rows = pack([[1, 2, 3] * 10, [4, 5, 6]], 32, fill_id=0)
    model = tiny_model("gpt_neo", VOCAB_SIZE)
    with torch.no_grad():
        per_token = [
            torch.nn.functional.cross_entropy(
                model(torch.from_numpy(rows.input_ids[i : i + 1, :length])).logits[0, :-1],
                torch.from_numpy(rows.input_ids[i, 1:length]),
                reduction="none",
            )
            for i, length in ((0, 30), (1, 3))
        ]
    for micro in (0, 1):
        plan = replace(PLAN, steps=1, batch_rows=2, micro_batch_rows=micro, evaluate_every_steps=1)
        directory = tmp_path / str(micro)
        train(model_with(), rows, rows, plan, directory)
        assert log_of(directory)[0]["training_loss"] == pytest.approx(torch.cat(per_token).mean().item(), abs=1e-4)


def test_evaluation_counts_each_row_once_whatever_the_batch(tmp_path: Path) -> None:
    found = []
    for batch_rows, micro in ((1, 0), (2, 0), (3, 0), (16, 0), (16, 3)):
        directory = tmp_path / f"{batch_rows}-{micro}"
        plan = {"steps": 1, "batch_rows": batch_rows, "micro_batch_rows": micro, "learning_rate": 0.0}
        found.append(run(directory, **plan)[1].validation_loss)
    assert found == pytest.approx([found[0]] * 5, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"seed": 6}, "seed=5"), ({"batch_rows": 3}, "batch_rows=4"), ({"optimizer": "muon"}, "optimizer=adamw"),
     ({"precision": "bf16"}, "precision=fp32")],
)  # fmt: skip
def test_another_plan_does_not_go_on_where_this_one_stopped(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    run(tmp_path, steps=3)
    with pytest.raises(TrainingStateError, match=message):
        run(tmp_path, **change)
    remove_training_state(tmp_path)
    run(tmp_path, **{**change, "steps": 3})


def test_other_texts_do_not_go_on_where_these_stopped(tmp_path: Path) -> None:
    run(tmp_path, steps=3)
    with pytest.raises(TrainingStateError, match="training_rows"):
        train(model_with(), counting_rows(45, 2), counting_rows(11, 1), PLAN, tmp_path)


@pytest.mark.parametrize("name", ["state.pt", "best.pt"])
def test_a_broken_file_says_what_to_remove(tmp_path: Path, name: str) -> None:
    run(tmp_path, steps=3)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(TrainingStateError, match=rf"{name} cannot be read .*remove state\.pt"):
        run(tmp_path, steps=3)


def test_a_state_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (shutil.rmtree, (str(tmp_path),))

    torch.save({"version": 2, "identity": Evil()}, tmp_path / "state.pt")
    with pytest.raises(TrainingStateError, match="cannot be read"):
        run(tmp_path)
    assert (tmp_path / "state.pt").exists()


def test_a_loss_that_is_no_number_stops_the_run_and_is_not_saved(tmp_path: Path) -> None:
    run(tmp_path, steps=3)
    broken = torch.load(tmp_path / "state.pt", weights_only=True)
    broken["model"]["lm_head.weight"][3, 3] = float("nan")
    torch.save(broken, tmp_path / "state.pt")
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(TrainingDivergedError, match=r"step 4.*lower learning_rate"):
        run(tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_a_run_tells_how_fast_it_is_and_how_long_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import progress

    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    with capture_logs() as lines:
        run(tmp_path, steps=4, log_every_steps=1)
    assert [line["event"] for line in lines] == ["begins", "training", "evaluated", "training", "evaluated"]
    assert lines[0]["processes"] == 1
    assert {"tokens_per_second", "time_left", "learning_rate", "training_loss"} <= set(lines[1])
    rows = log_of(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert ["validation_loss" in row for row in rows] == [False, True, False, True]
    assert rows[-1]["seconds_left"] == 0
    assert rows[0]["tokens_per_second"] > 0


def test_tensorboard_shows_what_the_log_has_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_until(5, monkeypatch, tmp_path, 0.0)  # a state of step 3, and rows up to step 5
    run(tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for name in ("training_loss", "validation_loss", "learning_rate", "gradient_norm", "tokens_per_second"):
        wanted = [(row["step"], row[name]) for row in log_of(tmp_path) if name in row]
        assert [(event.step, event.value) for event in events.Scalars(name)] == [
            (step, pytest.approx(value, rel=1e-5)) for step, value in wanted
        ]


def test_without_tensorboard_the_log_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run(tmp_path, steps=3)
    assert len(log_of(tmp_path)) == 3
    assert not (tmp_path / "tensorboard").exists()


def test_a_plan_of_epochs_shows_every_row_that_often(tmp_path: Path) -> None:
    rows = counting_rows(45, 0)
    _, summary = run(tmp_path, steps=0, epochs=3.0, evaluations=4)
    assert summary.steps == -(-3 * len(rows) // PLAN.batch_rows)
    evaluated = [step for step, _, loss in losses(tmp_path) if loss is not None]
    assert len(evaluated) in (4, 5)
    assert evaluated[-1] == summary.steps


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        ({}, "fp32"),
        ({"avx512_f": True, "avx512_bf16": False}, "fp32"),
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
    ],
)
def test_auto_precision_is_what_the_processor_is_good_at(
    instructions: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    assert precision_on("auto", torch.device("cpu")) == expected


def test_fp16_is_refused_without_a_gpu() -> None:
    assert precision_on("bf16", torch.device("cpu")) == "bf16"
    with pytest.raises(ValueError, match="needs a GPU"):
        precision_on("fp16", torch.device("cpu"))


def test_nothing_to_train_on_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one packed row"):
        train(model_with(), pack([], 32, fill_id=0), counting_rows(11, 1), PLAN, tmp_path)


def test_the_rows_given_are_left_as_they_are(tmp_path: Path) -> None:
    training, validation = counting_rows(45, 0), counting_rows(11, 1)
    before = [json.dumps(array.tolist()) for rows in (training, validation) for array in arrays(rows)]
    train(model_with(), training, validation, replace(PLAN, steps=2, batch_rows=16), tmp_path)
    assert [json.dumps(array.tolist()) for rows in (training, validation) for array in arrays(rows)] == before
    assert (validation.labels != IGNORED).any()


def arrays(rows: PackedRows) -> tuple[np.ndarray, ...]:
    return rows.input_ids, rows.labels, rows.position_ids, rows.document_ids


def test_a_plan_for_the_embedded_model_is_what_it_was() -> None:
    plan = TrainingPlan(steps=100)
    assert (plan.optimizer, plan.schedule, plan.max_gradient_norm) == ("muon", "cooldown", 1.0)
