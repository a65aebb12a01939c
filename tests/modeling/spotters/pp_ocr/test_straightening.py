"""Words cut out, against OpenCV and against words that were bent on purpose."""

import cv2
import numpy as np
import pytest
import torch

from dld_d2.modeling.spotters.pp_ocr.straightening import aspect_ratios, extend, straighten
from dld_d2.modeling.spotters.pp_ocr.words import jitter_sides, sides_of_boxes, widths
from dld_d2.structures.sides import sides_of


def smooth_image(height=120, width=200):
    noise = np.random.default_rng(0).normal(size=(height, width, 3)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 4) * 10


def tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def sides(*polygons):
    return torch.from_numpy(sides_of([np.array(p, dtype=np.float64) for p in polygons])).float()


def test_a_box_is_cut_out_as_it_is():
    image = smooth_image()
    cut = straighten(
        tensor(image), torch.tensor([0]), sides([(20, 30), (84, 30), (84, 62), (20, 62)]), (32, 64)
    )
    np.testing.assert_allclose(cut[0].permute(1, 2, 0), image[30:62, 20:84], atol=1e-4)


@pytest.mark.parametrize(
    "corners",
    [
        [(20, 30), (150, 50), (140, 90), (25, 60)],
        [(150, 100), (30, 80), (40, 40), (160, 70)],  # upside down
    ],
)
def test_a_quadrilateral_is_seen_in_perspective(corners):
    image = smooth_image()
    size = (40, 120)
    target = np.float32([(0, 0), (size[1], 0), size[::-1], (0, size[0])])
    # OpenCV's pixels are where their centres are.
    matrix = cv2.getPerspectiveTransform(np.float32(corners) - 0.5, target - 0.5)
    expected = cv2.warpPerspective(image, matrix, size[::-1])
    cut = straighten(tensor(image), torch.tensor([0]), sides(corners), size)
    np.testing.assert_allclose(cut[0].permute(1, 2, 0), expected, atol=0.05)


def test_a_curved_word_is_laid_straight():
    # Colours that depend on the angle and the radius alone.
    y, x = np.mgrid[:200, :200] + 0.5
    x, y = x - 100, y - 150
    radius, angle = np.hypot(x, y), np.arctan2(-y, x)
    image = np.stack([radius, angle * 50, 0 * x], axis=2).astype(np.float32)
    turn = np.linspace(0.75 * np.pi, 0.25 * np.pi, 7)
    ring = np.stack([np.cos(turn), -np.sin(turn)], axis=1)
    polygon = np.concatenate([120 * ring, 90 * ring[::-1]]) + np.array([100, 150])
    cut = straighten(tensor(image), torch.tensor([0]), sides(polygon), (30, 160))[0].numpy()
    rows = np.linspace(120, 90, 31)[:-1] - 0.5
    # Chords of 7 points are within 1.2% of the arc.
    np.testing.assert_allclose(cut[0], np.repeat(rows[:, None], 160, axis=1), rtol=0.015)
    columns = np.linspace(0.75, 0.25, 161)[:-1] * np.pi * 50
    assert np.abs(cut[1] - columns).max() < 1.0


def test_large_words_are_averaged_not_skipped():
    stripes = np.zeros((200, 400, 3), dtype=np.float32)
    stripes[:, ::2] = 1.0
    cut = straighten(
        tensor(stripes),
        torch.tensor([0]),
        sides([(0, 0), (400, 0), (400, 192), (0, 192)]),
        (48, 96),
    )
    assert (cut[..., 2:-2] - 0.5).abs().max() < 0.3


def test_words_come_from_their_images():
    images = torch.stack([torch.full((3, 40, 60), value) for value in (1.0, 2.0, 3.0)])
    box = [(10, 10), (40, 10), (40, 20), (10, 20)]
    cut = straighten(images, torch.tensor([2, 0, 2]), sides(box, box, box), (8, 16))
    assert cut.mean(dim=(1, 2, 3)).tolist() == [3.0, 1.0, 3.0]


def test_degenerate_sides_give_numbers():
    cut = straighten(torch.ones(1, 3, 20, 20), torch.tensor([0]), torch.zeros(1, 14, 2), (48, 32))
    assert torch.isfinite(cut).all()
    assert widths(torch.zeros(2, 14, 2)).tolist() == [32, 32]


def test_aspect_ratios_and_widths():
    both = sides([(0, 0), (110, 0), (110, 20), (0, 20)], [(0, 0), (10, 0), (10, 20), (0, 20)])
    torch.testing.assert_close(aspect_ratios(both), torch.tensor([5.5, 0.5]))
    assert widths(both).tolist() == [256, 32]  # 264 and 24, to the nearest 32
    assert widths(both * 3.7).tolist() == [256, 32]


def test_extending_a_box():
    (moved,) = extend(
        sides([(10, 10), (110, 10), (110, 30), (10, 30)]),
        *(torch.tensor([amount]) for amount in (0.1, 0.5, 0.2, -0.25)),
    )
    expected = sides([(0, 0), (130, 0), (130, 25), (0, 25)])[0]
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=0)


def test_jitter_stays_within_its_bounds():
    box = sides([(100, 100), (300, 100), (300, 140), (100, 140)]).expand(500, -1, -1)
    torch.manual_seed(0)
    moved = jitter_sides(box, 0.1, 0.25)
    left, top = moved[:, 0].unbind(1)
    right, bottom = moved[:, -1].unbind(1)
    for out in (100 - left, 100 - top, right - 300, bottom - 140):
        assert -4.01 < out.min() < -3.5 and 9.5 < out.max() < 10.01


def test_an_upright_word_is_read_downwards():
    lying = torch.tensor([[0.0, 0], [40, 0], [40, 20], [0, 20]])
    standing = torch.tensor([[0.0, 0], [20, 0], [20, 40], [0, 40]])
    found = sides_of_boxes(torch.stack([lying, standing]))
    assert found[0, [0, 6, 7, 13]].tolist() == [[0, 0], [40, 0], [0, 20], [40, 20]]
    assert found[1, [0, 6, 7, 13]].tolist() == [[20, 0], [20, 40], [0, 0], [0, 40]]
