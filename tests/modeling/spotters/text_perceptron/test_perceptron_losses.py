"""Detection losses against sums over cells, one by one."""

import pytest
import torch

from dld_d2.modeling.spotters.text_perceptron.head import KINDS, DetectionMaps
from dld_d2.modeling.spotters.text_perceptron.losses import (
    detection_loss_per_image,
    detection_losses,
    dice_loss,
)
from dld_d2.modeling.spotters.text_perceptron.targets import MapTargets


@pytest.fixture
def example():
    generator = torch.Generator().manual_seed(0)
    batch, height, width = 3, 4, 5
    labels = torch.randint(0, 5, (batch, height, width), generator=generator)
    weight = torch.rand(batch, height, width, generator=generator) < 0.8
    valid = torch.rand(batch, 12, height, width, generator=generator) < 0.4
    offsets = torch.randn(batch, 12, height, width, generator=generator) * valid
    maps = DetectionMaps(
        torch.randn(batch, 4, height, width, generator=generator, requires_grad=True),
        torch.randn(batch, 12, height, width, generator=generator, requires_grad=True),
    )
    return maps, MapTargets(labels, weight, offsets, valid)


def naive_dice(cells):
    both = sum(p * t for p, t in cells)
    return 1 - (2 * both + 1) / (sum(p * p for p, _ in cells) + sum(t * t for _, t in cells) + 1)


def kind_cells(maps, wanted, kind, images):
    probability = maps.scores.detach().sigmoid()
    return [
        (probability[b, kind, y, x].item(), float(wanted.labels[b, y, x] == kind + 1))
        for b in images
        for y in range(4)
        for x in range(5)
        if wanted.weight[b, y, x]
    ]


def test_losses_are_those_of_the_cells(example):
    maps, wanted = example
    losses = detection_losses(*example)
    for kind, name in enumerate(KINDS):
        expected = naive_dice(kind_cells(maps, wanted, kind, range(3)))
        assert losses[f"loss_seg_{name}"].item() == pytest.approx(expected, abs=1e-5)
    for part, name in enumerate(("head", "tail", "centre")):
        total = 0.0
        for b, c, y, x in wanted.offset_valid.nonzero().tolist():
            if 4 * part <= c < 4 * part + 4:
                error = abs(maps.offsets[b, c, y, x] - wanted.offsets[b, c, y, x]).item()
                total += error**2 / 2 / 0.11 if error < 0.11 else error - 0.11 / 2
        # Summed over a batch of 3 as if it held 8.
        assert losses[f"loss_reg_{name}"].item() == pytest.approx(
            total * 16 / (256 * 64) * 8 / 3, rel=1e-4
        )
    sum(losses.values()).backward()
    assert maps.scores.grad.abs().sum() > 0
    assert (maps.offsets.grad != 0).eq(wanted.offset_valid).all()


def test_the_loss_of_an_image_is_its_mean_dice_loss(example):
    maps, wanted = example
    loss = detection_loss_per_image(maps.scores, wanted)
    for image in range(3):
        parts = [naive_dice(kind_cells(maps, wanted, kind, [image])) for kind in range(4)]
        assert loss[image].item() == pytest.approx(sum(parts) / 4, abs=1e-5)


def test_a_batch_without_text_teaches_to_see_none():
    logits = torch.zeros(4, 5, requires_grad=True)
    loss = dice_loss(logits.sigmoid(), torch.zeros(4, 5), torch.ones(4, 5))
    assert loss.item() == pytest.approx(1 - 1 / (20 * 0.25 + 1))
    loss.backward()
    assert (logits.grad > 0).all()


def test_background_is_thinned_at_random():
    labels = torch.zeros(2, 200, 200, dtype=torch.int64)
    labels[0, :50] = 1  # F = 10,000, G = 30,000: 8,000 are left out; of the other 24,000 of 40,000
    weight = torch.ones(2, 200, 200, dtype=torch.bool)
    weight[1, :, :20] = False  # G = 36,000
    empty = torch.zeros(2, 12, 1, 1)
    torch.manual_seed(0)
    thinned = MapTargets(labels, weight, empty, empty.bool()).thinned().weight
    assert thinned[0, :50].all() and not thinned[1, :, :20].any()
    left_out = (~thinned).flatten(1).sum(dim=1)
    assert left_out[0].item() == pytest.approx(8_000, rel=0.05)
    assert left_out[1].item() - 4_000 == pytest.approx(0.6 * 36_000, rel=0.05)
