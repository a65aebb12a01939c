"""How scales are chosen, in training and at inference."""

import pytest
import torch
from detectron2.structures import ImageList

from dld_d2.modeling.selection.policies import DynamicScale, FixedScale, RandomScale
from dld_d2.modeling.selection.selector import ResolutionSelector

COST = torch.tensor([0.1, 0.2, 0.35, 0.5, 0.7, 0.9])


def make_images(count=4, size=(64, 96)):
    generator = torch.manual_seed(0)
    images = [torch.randn(3, *size, generator=generator) * (i + 1) for i in range(count)]
    return ImageList.from_tensors(images, 32)


def make_policy(spread=3.0, **arguments):
    torch.manual_seed(0)
    selector = ResolutionSelector(num_scales=6, channels=(4, 8, 8, 16))
    torch.nn.init.normal_(selector.classifier.weight, std=spread)
    return DynamicScale(selector, **arguments)


def test_fixed():
    policy = FixedScale(2, 6)
    images = make_images()
    assert policy.logits(images) is None
    assert policy.choose(images, COST).tolist() == [2, 2, 2, 2]
    assert policy.draw(images).tolist() == [2, 2, 2, 2]
    assert list(policy.parameters()) == []


def test_random_in_training_fixed_at_inference():
    policy = RandomScale(1, 6)
    images = make_images(2)
    torch.manual_seed(0)
    draws = torch.cat([policy.draw(images) for _ in range(1500)])
    shares = torch.bincount(draws, minlength=6) / len(draws)
    p = 1 / 6
    deviation = (shares - p) / (p * (1 - p) / len(draws)) ** 0.5
    assert len(shares) == 6 and deviation.abs().max() < 4
    assert len(draws.view(-1, 2).unique(dim=0)) == 36  # images draw independently
    assert policy.choose(images, COST).tolist() == [1, 1]


class TestDynamic:
    def test_chooses_the_largest_logit_without_a_graph(self):
        policy, images = make_policy().eval(), make_images()
        choice = policy.choose(images, COST)
        assert torch.equal(choice, policy.logits(images).argmax(dim=1))
        assert all(torch.equal(choice, policy.choose(images, COST)) for _ in range(3))
        assert len(set(choice.tolist())) > 1
        tracked = []
        policy.selector.register_forward_hook(lambda m, i, out: tracked.append(out.requires_grad))
        policy.choose(images, COST)
        assert tracked == [False]

    def test_chooses_for_each_image_alone(self):
        policy = make_policy().eval()
        images = make_images()
        alone = [
            policy.choose(ImageList.from_tensors([image], 32), COST).item() for image in images
        ]
        assert policy.choose(images, COST).tolist() == alone

    def test_bias_slides_from_the_most_expensive_to_the_cheapest(self):
        policy, images = make_policy().eval(), make_images()
        costs = []
        for bias in torch.linspace(-100, 100, 41).tolist():
            policy.cost_bias = bias
            costs.append(COST[policy.choose(images, COST)])
        costs = torch.stack(costs)
        assert (costs.diff(dim=0) <= 0).all()
        assert (costs[0] == COST[5]).all() and (costs[-1] == COST[0]).all()
        policy.cost_bias = 0.0
        assert torch.equal(policy.choose(images, COST), policy.logits(images).argmax(dim=1))

    def test_it_does_not_draw(self):
        with pytest.raises(TypeError, match="a DynamicScale chooses as it has learnt"):
            make_policy().draw(make_images())

    @pytest.mark.parametrize("name", ["relative_cost", "temperature", "cost_bias"])
    def test_settings_are_not_saved(self, name):
        assert not [key for key in make_policy(cost_bias=0.5).state_dict() if name in key]
