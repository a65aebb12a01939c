"""The contract, answered by the one-stage spotter."""

import re

import numpy as np
import pytest
import torch
from all_spotters import SPOTTERS, settled
from detectron2.utils.events import EventStorage
from mango_spotter import FIRST, SECOND, mango_spotter
from tiny_spotter import make_input, sided_input

from dld_d2.modeling.spotter_cost import SpotterCost

WANT = ("roi", "context", "score_map", "detection_loss")


@pytest.fixture(scope="module", params=[True, False], ids=["local", "published"])
def spotter(request):
    return settled(SPOTTERS["MANGO"], mango_spotter(MODEL__MANGO__ATTENTION__LOCAL=request.param))


def test_losses_and_recognition_of_one_pass(spotter):
    images, targets = spotter.preprocess([sided_input(SECOND), sided_input(FIRST)])
    losses, reading = spotter.losses(images, targets, WANT)
    assert set(losses) == {"loss_rec", "loss_center_line", "loss_category"}
    recognised = spotter.recognize(images, targets, WANT)
    for name in ("roi", "context", "detection_loss"):
        torch.testing.assert_close(reading.features[name], recognised.features[name])
    torch.testing.assert_close(reading.logits, recognised.logits)
    loss = reading.features["detection_loss"].mean()
    torch.testing.assert_close(losses["loss_center_line"], loss)


def test_all_cells_are_read_in_training_and_one_of_each_word_is_told():
    changes = {"MODEL__MANGO__GRID_SIZE": 40, "MODEL__MANGO__ROWS": "cells"}
    spotter = settled(SPOTTERS["MANGO"], mango_spotter(**changes))
    images, targets = spotter.preprocess([sided_input(SECOND), sided_input(FIRST)])
    losses, reading = spotter.losses(images, targets, WANT)
    recognised = spotter.recognize(images, targets, WANT)
    assert reading.texts.equal(recognised.texts) and len(reading) == 3
    torch.testing.assert_close(reading.logits, recognised.logits)
    torch.testing.assert_close(reading.context, recognised.context)
    one = reading.negative_log_likelihood().sum() / reading.valid.sum()
    assert (losses["loss_rec"] - one).abs() > 1e-3


KINDS = {
    "all cells": {"MODEL__MANGO__ROWS": "cells", "MODEL__MANGO__GRID_SIZE": 40},
    "masks": {"MODEL__MANGO__MASK_LOSS_WEIGHT": 3.0, "MODEL__MANGO__ATTENTION__LOCAL": True},
    "GN, sum, padded": {
        "MODEL__MANGO__NORM": "GN",
        "MODEL__MANGO__FUSION__POOLING": "sum",
        "MODEL__MANGO__GRID_OVER": "padded",
        "MODEL__MANGO__CENTER_LINE__WIDE": True,
        # Group norm has 32 groups.
        "MODEL__MANGO__CATEGORY__CONV_DIM": 32,
        "MODEL__MANGO__ATTENTION__CONV_DIM": 32,
        "MODEL__MANGO__FUSION__CONV_DIM": 32,
    },
}


@pytest.mark.parametrize("words", [FIRST, FIRST[1:2], []], ids=["words", "don't care", "none"])
@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_everything_has_a_gradient_whatever_is_in_a_batch(changes, words):
    spotter = mango_spotter(**changes).train()
    losses = spotter([sided_input(words), sided_input(words, seed=1)])
    assert ("loss_masks" in losses) == ("MODEL__MANGO__MASK_LOSS_WEIGHT" in changes)
    sum(losses.values()).backward()
    assert [name for name, value in spotter.named_parameters() if value.grad is None] == []
    assert all(torch.isfinite(value.grad).all() for value in spotter.parameters())
    if words is not FIRST:
        assert losses["loss_rec"] == 0
        assert losses.get("loss_masks", 0) == 0


def test_reading_through_slices_teaches_nothing_of_where_to_look():
    changes = {"MODEL__MANGO__FORCED_MASKS_ITERS": 5, "MODEL__MANGO__FORCED_MASKS_PROB": 0.0}
    spotter = mango_spotter(**changes).train()

    def gradient(iteration):
        spotter.zero_grad()
        with EventStorage(iteration):
            spotter([sided_input(FIRST)])["loss_rec"].backward()
        reader = spotter.reader
        parts = (reader.attention.kernel.weight, reader.fusion[0].weight)
        return [part.grad.abs().max().item() for part in parts]

    forced, own = gradient(0), gradient(5)
    assert forced[0] == 0 and own[0] > 0 and min(forced[1], own[1]) > 0


def test_the_share_of_forced_words_falls():
    changes = {"MODEL__MANGO__FORCED_MASKS_ITERS": 10, "MODEL__MANGO__FORCED_MASKS_PROB": 0.2}
    options = mango_spotter(**changes).options
    shares = []
    for iteration in (0, 5, 10, 100):
        with EventStorage(iteration):
            shares.append(options.forced_share())
    assert shares == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert options.forced_share() == 0.2  # outside of a training loop


def test_a_part_of_the_words_is_forced_by_chance():
    options = mango_spotter(MODEL__MANGO__FORCED_MASKS_PROB=0.25).options
    torch.manual_seed(0)
    assert 200 < options.draw_forced(1000, torch.device("cpu")).sum() < 300
    assert mango_spotter().options.draw_forced(10, torch.device("cpu")) is None


def paint(spotter, monkeypatch, boxes, size):
    """Let the spotter find words in boxes of the map, one cell for each."""
    lines = torch.full((1, size[0] // 4, size[1] // 4), -10.0)
    category = torch.full((1, 12, 12), -10.0)
    for x0, y0, x1, y1 in boxes:
        lines[0, y0:y1, x0:x1] = 2.0
        category[0, int((y0 + y1) * 24 / size[0]), int((x0 + x1) * 24 / size[1])] = 1.0
    monkeypatch.setattr(spotter.center_line, "forward", lambda features: lines)
    monkeypatch.setattr(spotter.category, "forward", lambda sampled: category)


BOXES = [(4, 3, 14, 6), (18, 14, 24, 17)]


def test_what_is_found_is_read_as_the_ground_truth_there(spotter, monkeypatch):
    size = (96, 160)
    paint(spotter, monkeypatch, BOXES, size)
    words = [("some", tuple(4 * side for side in box)) for box in BOXES]
    item = sided_input(words, size)
    output = spotter([{**item, "height": 2 * 96, "width": 2 * 160}])
    found = output[0]["instances"]
    assert found.image_size == (192, 320)
    corners = [
        [(8 * x, 8 * y) for x, y in ((a, b), (c, b), (c, d), (a, d))] for a, b, c, d in BOXES
    ]
    np.testing.assert_allclose(np.stack(found.pred_polygons), corners, atol=1e-2)
    probability = torch.tensor([2.0, 1.0]).sigmoid().prod()
    torch.testing.assert_close(found.scores, probability.expand(2))
    (texts,) = spotter.read_regions([item], output)
    assert found.pred_texts == texts
    reading = spotter.recognize(*spotter.preprocess([item]))
    classes, scores = spotter.reader.decoder.greedy(reading.context, 32)
    assert texts == [spotter.vocabulary.decode(row) for row in classes.tolist()]
    torch.testing.assert_close(found.text_scores, scores, rtol=1e-3, atol=1e-5)
    assert (scores[0] - scores[1]).abs() > 1e-3
    monkeypatch.setattr(spotter, "score_threshold", probability.item() + 0.01)
    assert len(spotter.inference(spotter.preprocess([item])[0])[0]) == 0
    monkeypatch.undo()


def test_an_image_without_words(spotter, monkeypatch):
    paint(spotter, monkeypatch, [], (96, 160))
    item = sided_input([])
    output = spotter([item])
    found = output[0]["instances"]
    assert len(found) == 0 and found.pred_polygons == [] and found.pred_texts == []
    assert found.pred_boxes.tensor.shape == (0, 4) and found.text_scores.shape == (0,)
    assert spotter.read_regions([item], output) == [[]]


def test_attention_is_paid_for_each_word_and_pixel(spotter):
    meter = SpotterCost(spotter)
    full, half = (
        meter.table(640, 960, scale=scale, num_regions=10).total
        - meter.table(640, 960, scale=scale).total
        for scale in (1.0, 0.5)
    )
    assert 0 < half < 0.6 * full


def test_only_one_level_of_the_pyramid_is_there(spotter):
    names = {name for name, _ in spotter.backbone.named_parameters() if "output" in name}
    assert names == {"fpn_output2.weight", "fpn_output2.bias"}


def test_ground_truth_without_sides_is_refused(spotter):
    images, targets = spotter.preprocess([make_input(FIRST)])
    with pytest.raises(ValueError, match="gt_sides"):
        spotter.recognize(images, targets)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ROWS", "some", "'some'; expected one of 'cells', 'words'"),
        ("GRID_OVER", "everything", "'everything'; expected one of 'image', 'padded'"),
        ("GRID_SIZE", "0", "0; expected a whole number of at least 1"),
        ("SHRINK_RATIO", "1.5", "1.5; expected a number of at least 0 and at most 1"),
        ("FORCED_MASKS_PROB", "-0.1", "-0.1; expected a number of at least 0 and at most 1"),
        ("MASK_LOSS_WEIGHT", "-1.0", "-1.0; expected a number of at least 0"),
        ("UNCLIP_RATIO_TEST", "-1.0", "-1.0; expected a number of at least 0"),
        ("CENTER_LINE.NORM", "Batch", "'Batch'; expected one of '', 'BN'"),
        ("SEQUENCE.FC_DIMS", "(0,)", "each value in it a whole number of at least 1"),
        ("IN_FEATURE", "p9", "'p9', only p2"),
        ("FUSION.POOLING", "max", "'max'; expected one of 'mean', 'sum'"),
    ],
)
def test_values_that_cannot_be_used_are_named(key, value, message):
    with pytest.raises(ValueError, match=rf"MODEL\.MANGO\.{key}.*{re.escape(message)}"):
        mango_spotter(**{f"MODEL__MANGO__{key.replace('.', '__')}": value})


def test_channels_that_groups_do_not_divide_are_refused():
    message = r"MODEL\.MANGO\.CATEGORY\.CONV_DIM is 16.*a multiple of 32.*MODEL\.MANGO\.NORM"
    with pytest.raises(ValueError, match=message):
        mango_spotter(MODEL__MANGO__NORM="GN")
