"""Matching anchors with words: in little memory, and when memory ends."""

import pytest
import torch
from detectron2.structures import Boxes, pairwise_iou
from tiny_spotter import make_input, tiny_spotter

from dld_d2.modeling.spotters.mask_rcnn import rpn

WORDS = [("Hello", (10, 10, 60, 26)), ("###", (90, 50, 150, 80)), ("to", (20, 60, 45, 75))]


def test_matching_is_tried_again_when_memory_ends(monkeypatch):
    spotter = tiny_spotter()
    generator = spotter.proposal_generator
    images, targets = spotter.preprocess([make_input(WORDS)])
    features = spotter.features(images)
    anchors = generator.anchor_generator([features[name] for name in generator.in_features])

    def label():
        torch.manual_seed(0)
        return generator.label_and_sample_anchors(anchors, targets)

    expected = label()
    for name in ("anchor_overlaps", "pairwise_ioa"):
        original, calls = getattr(rpn, name), []

        def runs_out_twice(*args, original=original, calls=calls):
            calls.append([boxes.device for boxes in args])
            if len(calls) < 3:
                raise RuntimeError("CUDA out of memory. Tried to allocate 9 GiB")
            return original(*args)

        with monkeypatch.context() as context:
            context.setattr(rpn, name, runs_out_twice)
            found = label()
        assert len(calls) == 3, name
        assert isinstance(anchors[0], Boxes)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)


def boxes(number, seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(number, 2, generator=generator) * 200
    size = torch.rand(number, 2, generator=generator) * 60
    return Boxes(torch.cat([corner, corner + size], dim=1))


@pytest.mark.parametrize("pairs", [1, 300, 10**6])
def test_overlaps_are_detectron2s_to_the_bit_however_many_pairs_are_taken_at_a_time(
    monkeypatch, pairs
):
    monkeypatch.setitem(rpn._PAIRS, "cpu", pairs)
    words, anchors = boxes(7, seed=1), boxes(111, seed=2)
    words.tensor[3, 2:] = words.tensor[3, :2]  # a word without an extent
    words.tensor[4] = anchors.tensor[9]
    found = rpn.anchor_overlaps(words, anchors)
    assert torch.equal(found, pairwise_iou(words, anchors))
    assert found[4, 9] == 1 and (found[3] == 0).all() and (found > 0).sum() > 20


def test_overlaps_of_no_words():
    assert rpn.anchor_overlaps(boxes(0, seed=1), boxes(5, seed=2)).shape == (0, 5)
