import math

import pytest
import torch
from torch import nn

from dld_d2.engine.optimizer import build_optimizer, clip_total_norm
from dld_d2.engine.setup import setup_cfg


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def set_gradients(model, factor=1.0):
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.grad = factor * torch.randn_like(parameter)


def naive_norm(gradients):
    return math.sqrt(sum(float(x) ** 2 for g in gradients for x in g.flatten()))


def step_and_take(model, *opts):
    """Parameters' changes in one step of gradient descent at learning rate 1: minus the gradient
    that the optimiser saw."""
    cfg = setup_cfg(
        "",
        [
            *("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", "0.0", "SOLVER.BASE_LR", "1.0"),
            *("SOLVER.WEIGHT_DECAY", "0.0", *opts),
        ],
    )
    optimizer = build_optimizer(cfg, model)
    before = [p.detach().clone() for p in model.parameters()]
    gradients = [p.grad.clone() for p in model.parameters()]
    optimizer.step()
    seen = [b - p.detach() for b, p in zip(before, model.parameters(), strict=True)]
    return optimizer, gradients, seen


def test_scales_the_norm_of_all_groups_together():
    model = make_model()
    set_gradients(model)
    # Biases, norm weights and norm biases are groups of their own.
    optimizer, gradients, seen = step_and_take(
        model,
        *("SOLVER.CLIP_TOTAL_NORM", "0.5", "SOLVER.WEIGHT_DECAY_NORM", "0.0"),
        *("SOLVER.WEIGHT_DECAY", "1e-9", "SOLVER.BIAS_LR_FACTOR", "1.000001"),
    )
    assert len(optimizer.param_groups) == 4
    factor = 0.5 / naive_norm(gradients)
    assert factor < 1
    for gradient, used in zip(gradients, seen, strict=True):
        torch.testing.assert_close(used, factor * gradient, rtol=1e-4, atol=1e-5)
    assert naive_norm(seen) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("max_norm", ["100.0", "0.0"])
def test_leaves_small_gradients_or_all_alone(max_norm):
    model = make_model()
    set_gradients(model)
    _, gradients, seen = step_and_take(model, "SOLVER.CLIP_TOTAL_NORM", max_norm)
    for gradient, used in zip(gradients, seen, strict=True):
        torch.testing.assert_close(used, gradient)


def test_clips_what_was_accumulated_over_several_backward_passes():
    model = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    clip_total_norm(optimizer, model, 1.0)
    before = model.weight.detach().clone()
    for image in ([3.0, 0.0], [0.0, 4.0]):
        model(torch.tensor([image])).sum().backward()
    optimizer.step()
    torch.testing.assert_close(before - model.weight.detach(), torch.tensor([[0.6, 0.8]]))


def test_clips_after_the_scaler_has_removed_its_factor():
    model = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    clip_total_norm(optimizer, model, 1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    before = model.weight.detach().clone()
    scaler.scale(model(torch.tensor([[0.3, 0.4]])).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    torch.testing.assert_close(before - model.weight.detach(), torch.tensor([[0.3, 0.4]]))


def test_an_overflow_in_mixed_precision_is_left_out_without_an_error():
    model = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    clip_total_norm(optimizer, model, 1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1e38)
    before = model.weight.detach().clone()
    scaler.scale(model(torch.tensor([[300.0, 400.0]])).sum() / 10).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(before, model.weight)
    assert scaler.get_scale() < 1e38


def test_an_infinite_gradient_stops_and_names_the_parameter():
    model = make_model()
    set_gradients(model)
    model[2].weight.grad[0, 0] = float("nan")
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters())
    clip_total_norm(optimizer, model, 1.0)
    with pytest.raises(FloatingPointError, match=r"2\.weight"):
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_builds_adamw_with_the_configured_numbers():
    cfg = setup_cfg(
        "", ["SOLVER.BASE_LR", "1e-3", "SOLVER.WEIGHT_DECAY", "0.05", "SOLVER.OPTIMIZER", "ADAMW"]
    )
    optimizer = build_optimizer(cfg, make_model())
    assert type(optimizer) is torch.optim.AdamW
    decays = {group["weight_decay"]: len(group["params"]) for group in optimizer.param_groups}
    assert decays == {0.05: 4, 0.0: 2}  # Detectron2 decays no norm layers by default
    assert {group["lr"] for group in optimizer.param_groups} == {1e-3}


@pytest.mark.parametrize("prefix", ["", "student.spotter."])
def test_a_trained_backbone_learns_more_slowly(prefix):
    names = [f"{prefix}{name}" for name in ("backbone.conv", "head.conv", "head.backbone")]
    model = nn.Module()
    for name in names:
        parent = model
        *path, last = name.split(".")
        for part in path:
            if not hasattr(parent, part):
                parent.add_module(part, nn.Module())
            parent = getattr(parent, part)
        parent.add_module(last, nn.Conv2d(1, 1, 1, bias=False))
    options = ["SOLVER.BASE_LR", "0.5", "SOLVER.BACKBONE_MULTIPLIER", "0.1"]
    optimizer = build_optimizer(setup_cfg("", options), model)
    rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    found = [rates[model.get_parameter(f"{name}.weight")] for name in names]
    assert found == pytest.approx([0.05, 0.5, 0.5])
