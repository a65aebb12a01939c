"""Sides of words: quadrilaterals, curved polygons, and what is said of odd ones."""

import timeit
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dld_d2.evaluation import read_ground_truth
from dld_d2.structures.sides import POINTS_PER_SIDE, sides_of, word_sides

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "evaluation"
TOTAL_TEXT = DATA / "total-text-gt.zip"
ENDS = [0, POINTS_PER_SIDE - 1, POINTS_PER_SIDE, 2 * POINTS_PER_SIDE - 1]

WIDE = np.array([[0, 0], [90, 0], [90, 30], [0, 30]], dtype=float)
TALL = np.array([[0, 0], [30, 0], [30, 90], [0, 90]], dtype=float)


def ends(polygon):
    """Top left, top right, bottom left and bottom right."""
    return word_sides(polygon)[ENDS]


def rotated(polygon, degrees):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.asarray(polygon, dtype=float) @ np.array([[c, s], [-s, c]])


def arc(upper=5, lower=5, radius=100, depth=40, span=120, middle=270):
    """Vertices of a word along a circle: the outer, upper side, then the lower, backwards."""

    def points(count, radius):
        angle = np.deg2rad(middle + np.linspace(-span / 2, span / 2, count))
        return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    return np.concatenate([points(upper, radius), points(lower, radius - depth)[::-1]])


@pytest.mark.parametrize("degrees", [0, 10, 45, 90, 135, 180, -100])
def test_corners_of_a_quadrilateral_tell_the_sides_at_any_angle(degrees):
    sides = word_sides(rotated(WIDE, degrees))
    assert sides.shape == (14, 2) and sides.dtype == np.float64
    along = np.linspace(0, 90, 7)
    np.testing.assert_allclose(
        rotated(sides, -degrees),
        [*([x, 0] for x in along), *([x, 30] for x in along)],
        atol=1e-9,
    )


def test_long_sides_of_vertical_text_are_upper_and_lower():
    np.testing.assert_allclose(ends(TALL), [[30, 0], [30, 90], [0, 0], [0, 90]])
    # Exactly twice as high is not vertical yet.
    np.testing.assert_allclose(ends(TALL * (1.5, 1)), [[0, 0], [45, 0], [0, 90], [45, 90]])


@pytest.mark.parametrize("degrees", [0, 60, 200])
@pytest.mark.parametrize(
    "shape",
    [
        {"upper": 5, "lower": 5},
        {"upper": 3, "lower": 3, "span": 60},
        {"upper": 7, "lower": 7, "span": 200},
        {"upper": 5, "lower": 4},
        {"upper": 4, "lower": 5},
        {"upper": 3, "lower": 2, "span": 50},
        {"upper": 2, "lower": 4, "span": 50},
        {"upper": 6, "lower": 6, "radius": 60, "depth": -40, "span": -120, "middle": 90},  # a smile
    ],
)
def test_curved_words_have_their_halves_as_sides(shape, degrees):
    polygon = rotated(arc(**shape), degrees)
    assert clockwise(polygon)
    first = shape["upper"]
    np.testing.assert_allclose(ends(polygon), polygon[[0, first - 1, -1, first]], atol=1e-9)


def test_straight_words_with_a_vertex_on_one_side():
    # Three edges of this polygon have right angles at both ends; two of them share no vertex.
    polygon = [(0, 0), (40, 0), (90, 0), (90, 30), (0, 30)]
    for degrees in (0, 33, 90, 181):
        np.testing.assert_allclose(
            ends(rotated(polygon, degrees)),
            rotated([(0, 0), (90, 0), (0, 30), (90, 30)], degrees),
            atol=1e-9,
        )


@pytest.mark.parametrize("first", range(10))
def test_the_first_vertex_may_be_most_of_the_lower_side(first):
    polygon = arc()
    start = np.roll(polygon, -first, axis=0)
    expected = polygon[[0, 4, 9, 5]]
    if 1 <= first <= 5:  # then the other side is what the vertices begin in
        expected = expected[::-1]
    np.testing.assert_allclose(ends(start), expected, atol=1e-9)


def test_points_are_equidistant_along_the_side():
    polygon = arc(upper=9, lower=3)
    for side, line in zip(
        np.split(word_sides(polygon), 2), (polygon[:9], polygon[:8:-1]), strict=True
    ):
        np.testing.assert_allclose(side, walked(line), atol=1e-9)


def walked(line):
    """Seven points along a line, by walking it in small steps."""
    fine = np.concatenate([np.linspace(a, b, 20001)[1:] for a, b in pairwise(line)])
    fine = np.concatenate([line[:1], fine])
    way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    places = np.linspace(0, way[-1], POINTS_PER_SIDE)
    return np.stack([np.interp(places, way, fine[:, i]) for i in (0, 1)], axis=1)


@pytest.mark.parametrize("polygon", [WIDE, WIDE * (0.5, 1), rotated(WIDE, 30), rotated(WIDE, -40)])
@pytest.mark.parametrize("first", range(4))
def test_a_quadrilateral_counterclockwise_is_read_rightwards(polygon, first):
    reverse = np.roll(polygon[::-1], first, axis=0)
    np.testing.assert_allclose(word_sides(reverse), word_sides(polygon), atol=1e-9)


@pytest.mark.parametrize("first", ["upper left", "lower left", "upper right", "lower right"])
def test_a_curved_word_counterclockwise_is_read_rightwards(first):
    polygon = arc()
    start = {"upper left": 0, "upper right": 4, "lower right": 5, "lower left": 9}[first]
    reverse = np.roll(polygon, -start, axis=0)
    reverse = np.concatenate([reverse[:1], reverse[:0:-1]])
    np.testing.assert_allclose(word_sides(reverse), word_sides(polygon), atol=1e-9)


def test_a_steep_word_counterclockwise_is_read_as_its_first_vertex_says():
    polygon = rotated(arc(span=60), 80)
    reverse = np.concatenate([polygon[:1], polygon[:0:-1]])
    np.testing.assert_allclose(word_sides(reverse), word_sides(polygon), atol=1e-9)
    upwards = rotated(arc(span=60), -80)
    reverse = np.concatenate([upwards[:1], upwards[:0:-1]])
    np.testing.assert_allclose(word_sides(reverse), word_sides(upwards), atol=1e-9)


def test_repeated_vertices_do_not_count():
    np.testing.assert_array_equal(word_sides(WIDE[[0, 0, 1, 2, 3, 3, 0]]), word_sides(WIDE))
    curved = arc()
    np.testing.assert_array_equal(
        word_sides(np.concatenate([curved[:3], curved[2:], curved[:1]])), word_sides(curved)
    )


def test_of_fewer_than_four_vertices_the_smallest_rectangle_is_taken():
    for start in range(3):
        for way in (1, -1):
            triangle = np.roll([(0, 0), (60, 0), (20, 15)], start, axis=0)[::way]
            np.testing.assert_allclose(ends(triangle), [[0, 0], [60, 0], [0, 15], [60, 15]])
    np.testing.assert_allclose(
        ends([(0, 60), (60, 60), (20, 45)]), [[0, 45], [60, 45], [0, 60], [60, 60]]
    )
    # Upright: downwards, the right side first.
    np.testing.assert_allclose(
        ends([(0, 0), (0, 60), (15, 20)]), [[15, 0], [15, 60], [0, 0], [0, 60]]
    )
    quad_with_a_repeated_corner = [(0, 0), (60, 0), (60, 0), (20, 15)]
    np.testing.assert_allclose(ends(quad_with_a_repeated_corner)[3], [60, 15])


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 9])
def test_there_are_sides_even_where_there_is_no_area(number):
    on_a_line = np.linspace((3, 4), (50, 60), number)
    for polygon in (np.full((number, 2), 5.0), on_a_line, on_a_line[::-1].tolist()):
        sides = word_sides(polygon)
        assert np.isfinite(sides).all()
        low, high = np.min(polygon, axis=0), np.max(polygon, axis=0)
        assert (sides >= low - 1e-9).all() and (sides <= high + 1e-9).all()


def test_random_polygons_have_ends_among_their_vertices():
    rng = np.random.default_rng(0)
    polygons = [rng.integers(0, 9, (rng.integers(3, 12), 2)) for _ in range(500)]
    together = sides_of(polygons)
    assert together.shape == (500, 14, 2) and np.isfinite(together).all()
    for polygon, sides in zip(polygons, together, strict=True):
        np.testing.assert_array_equal(sides, word_sides(polygon))
        distinct = (polygon != np.roll(polygon, 1, axis=0)).any(axis=1).sum()
        if distinct >= 4:
            distance = np.abs(sides[ENDS][:, None] - polygon).sum(axis=2)
            assert distance.min(axis=1) == pytest.approx(0, abs=1e-9)
    assert sides_of([]).shape == (0, 14, 2)


def test_many_quadrilaterals_are_done_at_once():
    polygons = [rotated(WIDE, angle) for angle in range(180)]

    def seconds(call):
        return min(timeit.repeat(call, number=1, repeat=3))

    # Some 30 times on an idle machine.
    one_by_one = seconds(lambda: [word_sides(polygon) for polygon in polygons])
    assert seconds(lambda: sides_of(polygons)) < one_by_one / 5


@pytest.mark.skipif(not TOTAL_TEXT.is_file(), reason="needs the shared evaluation data")
def test_agreement_with_the_halves_of_total_text():
    words = [word for image in read_ground_truth(TOTAL_TEXT).values() for word in image]
    polygons = [word.polygon for word in words if word.text not in ("#", "###")]
    sides = sides_of(polygons)
    assert len(polygons) == 2215 and np.isfinite(sides).all()
    agree = even = 0
    for polygon, found in zip(polygons, sides, strict=True):
        number = len(polygon)
        if number > 4 and number % 2 == 0:
            halves = polygon[[0, number // 2 - 1, -1, number // 2]]
            # Counter-clockwise polygons begin with any end of any side.
            others = [] if clockwise(polygon) else [[2, 3, 0, 1], [1, 0, 3, 2], [3, 2, 1, 0]]
            even += 1
            agree += any(
                np.allclose(found[ENDS], halves[order]) for order in [[0, 1, 2, 3], *others]
            )
    assert even == 975
    assert agree >= 914


def clockwise(polygon):
    x, y = polygon.T
    return (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0
