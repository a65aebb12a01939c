"""What every spotter must do, for each of those in the table of `all_spotters`."""

import numpy as np
import pytest
import torch
from all_spotters import FIRST, SECOND, SPOTTERS, built
from detectron2.utils.events import EventStorage
from device_waits import device_waits
from lower_precision import lstms_in_lower_precision
from tiny_spotter import sided_input

from dld_d2.data.mapper import TextDatasetMapper
from dld_d2.evaluation.geometry import compute_overlaps
from dld_d2.modeling.selection.views import scale_images
from dld_d2.modeling.spotter_cost import SpotterCost
from dld_d2.modeling.spotters.rescale import scale_targets
from dld_d2.structures.vocabulary import Vocabulary
from dld_d2.synthetic.dataset import SyntheticDataset


@pytest.fixture(scope="module", params=SPOTTERS.values(), ids=SPOTTERS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def shared(kind):
    return built(kind)


@pytest.fixture
def spotter(shared):
    return shared


@pytest.fixture(autouse=True)
def storage():
    """Detectron2's heads log in training."""
    with EventStorage(0):
        yield


def recognize(spotter, inputs, want=None):
    images, targets = spotter.preprocess(inputs)
    with torch.no_grad():
        return spotter.recognize(images, targets, spotter.feature_shapes if want is None else want)


def test_rows_are_the_readable_words_in_target_order(spotter):
    """Of the others one is don't-care, one has a letter that is not known, one is too long."""
    reading = recognize(spotter, [sided_input(FIRST), sided_input(SECOND, seed=1)])
    assert reading.image_index.tolist() == [0, 1, 1]
    texts = [Vocabulary().decode(row) for row in reading.texts.tolist()]
    assert texts == ["Hello", "to", "be"]
    assert len(reading) == len(reading.logits) == len(reading.context) == len(reading.valid) == 3
    assert (reading.negative_log_likelihood() > 0).all()
    assert set(reading.features) == set(spotter.feature_shapes)
    for name, shape in spotter.feature_shapes.items():
        value = reading.features[name]
        if name in ("score_map", "pyramid"):
            maps = value.levels.values() if name == "pyramid" else [value.logits]
            assert all(len(part) == 2 for part in maps)
        elif name == "detection_loss":
            assert value.shape == (2,)
        else:
            assert len(value) == 3 and value.isfinite().all()
            if name == "roi" and shape is not None:
                assert value.shape[1:] == shape
            if name == "context" and shape is not None:
                rows, columns, channels = shape
                assert value.shape[1:] == (rows * columns, channels)
    first, second = reading.context[1], reading.context[2]
    assert (first - second).abs().max() > 1e-3  # they look different


def test_what_is_not_asked_for_is_not_given(spotter):
    assert recognize(spotter, [sided_input(FIRST)], ()).features == {}


def test_an_image_alone_and_in_a_batch_gives_equal_rows(spotter):
    inputs = [sided_input(FIRST), sided_input(SECOND, seed=1)]
    together = recognize(spotter, inputs)
    likelihood, first = together.negative_log_likelihood(), 0
    for index, item in enumerate(inputs):
        alone = recognize(spotter, [item])
        expected = likelihood[first : first + len(alone)]
        torch.testing.assert_close(alone.negative_log_likelihood(), expected, rtol=1e-4, atol=1e-4)
        length = alone.context.shape[1]
        context = together.context[first : first + len(alone), :length]
        torch.testing.assert_close(alone.context, context, rtol=1e-4, atol=1e-4)
        if "detection_loss" in alone.features:
            loss = together.features["detection_loss"][index : index + 1]
            torch.testing.assert_close(alone.features["detection_loss"], loss, rtol=1e-4, atol=1e-5)
        first += len(alone)
    outputs = spotter(inputs)
    texts = spotter.read_regions(inputs, outputs)
    assert [len(t) for t in texts] == [2, 3]  # all but the don't-care one
    assert texts == [spotter.read_regions([x], spotter([x]))[0] for x in inputs]


def test_padding_changes_next_to_nothing(spotter):
    """At the lower and right border a backbone sees what is beyond, and that alone differs."""
    item, large = sided_input(FIRST), sided_input(SECOND, size=(192, 480), seed=1)
    alone = recognize(spotter, [item], ())
    padded = recognize(spotter, [item, large], ())
    assert len(padded) == 3
    length = alone.context.shape[1]
    difference = (padded.context[:1, :length] - alone.context).abs().mean()
    assert difference < 0.15 * alone.context.std()


@pytest.mark.parametrize("scale", [0.3, 0.53, 0.8])
def test_a_scaled_view_keeps_rows(spotter, scale):
    images, targets = spotter.preprocess([sided_input(FIRST, (93, 155)), sided_input(SECOND)])
    targets = spotter.perturb(targets)
    want = spotter.feature_shapes
    with torch.no_grad():
        full = spotter.recognize(images, targets, want)
        view = spotter.batch(scale_images(images, [scale] * 2))
        small = spotter.recognize(view, scale_targets(targets, view.image_sizes), want)
    assert small.image_index.equal(full.image_index) and small.texts.equal(full.texts)
    assert small.logits.shape == full.logits.shape and small.valid.equal(full.valid)
    for name in ("roi", "context"):
        assert small.features[name].shape == full.features[name].shape
    if "score_map" in want:
        # What is no padding is the same part of both images.
        for own, whole in zip(
            small.features["score_map"].sizes, full.features["score_map"].sizes, strict=True
        ):
            assert own == pytest.approx([scale * side for side in whole], abs=1)


@pytest.mark.parametrize(
    "words", [FIRST, FIRST[1:2], FIRST[2:], []], ids=["words", "don't care", "unreadable", "none"]
)
def test_every_parameter_has_a_gradient_whatever_is_in_a_batch(kind, words):
    spotter = built(kind).train()
    losses = spotter([sided_input(words), sided_input(words, seed=1)])
    assert all(loss.isfinite() for loss in losses.values())
    assert (losses["loss_rec"] > 0) == (words is FIRST)
    sum(losses.values()).backward()
    assert [name for name, value in spotter.named_parameters() if value.grad is None] == []
    assert all(value.grad.isfinite().all() for value in spotter.parameters())


def test_in_lower_precision_it_learns_and_reads(kind):
    spotter = built(kind).train()
    inputs = [sided_input(FIRST), sided_input(SECOND, seed=1)]
    with lstms_in_lower_precision(), torch.autocast("cpu", dtype=torch.bfloat16):
        losses = spotter(inputs)
        assert all(loss.isfinite() for loss in losses.values())
        sum(losses.values()).backward()
        assert all(value.grad.isfinite().all() for value in spotter.parameters())
        spotter.eval()
        half = recognize(spotter, inputs, ()).float()
        outputs = spotter(inputs)
        assert [len(t) for t in spotter.read_regions(inputs, outputs)] == [2, 3]
    full = recognize(spotter, inputs, ())
    difference = (half.context - full.context).abs().mean()
    assert difference < 0.1 * full.context.std()


def test_the_best_sequences_are_what_they_are_said_to_be(spotter):
    reading = recognize(spotter, [sided_input(FIRST), sided_input(SECOND, seed=1)], ())
    best = reading.k_best(num_sequences=3, width=5, max_length=spotter.max_length)
    probabilities = best.log_probabilities
    assert best.sequences.shape[:2] == probabilities.shape == (3, 3)
    assert (probabilities[:, :-1] >= probabilities[:, 1:]).all()
    # A search leaves out the class of a beginning, which no text has; what is not trained gives it
    # a hundredth at each step.
    read = reading.log_probability(best.sequences)
    torch.testing.assert_close(read, probabilities, rtol=5e-3, atol=1e-3)
    assert all(len({*map(tuple, rows)}) == 3 for rows in best.sequences.tolist())


def test_of_no_rows_there_are_no_best_sequences(spotter):
    reading = recognize(spotter, [sided_input([])], ())
    best = reading.k_best(num_sequences=3, width=5, max_length=spotter.max_length)
    assert len(reading) == 0 and best.sequences.shape[:2] == (0, 3)


def test_cost_grows_with_the_area_and_with_words(spotter):
    meter = SpotterCost(spotter)
    full, half = meter.table(640, 960), meter.table(640, 960, scale=0.5)
    assert 0.2 < half.published / full.published < 0.3
    assert meter.table(640, 960, num_regions=10).total > full.total
    average = meter.average([(640, 960), (320, 480)], num_regions=10).total
    parts = [meter.table(*size, num_regions=10).total for size in ((640, 960), (320, 480))]
    assert average == pytest.approx(sum(parts) / 2)


ON_MAPS = {name: kind for name, kind in SPOTTERS.items() if kind.perfect is not None}


@pytest.fixture(scope="module")
def scenes():
    """Inputs as testing loads them."""
    cfg = SPOTTERS["Text Perceptron"].cfg(INPUT__MIN_SIZE_TEST=512)
    mapper, data = TextDatasetMapper(cfg, is_train=False), SyntheticDataset(10, seed=11)
    return [mapper(data[index]) for index in range(len(data))]


@pytest.mark.parametrize("kind", ON_MAPS.values(), ids=ON_MAPS)
def test_perfect_maps_give_the_words_back(kind, scenes, monkeypatch):
    spotter, best, number = built(kind), [], 0
    for item in scenes:
        images, targets = spotter.preprocess([item])
        kind.perfect(monkeypatch, spotter, images, targets)
        (found,) = spotter.inference(images)
        words = targets[0][~targets[0].gt_ignore].gt_masks.vertices
        (overlaps,) = compute_overlaps([list(words.numpy())], [found.pred_polygons])
        iou = np.zeros((len(words), len(found)))
        iou[overlaps.gt_index, overlaps.det_index] = overlaps.ious
        best += iou.max(axis=1, initial=0).tolist()
        number += len(found)
    iou, share = kind.back
    assert len(best) > 60 and number <= len(best)
    assert np.mean(np.array(best) > iou) >= share


@pytest.mark.parametrize("name", ["Text Perceptron", "MANGO"])
def test_the_host_waits_for_maps_and_for_texts_alone(name, monkeypatch):
    """Once for a batch, but for a decoder that looks after each character whether all words have
    ended."""
    kind = SPOTTERS[name]
    spotter, words = built(kind), [("to", (90, 10, 130, 30)), ("be", (90, 50, 150, 80))]
    inputs = [sided_input(words), sided_input([]), sided_input(words[1:], seed=1)]
    kind.perfect(monkeypatch, spotter, *spotter.preprocess(inputs))
    for item in inputs:
        del item["instances"]
    with device_waits(spotter) as waits, torch.no_grad():
        outputs = spotter(inputs)
    assert [len(output["instances"]) for output in outputs] == [2, 0, 1]
    maps, *looks, texts = waits
    assert ".cpu()" in maps and ".tolist()" in texts
    assert all("if ended.all()" in look for look in looks)
