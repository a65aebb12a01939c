"""Which words are read in training, and what stands in where there are none."""

import torch
from detectron2.structures import Boxes
from tiny_spotter import make_input

from dld_d2.modeling.spotters.rows import Rows
from dld_d2.structures.vocabulary import Vocabulary

WORDS = [
    [("Hello", (10, 10, 60, 26)), ("###", (90, 50, 150, 80)), ("to", (20, 60, 45, 75))],
    [("x" * 33, (5, 60, 80, 75))],
    [("be", (120, 10, 150, 22))],
]


def targets_of(words):
    return [make_input(each, seed=i)["instances"] for i, each in enumerate(words)]


def test_readable_words_in_target_order():
    rows = Rows.of(targets_of(WORDS))
    assert not rows.stand_in and rows.image_index.tolist() == [0, 0, 2]
    assert [len(target) for target in rows.targets] == [2, 0, 1]
    assert rows.texts.shape == (3, 6)  # the longest, with its end
    vocabulary = Vocabulary()
    for row, word in zip(rows.texts, ("Hello", "to", "be"), strict=True):
        assert row.tolist() == vocabulary.encode(word, 32)[:6]
    boxes = torch.cat([target.gt_boxes.tensor for target in rows.targets])
    assert boxes[:, 0].tolist() == [10, 20, 120]


def test_a_region_of_the_first_image_stands_in():
    targets = targets_of([WORDS[1], []])
    for target in targets:
        target.gt_sides = torch.rand(len(target), 4, 2)  # which another spotter may need
    rows = Rows.of(targets)
    assert rows.stand_in and [len(target) for target in rows.targets] == [1, 0]
    (first, second), (height, width) = rows.targets, targets[0].image_size
    assert first.gt_boxes.tensor.tolist() == [[0, 0, width, height]]
    assert first.gt_masks.get_bounding_boxes().tensor.tolist() == [[0, 0, width, height]]
    assert first.gt_sides.shape == (1, 4, 2)
    assert rows.texts.tolist() == [[Vocabulary.PADDING]] and rows.image_index.tolist() == [0]
    assert isinstance(second.gt_boxes, Boxes) and len(second.gt_texts) == 0
    assert len(targets[0]) == 1  # the ground truth stays as it is
