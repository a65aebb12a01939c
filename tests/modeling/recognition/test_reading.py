"""Readings of ground-truth regions: what they hold, and that no rows are still connected."""

import pytest
import torch
from lower_precision import lstms_in_lower_precision
from tiny_spotter import make_input, tiny_spotter

FIRST = [("Hello", (10, 10, 60, 26)), ("###", (90, 50, 150, 80)), ("to", (20, 60, 45, 75))]
SECOND = [("be", (120, 10, 150, 22))]
OFFERED = {"roi", "context", "attention", "glimpses", "pyramid"}


@pytest.fixture(scope="module")
def spotter():
    return tiny_spotter().eval()


def recognize(spotter, *words, want=()):
    inputs = [make_input(each, seed=i) for i, each in enumerate(words)]
    return spotter.recognize(*spotter.preprocess(inputs), want)


@pytest.mark.parametrize("want", [(), ("context",), ("roi", "glimpses"), tuple(sorted(OFFERED))])
def test_it_holds_what_was_asked_for(spotter, want):
    assert set(spotter.feature_shapes) == OFFERED
    assert set(recognize(spotter, FIRST, want=want).features) == set(want)


def test_what_features_are(spotter):
    reading = recognize(spotter, FIRST, SECOND, want=OFFERED)
    n, t = reading.texts.shape
    assert (n, t) == (3, 6) and reading.image_index.tolist() == [0, 0, 1]
    shapes = spotter.feature_shapes
    assert reading.features["roi"].shape == (n, *shapes["roi"])
    rows, columns, channels = shapes["context"]
    assert reading.features["context"].shape == (n, rows * columns, channels)
    attention, glimpses = reading.features["attention"], reading.features["glimpses"]
    assert attention.shape == (n, t, rows * columns)
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(n, t))
    torch.testing.assert_close(glimpses, attention @ reading.context)
    pyramid = reading.features["pyramid"]
    assert list(pyramid.levels) == ["p2", "p3", "p4", "p5", "p6"]
    channels, *strides = shapes["pyramid"]
    assert list(pyramid.strides.values()) == strides == [4, 8, 16, 32, 64]
    assert pyramid.sizes == [(96, 160)] * 2
    for level, stride in zip(pyramid.levels.values(), strides, strict=True):
        assert level.shape == (2, channels, -(-96 // stride), -(-160 // stride))
    # Asking changes nothing of what is read.
    torch.testing.assert_close(recognize(spotter, FIRST, SECOND).logits, reading.logits)


def test_positions_that_count(spotter):
    reading = recognize(spotter, FIRST)
    assert reading.valid.sum(dim=1).tolist() == [6, 3]  # characters and end
    expected = torch.stack(
        [
            -sum(row[i].log_softmax(dim=0)[c] for i, c in enumerate(text.tolist()) if c >= 0)
            for row, text in zip(reading.logits, reading.texts, strict=True)
        ]
    )
    torch.testing.assert_close(reading.negative_log_likelihood(), expected)
    sequences = torch.stack([reading.texts, reading.texts.roll(1, 0)], dim=1)
    found = reading.log_probability(sequences)
    torch.testing.assert_close(found[:, 0], -expected)


def test_no_rows_are_connected_to_every_parameter():
    spotter = tiny_spotter().train()
    want = ("roi", "context", "attention", "glimpses")
    reading = recognize(spotter, [], [("###", (90, 50, 150, 80))], want=want)
    assert len(reading) == 0 and all(len(x) == 0 for x in reading.features.values())
    assert reading.negative_log_likelihood().shape == (0,) and reading.valid.shape[0] == 0
    found = reading.k_best(num_sequences=2, width=3, max_length=32)
    assert found.sequences.shape == (0, 2, 1)
    sums = [reading.logits, reading.log_probability(found.sequences), *reading.features.values()]
    total = sum(x.sum() for x in sums)
    total.backward()
    assert total.item() == 0
    reads = [p for n, p in spotter.named_parameters() if "text_head" in n and "ctc" not in n]
    reads += spotter.backbone.bottom_up.parameters()
    assert len(reads) > 50 and all(p.grad is not None and not p.grad.any() for p in reads)


def test_maps_of_images_stay_where_no_words_are(spotter):
    reading = recognize(spotter, [], [("###", (90, 50, 150, 80))], want=("roi", "pyramid"))
    assert len(reading.features["roi"]) == 0
    assert [len(level) for level in reading.features["pyramid"].levels.values()] == [2] * 5


def test_rows_of_the_first_images(spotter):
    reading = recognize(spotter, FIRST, SECOND, want=("roi",))
    first = reading.of_first_images(1)
    assert len(first) == 2 and first.image_index.tolist() == [0, 0] and not first.features
    assert torch.equal(first.logits, reading.logits[:2])
    assert len(reading.of_first_images(2)) == 3


def test_half_precision_becomes_single(spotter):
    half = torch.autocast("cpu", dtype=torch.bfloat16)
    with lstms_in_lower_precision(), torch.no_grad(), half:
        reading = recognize(spotter, FIRST, want=("roi", "pyramid"))
    assert reading.logits.dtype == torch.bfloat16
    wide = reading.float()
    assert wide.logits.dtype == wide.context.dtype == wide.features["roi"].dtype == torch.float32
    assert all(level.dtype == torch.float32 for level in wide.features["pyramid"].levels.values())
    assert wide.texts.dtype == torch.int64
