"""Distances of features, and the features themselves by the contract."""

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog

from dld_d2.analysis.appendix.features import (
    DISTANCES,
    mean_distances,
    word_distances,
    word_features,
)
from dld_d2.data.mapper import TextDatasetMapper
from dld_d2.deployment.predictor import TextSpotter
from dld_d2.evaluation.bootstrap import mean_intervals


def test_distances_equal_those_of_each_word():
    generator = torch.Generator().manual_seed(0)
    high, low = (torch.randn(5, 3, 2, 4, generator=generator) for _ in "hl")
    low[3] = high[3]
    found = word_distances(high, low)
    for row, h, x in zip(found, high.double(), low.double(), strict=True):
        h, x = h.ravel().numpy(), x.ravel().numpy()
        square = sum((a - b) ** 2 for a, b in zip(h, x, strict=True)) / 24
        absolute = sum(abs(a - b) for a, b in zip(h, x, strict=True)) / 24
        relative = np.sqrt(24 * square) / np.linalg.norm(h)
        np.testing.assert_allclose(row, [square**0.5, square, absolute, relative], rtol=1e-5)
    assert not found[3].any()
    doubled = word_distances(2 * high, 2 * low)
    np.testing.assert_allclose(doubled[:, 3], found[:, 3])
    np.testing.assert_allclose(doubled[:, 1], 4 * found[:, 1])
    assert not word_distances(torch.zeros(1, 4), torch.zeros(1, 4)).any()


def test_means_are_over_words_and_images_are_drawn():
    by_image = [np.full((3, 4), 1.0), np.zeros((0, 4)), np.full((1, 4), 5.0)]
    found = mean_distances(by_image, repeats=500)
    assert list(found) == list(DISTANCES)
    assert found["rms"].mean == 2.0
    assert (found["rms"].low, found["rms"].high) == (1.0, 5.0)
    with pytest.raises(ValueError, match="needs images"):
        mean_distances([np.zeros((0, 4))])


def test_intervals_equal_a_bootstrap_by_hand():
    generator = np.random.default_rng(1)
    numbers = generator.integers(1, 6, 12)
    sums = generator.normal(size=(12, 2)) * numbers[:, None]
    found = mean_intervals(sums, numbers, 400, seed=3)
    weights = np.random.default_rng(3).multinomial(12, np.full(12, 1 / 12), size=400)
    means = []
    for drawn in weights:
        rows = np.repeat(np.arange(12), drawn)
        means.append(sums[rows].sum(axis=0) / numbers[rows].sum())
    np.testing.assert_allclose(found[:, 0], sums.sum(axis=0) / numbers.sum())
    np.testing.assert_allclose(found[:, 1:].T, np.quantile(means, [0.025, 0.975], axis=0))
    with pytest.raises(ValueError, match="each with a word"):
        mean_intervals(sums, 0 * numbers, 10)


def test_features_of_a_spotter_are_those_of_its_readable_words():
    spotter = TextSpotter.pretrained("tiny_teacher", device="cpu")
    item = DatasetCatalog.get("synthetic_test")[0]
    mapper = TextDatasetMapper(
        is_train=False,
        augmentations=[],
        image_format="BGR",
        vocabulary=spotter.model.vocabulary,
        max_length=spotter.model.max_length,
    )
    inputs = [mapper(item)]
    full, half, again = (
        word_features(spotter.model, inputs, scale, ("roi", "context")) for scale in (1, 0.5, 1)
    )
    number = int(inputs[0]["instances"].gt_readable.sum())
    assert number > 1
    for name, rows in full.items():
        assert rows.shape == half[name].shape and len(rows) == number
        torch.testing.assert_close(rows, again[name])
        relative = word_distances(rows, half[name])[:, 3]
        assert (relative > 0.05).all() and (relative < 2).all()
    images, targets = spotter.model.preprocess(inputs)
    with torch.no_grad():
        reading = spotter.model.recognize(images, targets, want=("roi",))
    torch.testing.assert_close(reading.features["roi"], full["roi"])
