"""Statistics of the backbone's batch norms that stay, as in the authors' training."""

import pytest
import torch
from detectron2.utils.events import EventStorage
from tiny_spotter import make_input, tiny_spotter
from torch import nn

WORDS = [("Hello", (10, 10, 60, 26)), ("to", (20, 60, 45, 75))]


def statistics(module):
    return {
        name: value.clone()
        for name, value in module.state_dict().items()
        if name.endswith(("running_mean", "running_var"))
    }


def step(spotter):
    with EventStorage(0):
        images, targets = spotter.preprocess([make_input(WORDS)])
        losses, _ = spotter.losses(images, targets, ())
        sum(losses.values()).backward()


@pytest.mark.parametrize("freeze", [True, False])
def test_those_of_the_backbone_stay_and_all_weights_learn(freeze):
    spotter = tiny_spotter(MODEL__BACKBONE__FREEZE_STATISTICS=freeze).train()
    before = statistics(spotter)
    step(spotter)
    after = statistics(spotter)
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    backbone = {name for name in after if name.startswith("backbone.")}
    assert len(backbone) > 10 and len(after) > len(backbone)
    assert moved == set(after) - backbone if freeze else moved == set(after)
    norms = [m for m in spotter.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.weight.grad.abs().sum() > 0 for norm in norms)


def test_they_are_used_as_at_inference():
    spotter = tiny_spotter(MODEL__BACKBONE__FREEZE_STATISTICS=True)
    images, _ = spotter.preprocess([make_input(WORDS)])
    with torch.no_grad():
        expected = spotter.eval().features(images)
        found = spotter.train().features(images)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])
