"""What the network that looks first shall say."""

import cv2
import numpy as np
import torch
from detectron2.structures import Instances

from dld_d2.modeling.focus.targets import focus_targets
from dld_d2.structures.polygons import Polygons, word_heights

SIZE = (160, 240)  # at the full resolution
SCALE = 0.5


def image(*words, size=SIZE):
    """Of words (x0, y0, x1, y1, don't-care)."""
    boxes = [np.array([[a, b], [c, b], [c, d], [a, d]], np.float32) for a, b, c, d, _ in words]
    ignore = torch.tensor([bool(word[4]) for word in words], dtype=torch.bool)
    return Instances(size, gt_masks=Polygons.from_arrays(boxes), gt_ignore=ignore)


def drawn(*images, size=(80, 128)):
    heights = [word_heights(one.gt_masks.vertices) for one in images]
    return focus_targets(images, heights, SCALE, size)


def test_places_of_words_and_their_heights():
    found = drawn(image((32, 32, 96, 64, 0), (128, 96, 144, 104, 0)))
    expected = torch.zeros(10, 16)
    expected[2:4, 2:6] = 1
    expected[6, 8] = 1
    assert torch.equal(found.text[0], expected)
    height = found.height[0]
    # In pixels of what is looked at: 32 and 8 pixels high at the full resolution.
    assert torch.allclose(height[2:4, 2:6], torch.tensor(16.0), rtol=0.1)
    assert abs(height[6, 8] - 4) < 1 and height[0, 0] == 0
    assert height.dtype == found.text.dtype == found.known.dtype == torch.float32


def test_of_words_that_share_a_place_the_smaller_one_says_the_height():
    for words in ([(0, 0, 64, 64, 0), (64, 0, 72, 8, 0)], [(64, 0, 72, 8, 0), (0, 0, 64, 64, 0)]):
        moved = [(a + 4, b, c + 4, d, i) for a, b, c, d, i in words]
        assert drawn(image(*moved)).height[0, 0, 4] < 6


def test_what_is_not_known():
    found = drawn(
        image((32, 32, 64, 64, 1), (128, 32, 160, 64, 1), (128, 32, 160, 64, 0), (0, 96, 3, 99, 0))
    )
    known = found.known[0]
    assert not known[2:4, 2:4].any()  # don't care
    assert known[2:4, 8:10].all() and found.text[0, 2:4, 8:10].all()  # a word all the same
    assert known[6, 0] == 0 and found.text[0, 6, 0] == 0  # next to nothing of a word
    assert known[0, :15].all() and not known[:, 15:].any()  # padding: 120 pixels are 15 places


def test_a_batch_is_drawn_as_its_images_are():
    first, second = image((32, 32, 96, 64, 0)), image((0, 0, 40, 20, 1), size=(100, 120))
    both = drawn(first, second)
    for index, one in enumerate((first, second)):
        for batch, alone in zip(both, drawn(one), strict=True):
            assert torch.equal(batch[index], alone[0])
    none = drawn(image())
    assert not none.text.any() and not none.height.any()


def test_against_drawing_at_sixteen_times_the_resolution():
    generator = np.random.default_rng(3)
    centre, turn = np.array([60.0, 40.0]), 0.4
    for _ in range(5):
        sides = generator.uniform(12, 40, 2)
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * sides / 2
        spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        polygon = (corners @ spin.T + centre).astype(np.float32)
        target = Instances(
            SIZE,
            gt_masks=Polygons.from_arrays([2 * polygon]),
            gt_ignore=torch.zeros(1, dtype=torch.bool),
        )
        fine = np.zeros((80 * 16, 128 * 16), np.uint8)
        cv2.fillPoly(fine, [np.rint(polygon * 16).astype(np.int32)], 1)
        cover = fine.reshape(10, 128, 16, 128).mean(axis=(1, 3))
        text = drawn(target).text[0].numpy()
        assert (text[cover > 0.12] == 1).all() and (text[cover == 0] == 0).mean() > 0.97
        turn += 0.5
