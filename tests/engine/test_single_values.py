"""Batch norms that get one value per channel go by their running statistics."""

import logging

import pytest
import torch
from tiny_training import TinyTrainer, tiny_cfg
from torch import nn

from dld_d2.engine.single_values import tolerate_single_values


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4)))
    for norm in (model[1], model[2][0]):
        nn.init.uniform_(norm.weight)
        norm.running_mean.uniform_()
        norm.running_var.uniform_(0.5, 2)
    return model.train()


def test_one_value_per_channel_is_normalised_as_in_evaluation(model, caplog):
    image = torch.rand(1, 3, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(image)
    tolerate_single_values(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with caplog.at_level(logging.WARNING, logger="dld_d2"):
        found = model(image)
        model(image)
    assert all(module.training for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    torch.testing.assert_close(found, model.eval()(image))
    found.sum().backward()
    assert model[0].weight.grad.abs().sum() > 0
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and told[0].startswith("1 got features of (1, 4, 1, 1)")
    assert told[1].startswith("2.0 got") and "BASE_SHORT_SIDE" in told[1]


def test_all_else_is_as_ever(model):
    images = torch.rand(2, 3, 1, 1)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    expected = model(images)
    after = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(state)
    tolerate_single_values(model)
    assert torch.equal(model(images), expected)
    for name, value in model.state_dict().items():
        assert torch.equal(value, after[name]), name
    assert not model.eval()(images[:1]).isnan().any()
    assert not model[1].training


def test_an_error_leaves_the_module_in_training(model):
    tolerate_single_values(model)
    with pytest.raises(RuntimeError):
        model[1](torch.rand(1, 5, 1, 1))
    assert model[1].training


def test_trainings_do_so(tmp_path):
    trainer = TinyTrainer(tiny_cfg(tmp_path, "MODEL.RESNETS.NORM", "BN"))
    trainer.model.train()
    assert trainer.model.norm(torch.rand(1, 4, 1, 1)).isfinite().all()
