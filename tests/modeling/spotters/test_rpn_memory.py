"""Matching anchors with words when memory ends."""

import torch
from detectron2.structures import Boxes
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
    for name in ("pairwise_iou", "pairwise_ioa"):
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
