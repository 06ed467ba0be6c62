from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from tests.training.conftest import tiny_model
from tests.training.counting import tiny_llama
from training.optimizers import hidden_matrices, make_optimizers, update
from training.plan import TrainingPlan

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@pytest.fixture(params=["gpt2", "gpt_neo", "llama"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_llama(30) if request.param == "llama" else tiny_model(request.param, 30)


def test_hidden_matrices_are_those_of_the_layers_alone(model: PreTrainedModel) -> None:
    hidden = {id(parameter) for parameter in hidden_matrices(model)}
    for name, parameter in model.named_parameters():
        inside = (".h." in name or ".layers." in name) and parameter.ndim == 2
        assert (id(parameter) in hidden) == inside, name


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_every_weight_is_trained_once_and_only_hidden_ones_decay(model: PreTrainedModel, optimizer: str) -> None:
    plan = TrainingPlan(steps=1, optimizer=optimizer, weight_decay=0.1)  # type: ignore[arg-type]
    groups = [group for made in make_optimizers(model, plan) for group in made.param_groups]
    trained = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(trained) == sorted(id(parameter) for parameter in model.parameters())
    hidden = {id(parameter) for parameter in hidden_matrices(model)}
    for group in groups:
        assert {id(parameter) in hidden for parameter in group["params"]} == {group["weight_decay"] > 0}


def loss_of(model: PreTrainedModel) -> torch.Tensor:
    ids = torch.arange(12)[None]
    loss: torch.Tensor = model(ids, labels=ids).loss
    return loss


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_scaled_loss_gives_the_update_of_an_unscaled_one(optimizer: str) -> None:
    after = []
    for scaler in (torch.amp.GradScaler("cpu", enabled=False), torch.amp.GradScaler("cpu", init_scale=1024.0)):
        model = tiny_model("gpt_neo", 30)
        optimizers = make_optimizers(model, TrainingPlan(steps=1, optimizer=optimizer))  # type: ignore[arg-type]
        norms = []
        for _ in range(3):
            scaler.scale(loss_of(model)).backward()
            norms.append(update(model, optimizers, scaler, rate=1e-3, max_gradient_norm=0.5).item())
        after.append((norms, torch.cat([parameter.flatten() for parameter in model.parameters()])))
    assert after[1][0] == pytest.approx(after[0][0], rel=1e-4)
    torch.testing.assert_close(after[1][1], after[0][1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_gradient_that_overflows_changes_nothing_but_the_scale(optimizer: str) -> None:
    model = tiny_model("gpt_neo", 30)
    optimizers = make_optimizers(model, TrainingPlan(steps=1, optimizer=optimizer))  # type: ignore[arg-type]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    scaler.scale(loss_of(model)).backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        parameter.grad.flatten()[0] = float("inf")
    update(model, optimizers, scaler, rate=1e-3, max_gradient_norm=1.0)
    assert all(parameter.equal(old) for parameter, old in zip(model.parameters(), before, strict=True))
    assert scaler.get_scale() == 512.0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_gradients_are_shortened_to_the_limit_and_no_further() -> None:
    found = []
    for limit in (0.0, 1e9, 1e-3):
        model = tiny_model("gpt_neo", 30)
        sgd = torch.optim.SGD(model.parameters())
        before = torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])
        loss_of(model).backward()
        norm = update(model, [sgd], torch.amp.GradScaler("cpu", enabled=False), rate=1.0, max_gradient_norm=limit)
        after = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        found.append((norm.item(), (after - before).norm().item()))
    assert found[0] == found[1]
    assert found[0][1] == pytest.approx(found[0][0], rel=1e-3)
    assert found[2] == pytest.approx((found[0][0], 1e-3), rel=1e-2)
