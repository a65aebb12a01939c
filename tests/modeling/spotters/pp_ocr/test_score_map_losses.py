"""Losses of score maps, against loops over images and pixels and against closed forms."""

import math

import pytest
import torch

from dld_d2.modeling.spotters.pp_ocr.score_map_losses import (
    approximate_binary,
    balanced_bce,
    border_l1,
    dice,
)

SHAPE = (4, 12, 15)


@pytest.fixture
def maps():
    """Logits, targets and a mask; the third image has no positives, the fourth is masked out."""
    draws = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(SHAPE, generator=draws)
    target = (torch.rand(SHAPE, generator=draws) < 0.1).float()
    mask = torch.rand(SHAPE, generator=draws) < 0.8
    target[2] = 0
    mask[3] = False
    return logits, target, mask


def loop_bce(logits, target, mask, ratio, without_text) -> list[float]:
    losses = []
    for image in zip(logits, target, mask, strict=True):
        positive, negative = [], []
        for logit, wanted, counts in zip(*(m.flatten().tolist() for m in image), strict=True):
            if counts:
                p = 1 / (1 + math.exp(-logit))
                (positive if wanted else negative).append(-math.log(p if wanted else 1 - p))
        k = int(ratio * len(positive)) if positive else without_text
        chosen = positive + sorted(negative, reverse=True)[:k]
        losses.append(sum(chosen) / max(len(chosen), 1))
    return losses


@pytest.mark.parametrize(("ratio", "without_text"), [(3.0, 500), (0.5, 7), (100.0, 0)])
def test_balanced_bce_takes_the_hardest_negatives(maps, ratio, without_text):
    found = balanced_bce(*maps, ratio, without_text)
    expected = loop_bce(*maps, ratio, without_text)
    torch.testing.assert_close(found, torch.tensor(expected))
    assert found[3] == 0


def test_gradient_of_balanced_bce_reaches_the_chosen_pixels_alone(maps):
    logits, target, mask = maps
    logits.requires_grad_()
    balanced_bce(logits, target, mask, 2.0, 5).sum().backward()
    gradient, found = logits.grad, logits.detach().sigmoid()
    for index in range(4):
        positive = mask[index] & (target[index] > 0)
        negative = mask[index] & (target[index] == 0)
        k = 2 * int(positive.sum()) if positive.any() else 5
        hardest = torch.where(negative, found[index], -1).flatten().argsort(descending=True)
        chosen = positive.clone().flatten()
        chosen[hardest[:k]] = True
        chosen = chosen.view_as(mask[index]) & mask[index]
        expected = (found[index] - target[index]) * chosen / chosen.sum().clamp(min=1)
        torch.testing.assert_close(gradient[index], expected)


def test_equal_negatives_share_what_is_left():
    # One positive and a ratio of 3: the harder negative counts in full, eight others share 2.
    logits = torch.zeros(1, 2, 5)
    logits[0, 0, 1] = 1
    target = torch.zeros(1, 2, 5)
    target[0, 0, 0] = 1
    logits.requires_grad_()
    loss = balanced_bce(logits, target, torch.ones(1, 2, 5, dtype=torch.bool))
    torch.testing.assert_close(
        loss, torch.tensor([(3 * math.log(2) + math.log(1 + math.e)) / 4]), check_dtype=False
    )
    loss.sum().backward()
    torch.testing.assert_close(logits.grad[0, 1], torch.full((5,), 0.5 / 4 * 2 / 8))


def test_an_image_without_text_still_learns_to_raise_no_alarm(maps):
    logits, target, mask = maps
    logits.requires_grad_()
    balanced_bce(logits, target, mask)[2].backward()
    assert (logits.grad[2][mask[2]] > 0).all()
    logits.grad = None
    dice(logits.sigmoid(), target, mask)[2].backward()
    assert (logits.grad[2][mask[2]] > 0).all()


def test_very_sure_and_wrong_logits_stay_finite():
    logits = torch.tensor([[[200.0, -200.0, 90.0, -90.0]]], requires_grad=True)
    target = torch.tensor([[[0.0, 1.0, 0.0, 1.0]]])
    loss = balanced_bce(logits, target, torch.ones_like(target, dtype=torch.bool))
    torch.testing.assert_close(loss, torch.tensor([145.0]))
    loss.sum().backward()
    assert logits.grad.isfinite().all()


def test_dice_by_hand(maps):
    _, target, mask = maps
    probability = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))
    found = dice(probability, target, mask)
    for index in range(4):
        p, t = probability[index][mask[index]], target[index][mask[index]]
        expected = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
        torch.testing.assert_close(found[index], expected)
    everywhere = torch.ones(SHAPE, dtype=torch.bool)
    torch.testing.assert_close(dice(target, target, everywhere), torch.zeros(4))
    assert dice(1 - target, target, everywhere)[0] > 0.99


def test_border_l1_by_hand(maps):
    _, _, mask = maps
    draws = torch.Generator().manual_seed(2)
    border, target = torch.rand(SHAPE, generator=draws), torch.rand(SHAPE, generator=draws)
    found = border_l1(border, target, mask)
    for index in range(3):
        expected = (border - target)[index][mask[index]].abs().mean()
        torch.testing.assert_close(found[index], expected)
    assert found[3] == 0


def test_approximate_binary_is_steep_at_the_border():
    score = torch.tensor([0.3, 0.5, 0.7], requires_grad=True)
    binary = approximate_binary(score, torch.full((3,), 0.5))
    torch.testing.assert_close(binary, torch.tensor([4.5398e-05, 0.5, 1 - 4.5398e-05]))
    binary[1].backward()
    assert score.grad[1] == pytest.approx(50 / 4)


@pytest.mark.parametrize("name", ["dice", "border_l1", "approximate_binary", "balanced_bce"])
def test_gradients_are_those_of_finite_differences(maps, name):
    logits, target, mask = (m[:, :4, :4] for m in maps)
    logits = logits.double().requires_grad_()
    target = target.double()
    losses = {
        "dice": lambda x: dice(x.sigmoid(), target, mask),
        "border_l1": lambda x: border_l1(x.sigmoid(), target, mask),
        "approximate_binary": lambda x: approximate_binary(x.sigmoid(), 0.3 + 0.4 * target),
        "balanced_bce": lambda x: balanced_bce(x, target, mask),
    }
    assert torch.autograd.gradcheck(losses[name], logits)


def test_everything_is_in_float32_under_autocast(maps):
    logits, target, mask = maps
    coarse = logits.bfloat16()
    expected = [
        balanced_bce(coarse.float(), target, mask),
        dice(coarse.float().sigmoid(), target, mask),
    ]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [balanced_bce(coarse, target, mask), dice(coarse.float().sigmoid(), target, mask)]
        binary = approximate_binary(coarse, target.bfloat16())
        error = border_l1(coarse, target, mask)
    torch.testing.assert_close(found, expected)
    assert binary.dtype == error.dtype == torch.float32


def test_images_do_not_look_at_one_another(maps):
    logits, target, mask = maps
    border = logits.sigmoid()
    for loss, first in ((balanced_bce, logits), (dice, border), (border_l1, border)):
        together = loss(first, target, mask)
        alone = [loss(first[i : i + 1], target[i : i + 1], mask[i : i + 1]) for i in range(4)]
        torch.testing.assert_close(together, torch.cat(alone))
