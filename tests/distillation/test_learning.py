"""How a selector learns: what it draws, and by which gradient."""

import pytest
import torch
from detectron2.structures import ImageList

from dld_d2.distillation.learning.best_scale import BestScaleLearning
from dld_d2.distillation.learning.gumbel import GumbelLearning, gumbel_select
from dld_d2.distillation.learning.learning import Unlearned
from dld_d2.engine.config_sources import ConfigError
from dld_d2.engine.distill_trainer import TemperatureSchedule
from dld_d2.modeling.selection.policies import DynamicScale, FixedScale
from dld_d2.modeling.selection.selector import ResolutionSelector


def make_images(count=4, size=(64, 96)):
    generator = torch.manual_seed(0)
    images = [torch.randn(3, *size, generator=generator) * (i + 1) for i in range(count)]
    return ImageList.from_tensors(images, 32)


def make_policy(**arguments):
    torch.manual_seed(0)
    selector = ResolutionSelector(num_scales=6, channels=(4, 8, 8, 16))
    torch.nn.init.normal_(selector.classifier.weight, std=3.0)
    return DynamicScale(selector, **arguments)


@pytest.mark.parametrize("kind", [GumbelLearning, BestScaleLearning])
def test_draws_by_gumbel_softmax_at_its_temperature(kind):
    policy, images, learning = make_policy(), make_images(), kind()
    for temperature in (5.0, 0.5):
        learning.temperature = temperature
        policy.zero_grad()
        torch.manual_seed(3)
        choice = learning.draw(policy, images)
        h, weights = choice.selection, torch.arange(6.0)
        assert torch.equal(h.argmax(dim=1), choice.index) and (h.sum(dim=1) == 1).all()
        (h * weights).sum().backward()
        gradient = policy.selector.classifier.weight.grad.clone()

        policy.zero_grad()
        logits = policy.logits(images)
        assert torch.equal(logits, choice.logits)
        torch.manual_seed(3)
        expected = gumbel_select(logits, temperature)
        (expected * weights).sum().backward()
        assert torch.equal(h, expected)
        torch.testing.assert_close(gradient, policy.selector.classifier.weight.grad)
        assert gradient.abs().sum() > 0


def test_an_infinite_noise_does_not_reach_the_loss(monkeypatch):
    """Exponential draws on the CPU may be exactly 0, one in 2^24."""
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda self, **_: self.zero_())
    logits = torch.randn(3, 6, requires_grad=True)
    h = gumbel_select(logits, 1.0)
    assert torch.equal(h.argmax(dim=1), logits.argmax(dim=1))
    h[:, 2].sum().backward()
    assert torch.isfinite(h).all() and torch.isfinite(logits.grad).all()


def test_a_cost_bias_is_for_inference_only():
    images, learning = make_images(), GumbelLearning()
    torch.manual_seed(1)
    plain = learning.draw(make_policy(), images)
    torch.manual_seed(1)
    biased = learning.draw(make_policy(cost_bias=1e6), images)
    assert torch.equal(plain.selection, biased.selection)


def test_where_nothing_is_learnt_the_policy_draws():
    learning = Unlearned()
    choice = learning.draw(FixedScale(2, 6), make_images())
    assert choice.index.tolist() == [2, 2, 2, 2] and choice.selection is None
    assert learning.num_images(8) == 0 and not learning.needs_teacher


@pytest.mark.parametrize(
    ("fraction", "batch", "expected"), [(1.0, 4, 4), (0.5, 4, 2), (0.1, 4, 1), (0.5, 1, 1)]
)
def test_it_learns_from_a_part_of_a_batch(fraction, batch, expected):
    assert GumbelLearning(batch_fraction=fraction).num_images(batch) == expected


@pytest.mark.parametrize("decay", [0.0, -0.9])
def test_a_temperature_that_would_not_stay_above_0_is_refused(decay):
    with pytest.raises(ConfigError, match=rf"SELECTOR\.TAU_DECAY is {decay}; .*above 0"):
        TemperatureSchedule(
            GumbelLearning(), init=5.0, decay=decay, num_images=10, images_per_batch=2
        )


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (GumbelLearning, {"loss_weight": 0.0}, r"SELECTOR\.LOSS_WEIGHT is 0\.0.*above 0"),
        (GumbelLearning, {"gamma": -0.1}, r"SELECTOR\.GAMMA is -0\.1"),
        (GumbelLearning, {"accuracy_target": "truth"}, r"ACCURACY_TARGET.*'truth'"),
        (GumbelLearning, {"batch_fraction": 0.0}, r"BATCH_FRACTION must be in \(0, 1\]"),
        (GumbelLearning, {"temperature": 0.0}, r"TAU_INIT is 0\.0"),
        (BestScaleLearning, {"target_temperature": 0.0}, r"TARGET_TEMPERATURE must be above 0"),
        (BestScaleLearning, {"regret_power": 1.5}, r"REGRET_POWER must be in \[0, 1\], got 1\.5"),
    ],
    ids=str,
)
def test_what_cannot_be_learnt_with_is_named(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)
