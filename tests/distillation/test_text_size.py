"""What the selector learns before it chooses: how large words are."""

import math

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from tiny_spotter import make_input

from dld_d2.distillation.text_size import SIZE_EDGES, TextSizeEstimator, size_classes
from dld_d2.modeling.selection.selector import ResolutionSelector
from dld_d2.structures.polygons import Polygons, word_heights


def rectangle(width, height, degrees=0.0):
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64)
    angle = math.radians(degrees)
    turn = np.array([(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))])
    return (corners @ turn + 100).astype(np.float32)


def arc(radius, height, degrees, points=20):
    """A word bent along an arc."""
    angles = np.radians(np.linspace(0, degrees, points))
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.concatenate([radius * ring, (radius + height) * ring[::-1]]).astype(np.float32) + 300


class TestWordHeights:
    @pytest.mark.parametrize("degrees", [0, 30, 90, 137])
    @pytest.mark.parametrize(("width", "height"), [(80, 20), (20, 80), (25, 25), (300, 6)])
    def test_rectangles(self, width, height, degrees):
        polygons = Polygons.from_arrays([rectangle(width, height, degrees)])
        expected = min(width, height)
        assert word_heights(polygons.vertices).item() == pytest.approx(expected, rel=0.02)

    def test_bent_words_and_padding(self):
        # Polygons of fewer vertices repeat their last one.
        polygons = Polygons.from_arrays([arc(120, 30, 90), rectangle(50, 10)])
        torch.testing.assert_close(
            word_heights(polygons.vertices), torch.tensor([30.0, 10.0]), rtol=0.03, atol=0
        )

    def test_degenerate_polygons_stay_finite(self):
        line = np.zeros((4, 2), dtype=np.float32)
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        circle = 10 * np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        heights = word_heights(Polygons.from_arrays([line, circle]).vertices)
        assert heights[0] == 0 and 10 < heights[1] < 20


def target(heights, ignore=None):
    target = Instances((400, 400))
    target.gt_masks = Polygons.from_arrays([rectangle(4 * h, h) for h in heights])
    target.gt_boxes = Boxes(torch.zeros(len(heights), 4))
    target.gt_ignore = torch.tensor(ignore or [False] * len(heights))
    return target


def test_classes_are_half_octaves_of_words_that_count():
    assert SIZE_EDGES[0] == 6 and SIZE_EDGES[-1] == 192 and len(SIZE_EDGES) == 11
    found = size_classes(target([5, 18, 19, 90, 40], [False, False, False, False, True]))
    assert found.nonzero().flatten().tolist() == [0, 4, 8]
    assert size_classes(target([3, 250])).nonzero().flatten().tolist() == [0, 11]
    assert size_classes(target([10])[:0]).sum() == 0


def make_estimator():
    torch.manual_seed(0)
    selector = ResolutionSelector(num_scales=3, channels=(4, 8), pooling="mean_max")
    return TextSizeEstimator(selector=selector, pixel_mean=(100.0,) * 3, pixel_std=(50.0,) * 3)


def test_all_layers_learn_and_none_is_about_scales():
    estimator = make_estimator()
    inputs = [
        make_input([("word", (5, 5, 60, 25)), ("###", (5, 40, 80, 60))], (64, 96), seed=i)
        for i in range(2)
    ]
    losses = estimator(inputs)
    assert set(losses) == {"loss_text_size"}
    losses["loss_text_size"].backward()
    for name, parameter in estimator.named_parameters():
        assert "classifier" not in name
        assert parameter.grad.abs().sum() > 0, name


def test_the_loss_written_out():
    estimator = make_estimator()
    inputs = [make_input([("word", (5, 5, 60, 25))], (64, 96), seed=i) for i in range(2)]
    with torch.no_grad():
        loss = estimator(inputs)["loss_text_size"].item()
        images = torch.stack([(x["image"].float() - 100) / 50 for x in inputs])
        logits = estimator.head(estimator.selector.features(images, [(64, 96)] * 2))
    expected = 0.0
    for row, item in zip(logits.tolist(), inputs, strict=True):
        wanted = size_classes(item["instances"]).tolist()
        for logit, label in zip(row, wanted, strict=True):
            p = 1 / (1 + math.exp(-logit))
            expected -= math.log(p if label else 1 - p) / (2 * len(wanted))
    assert loss == pytest.approx(expected, rel=1e-4)


def test_probabilities_in_evaluation():
    estimator = make_estimator().eval()
    found = estimator([make_input([("word", (5, 5, 60, 25))], (64, 96), seed=0)])
    assert found.shape == (1, 12)
    assert ((found > 0) & (found < 1)).all()
