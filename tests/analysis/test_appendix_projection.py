"""Principal components against a plain singular value decomposition."""

import numpy as np
import pytest

from dld_d2.analysis.appendix import projection
from dld_d2.analysis.appendix.projection import distances_in_plane, project


@pytest.fixture
def clouds():
    generator = np.random.default_rng(0)
    mix = generator.normal(size=(30, 30))
    return [generator.normal(size=(n, 30)) @ mix + shift for n, shift in ((9, 0), (9, 3), (7, -2))]


@pytest.mark.parametrize("block", [4096, 7])
def test_equals_the_singular_value_decomposition(clouds, block, monkeypatch):
    monkeypatch.setattr(projection, "_BLOCK", block)
    found = project(clouds)
    points = np.concatenate(clouds)
    points -= points.mean(axis=0)
    _, values, axes = np.linalg.svd(points, full_matrices=False)
    axes = axes[:2]
    largest = axes[[0, 1], np.abs(axes).argmax(axis=1)]
    axes *= np.sign(largest)[:, None]
    np.testing.assert_allclose(np.concatenate(found.clouds), points @ axes.T, atol=1e-9)
    np.testing.assert_allclose(found.explained, values[:2] ** 2 / (values**2).sum())
    assert [len(cloud) for cloud in found.clouds] == [9, 9, 7]


def test_half_precision_and_equal_points(clouds):
    found = project([cloud.astype(np.float16) for cloud in clouds])
    expected = project(clouds)
    for a, b in zip(found.clouds, expected.clouds, strict=True):
        np.testing.assert_allclose(a, b, atol=0.05)
    same = project([np.ones((4, 5))])
    assert not same.explained.any() and not same.clouds[0].any()


def test_too_few_points_and_other_dimensions():
    for wrong in ([np.ones((2, 4))], [np.ones((5, 4)), np.ones((5, 3))]):
        with pytest.raises(ValueError, match="three points or more"):
            project(wrong)


def test_partners_may_be_apart_in_clouds_that_lie_on_one_another():
    high = np.array([[0.0, 0], [3, 4], [0, 10]])
    means, partners = distances_in_plane(high, high[[1, 0, 2]])
    assert (means, partners) == (0, 5)
    assert distances_in_plane(high, high + np.array([3.0, 4])) == pytest.approx((5, 5))
