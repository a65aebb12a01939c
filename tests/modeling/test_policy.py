"""How scales are chosen, in training and at inference."""

import pytest
import torch
from detectron2.structures import ImageList

from dld_d2.modeling.distillation import (
    DynamicScale,
    FixedScale,
    RandomScale,
    ResolutionSelector,
    gumbel_select,
)

COST = torch.tensor([0.1, 0.2, 0.35, 0.5, 0.7, 0.9])


def make_images(count=4, size=(64, 96)):
    generator = torch.manual_seed(0)
    images = [torch.randn(3, *size, generator=generator) * (i + 1) for i in range(count)]
    return ImageList.from_tensors(images, 32)


def make_policy(spread=3.0, **arguments):
    torch.manual_seed(0)
    selector = ResolutionSelector(num_scales=6, channels=(4, 8, 8, 16))
    torch.nn.init.normal_(selector.classifier.weight, std=spread)
    arguments = {"temperature": 2.0, **arguments}
    return DynamicScale(selector, COST.clone(), **arguments)


def test_fixed():
    policy = FixedScale(2, 6)
    images = make_images()
    assert not policy.learned
    assert policy.choose(images).tolist() == [2, 2, 2, 2]
    assert policy.sample(images).tolist() == [[0, 0, 1, 0, 0, 0]] * 4
    assert policy.sample(images).dtype == images.tensor.dtype
    assert list(policy.parameters()) == []


def test_random_in_training_fixed_at_inference():
    policy = RandomScale(1, 6)
    images = make_images(2)
    torch.manual_seed(0)
    draws = torch.cat([policy.sample(images) for _ in range(1500)])
    assert ((draws == 0) | (draws == 1)).all() and (draws.sum(dim=1) == 1).all()
    p = 1 / 6
    deviation = (draws.mean(dim=0) - p) / (p * (1 - p) / len(draws)) ** 0.5
    assert deviation.abs().max() < 4
    pairs = draws.view(-1, 2, 6).argmax(dim=2)
    assert len(pairs.unique(dim=0)) == 36  # images draw independently
    assert policy.choose(images).tolist() == [1, 1]


class TestDynamic:
    def test_draws_by_gumbel_softmax_at_its_temperature(self):
        policy, images = make_policy(), make_images()
        assert policy.learned
        for temperature in (5.0, 0.5):
            policy.temperature = temperature
            policy.zero_grad()
            torch.manual_seed(3)
            h = policy.sample(images)
            weights = torch.arange(6.0)
            (h * weights).sum().backward()
            gradient = policy.selector.classifier.weight.grad.clone()

            policy.zero_grad()
            logits = policy.logits(images)
            torch.manual_seed(3)
            expected = gumbel_select(logits, temperature)
            (expected * weights).sum().backward()
            assert torch.equal(h, expected)
            torch.testing.assert_close(gradient, policy.selector.classifier.weight.grad)
            assert gradient.abs().sum() > 0

    def test_an_infinite_noise_does_not_reach_the_loss(self, monkeypatch):
        """Exponential draws on the CPU may be exactly 0, one in 2^24."""
        monkeypatch.setattr(torch.Tensor, "exponential_", lambda self, **_: self.zero_())
        logits = torch.randn(3, 6, requires_grad=True)
        h = gumbel_select(logits, 1.0)
        assert torch.equal(h.argmax(dim=1), logits.argmax(dim=1))
        h[:, 2].sum().backward()
        assert torch.isfinite(h).all() and torch.isfinite(logits.grad).all()

    def test_chooses_the_largest_logit_without_a_graph(self):
        policy, images = make_policy().eval(), make_images()
        choice = policy.choose(images)
        assert torch.equal(choice, policy.logits(images).argmax(dim=1))
        assert all(torch.equal(choice, policy.choose(images)) for _ in range(3))
        assert len(set(choice.tolist())) > 1
        tracked = []
        policy.selector.register_forward_hook(lambda m, i, out: tracked.append(out.requires_grad))
        policy.choose(images)
        assert tracked == [False]

    def test_chooses_for_each_image_alone(self):
        policy = make_policy().eval()
        images = make_images()
        alone = [policy.choose(ImageList.from_tensors([image], 32)).item() for image in images]
        assert policy.choose(images).tolist() == alone

    def test_bias_slides_from_the_most_expensive_to_the_cheapest(self):
        policy, images = make_policy().eval(), make_images()
        costs = []
        for bias in torch.linspace(-100, 100, 41).tolist():
            policy.cost_bias = bias
            costs.append(COST[policy.choose(images)])
        costs = torch.stack(costs)
        assert (costs.diff(dim=0) <= 0).all()
        assert (costs[0] == COST[5]).all() and (costs[-1] == COST[0]).all()
        policy.cost_bias = 0.0
        assert torch.equal(policy.choose(images), policy.logits(images).argmax(dim=1))

    def test_the_bias_is_for_inference_only(self):
        images = make_images()
        torch.manual_seed(1)
        plain = make_policy().sample(images)
        torch.manual_seed(1)
        assert torch.equal(plain, make_policy(cost_bias=1e6).sample(images))

    @pytest.mark.parametrize("name", ["relative_cost", "temperature", "cost_bias"])
    def test_settings_are_not_saved(self, name):
        assert not [key for key in make_policy().state_dict() if name in key]
