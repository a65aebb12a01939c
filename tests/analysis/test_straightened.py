"""Words laid straight in pictures."""

import numpy as np
import pytest

from dld_d2.analysis.straightened import bend, sides_of_outline, straighten, uprightness


def arc(start, stop, inner=40.0, outer=60.0, centre=(80.0, 80.0)):
    """Sides of a word on an arc, angles in degrees clockwise from the right."""
    angle = np.deg2rad(np.linspace(start, stop, 7))
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([outer * unit, inner * unit]) + centre


def test_an_upright_rectangle_is_cut_out_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    x = np.linspace(10, 74, 7)
    sides = np.concatenate([np.stack([x, np.full(7, y)], axis=1) for y in (12.0, 28.0)])
    assert (straighten(image, sides, (16, 64)) == image[12:28, 10:74]).all()


def test_stripes_along_an_arc_become_columns():
    """What depends on the angle alone depends on the column alone."""
    y, x = np.mgrid[:160, :160] + 0.5
    angle = np.rad2deg(np.arctan2(y - 80, x - 80)) % 360
    image = np.repeat((angle * 0.7)[..., None], 3, axis=2).astype(np.uint8)
    cut = straighten(image, arc(200, 340), (16, 64))[..., 0].astype(float)
    assert np.abs(cut - cut.mean(axis=0)).max() < 3
    assert (np.diff(cut.mean(axis=0)) > 0).all()
    assert cut.mean(axis=0)[[0, -1]] == pytest.approx([0.7 * 201, 0.7 * 339], abs=4)


def test_an_outline_falls_into_its_sides():
    sides = arc(200, 340)
    outline = np.concatenate([sides[:7], sides[:6:-1]])
    assert (sides_of_outline(outline) == sides).all()


def test_how_curved_and_how_upright_words_are():
    assert bend(arc(180, 360)) == pytest.approx(0.5)
    straight = np.stack([np.linspace(0, 3, 7), np.linspace(0, 4, 7)], axis=1)
    word = np.concatenate([straight, straight + np.array([-1, 1])])
    assert bend(word) == pytest.approx(0, abs=1e-12)
    assert uprightness(word) == pytest.approx(0.8)
    assert uprightness(arc(180, 360)) == pytest.approx(0, abs=1e-9)
