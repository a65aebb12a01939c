"""The resolution selector: its network, the draw in training, the choice at inference."""

import pytest
import torch

from dld_d2.distillation.learning.gumbel import gumbel_select, temperature
from dld_d2.modeling.selection.selector import ResolutionSelector, select

COST = torch.tensor([0.1, 0.2, 0.35, 0.5, 0.7, 0.9])


def make_selector(**arguments):
    """A narrow selector in eval mode whose batch norm shifts what it sees, padding included."""
    torch.manual_seed(0)
    arguments = {"num_scales": 6, "channels": (4, 8, 8, 16), **arguments}
    selector = ResolutionSelector(**arguments).eval()
    for module in selector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.normal_(module.bias)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return selector


def pad(images, size, value=0.0):
    batch = torch.full((len(images), 3, *size), value)
    for slot, image in zip(batch, images, strict=True):
        slot[:, : image.shape[1], : image.shape[2]] = image
    return batch


class TestNetwork:
    def test_published_architecture(self):
        selector = ResolutionSelector(num_scales=6)
        convs = [m for m in selector.modules() if isinstance(m, torch.nn.Conv2d)]
        # The shortcuts' stride of 2 is taken before the convolution.
        assert [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in convs] == [
            (3, 32, 7, 2),
            *((32, 32, 3, 2), (32, 32, 3, 1), (32, 32, 1, 1)),
            *((32, 64, 3, 2), (64, 64, 3, 1), (32, 64, 1, 1)),
            *((64, 128, 3, 2), (128, 128, 3, 1), (64, 128, 1, 1)),
            *((128, 256, 3, 2), (256, 256, 3, 1), (128, 256, 1, 1)),
        ]
        assert selector(torch.randn(2, 3, 64, 96), [(64, 96), (50, 70)]).shape == (2, 6)

    @pytest.mark.parametrize("pooling", ["mean", "mean_max"])
    def test_equals_the_network_written_out(self, pooling):
        selector = make_selector(pooling=pooling)
        image = torch.randn(1, 3, 70, 101, generator=torch.manual_seed(1))
        x = selector.stem(image).relu()
        assert x.shape[-2:] == (35, 51)
        for block in selector.blocks:
            x = (block.conv2(block.conv1(x).relu()) + block.shortcut(x[..., ::2, ::2])).relu()
        pooled = [x.mean(dim=(2, 3))]
        if pooling == "mean_max":
            pooled.append(x.flatten(2).max(dim=2).values)
        expected = selector.classifier(torch.cat(pooled, dim=1))
        torch.testing.assert_close(selector(image, [(70, 101)]), expected, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("input_scale", [1.0, 0.5, 0.25, 0.3])
    @pytest.mark.parametrize("value", [0.0, 7.0], ids=["zeros", "anything"])
    @pytest.mark.parametrize("pooling", ["mean", "mean_max"])
    @torch.no_grad()
    def test_padding_and_batch_do_not_matter(self, input_scale, value, pooling):
        selector = make_selector(input_scale=input_scale, pooling=pooling)
        sizes = [(96, 128), (61, 127), (90, 33), (45, 101)]
        generator = torch.manual_seed(2)
        images = [torch.randn(3, *size, generator=generator) for size in sizes]
        alone = torch.cat([selector(i[None], [s]) for i, s in zip(images, sizes, strict=True)])
        together = selector(pad(images, (128, 160), value), sizes)
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
        assert alone.std(dim=0).min() > 1e-4, "the images should differ in their logits"

    @pytest.mark.parametrize("input_scale", [0.5, 0.25])
    @pytest.mark.parametrize("size", [(128, 160), (129, 191)])
    @torch.no_grad()
    def test_input_scale_shrinks_with_antialiasing(self, input_scale, size):
        shrinking, plain = make_selector(input_scale=input_scale), make_selector()
        image = torch.randn(1, 3, *size, generator=torch.manual_seed(3))
        small = torch.nn.functional.interpolate(
            image, scale_factor=input_scale, mode="bilinear", antialias=True
        )
        torch.testing.assert_close(
            shrinking(image, [size]),
            plain(small, [tuple(small.shape[-2:])]),
            rtol=1e-4,
            atol=1e-6,
        )

    def test_all_parameters_learn(self):
        selector = make_selector(input_scale=0.5).train()
        logits = selector(torch.randn(3, 3, 64, 96), [(64, 96), (50, 70), (40, 96)])
        (logits * torch.arange(6)).sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in selector.parameters())

    def test_norm_is_configurable(self):
        selector = ResolutionSelector(num_scales=2, channels=(32, 32), norm="GN")
        assert any(isinstance(m, torch.nn.GroupNorm) for m in selector.modules())
        unnormalised = ResolutionSelector(num_scales=2, channels=(4, 4), norm="")
        assert unnormalised.stem.bias is not None

    @pytest.mark.parametrize("input_scale", [0, -0.5, 1.5])
    def test_bad_input_scale(self, input_scale):
        with pytest.raises(ValueError, match=r"SELECTOR\.INPUT_SCALE is .*\(0, 1\]"):
            ResolutionSelector(num_scales=2, input_scale=input_scale)

    def test_bad_pooling(self):
        with pytest.raises(ValueError, match="'median'; known are mean, mean_max"):
            ResolutionSelector(num_scales=2, pooling="median")


class TestGumbelSelect:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
    def test_is_exactly_one_hot(self, dtype):
        logits = torch.randn(1000, 6, generator=torch.manual_seed(0)).to(dtype)
        h = gumbel_select(logits.requires_grad_(), 0.7)
        assert h.dtype == torch.float32
        assert ((h == 0) | (h == 1)).all()
        assert (h.sum(dim=1) == 1).all()

    @pytest.mark.parametrize("tau", [0.3, 1.0, 5.0])
    def test_gradient_is_that_of_the_softmax(self, tau):
        logits = torch.randn(8, 6, dtype=torch.float64, requires_grad=True)
        weights = torch.randn(8, 6, dtype=torch.float64)
        h = gumbel_select(logits, tau, torch.Generator().manual_seed(1))
        (gradient,) = torch.autograd.grad((h * weights).sum(), logits)

        uniform_exponential = torch.empty(8, 6, dtype=torch.float64)
        uniform_exponential.exponential_(generator=torch.Generator().manual_seed(1))
        noisy = logits - uniform_exponential.log()
        soft = (noisy / tau).softmax(dim=1)
        (expected,) = torch.autograd.grad((soft * weights).sum(), logits)
        torch.testing.assert_close(gradient, expected)
        assert torch.equal(h.argmax(dim=1), noisy.argmax(dim=1))

    @pytest.mark.parametrize("tau", [0.2, 1.0, 5.0])
    def test_draws_each_scale_with_its_softmax_probability(self, tau):
        logits = torch.tensor([1.0, -1.0, 0.0, 2.0, 0.5, -3.0])
        draws = 40_000
        h = gumbel_select(logits.expand(draws, 6), tau, torch.Generator().manual_seed(2))
        p = logits.softmax(dim=0)
        deviation = (h.mean(dim=0) - p) / (p * (1 - p) / draws).sqrt()
        assert deviation.abs().max() < 4

    def test_generator_makes_it_repeatable(self):
        logits = torch.zeros(50, 6)
        first, again, other = (
            gumbel_select(logits, 1.0, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_temperature_schedule():
    assert temperature(0) == 5
    assert temperature(1) == pytest.approx(4.825)
    assert temperature(50) == pytest.approx(5 * 0.965**50)
    assert temperature(2.5, init=3, sigma=0.5) == pytest.approx(3 * 0.5**2.5)


class TestSelect:
    logits = 3 * torch.randn(200, 6, generator=torch.manual_seed(0))

    def test_takes_the_largest_every_time(self):
        expected = [max(range(6), key=row.__getitem__) for row in self.logits.tolist()]
        assert select(self.logits).tolist() == expected
        assert select(self.logits, 0.0, COST).tolist() == expected

    def test_cost_never_rises_with_the_bias(self):
        costs = torch.stack(
            [COST[select(self.logits, b, COST)] for b in torch.linspace(0, 200, 401).tolist()]
        )
        assert (costs.diff(dim=0) <= 0).all()
        assert costs[0].mean() > 0.4
        assert (costs[-1] == COST[0]).all()

    def test_bias_is_subtracted_from_the_logits(self):
        expected = (self.logits - 2.5 * COST).argmax(dim=1)
        assert torch.equal(select(self.logits, 2.5, COST), expected)

    def test_bias_without_costs(self):
        with pytest.raises(ValueError, match=r"bias of 0\.5 needs the scales' relative_cost"):
            select(self.logits, 0.5)
