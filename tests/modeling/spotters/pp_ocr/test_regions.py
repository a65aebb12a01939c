"""Rectangles out of score maps, against shapes that are known and a plain way to compute them."""

import cv2
import numpy as np
import pytest
import shapely

from dld_d2.modeling.spotters.pp_ocr.regions import _distance_of_shrinking, regions_of
from dld_d2.modeling.spotters.pp_ocr.score_map_targets import score_map_targets

SIZE = (120, 200)


def blank(size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.zeros(size, dtype=np.float32)


def rectangle(x: float, y: float, width: float, height: float, degrees: float) -> np.ndarray:
    """Corners (4, 2), clockwise from the upper left of the one that is not turned."""
    angle = np.deg2rad(degrees)
    along = np.array([np.cos(angle), np.sin(angle)]) * width / 2
    down = np.array([-np.sin(angle), np.cos(angle)]) * height / 2
    corners = np.array([-along - down, along - down, along + down, down - along])
    return corners + np.array([x, y])


def iou(a: np.ndarray, b: np.ndarray) -> float:
    a, b = shapely.Polygon(a), shapely.Polygon(b)
    return a.intersection(b).area / a.union(b).area


def rasterised(polygons: list[np.ndarray], size: tuple[int, int] = SIZE) -> np.ndarray:
    """1 where pixels' centres are inside."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    shapes = [shapely.Polygon(p) for p in polygons]
    return np.max([shapely.contains_xy(s, x, y) for s in shapes], axis=0).astype(np.float32)


def test_a_block_of_pixels_is_exact():
    score_map = blank()
    score_map[20:30, 10:50] = 0.8
    corners, scores = regions_of(score_map, unclip_ratio=0.0)
    np.testing.assert_allclose(corners, [[[10, 20], [50, 20], [50, 30], [10, 30]]], atol=1e-4)
    np.testing.assert_allclose(scores, [0.8], rtol=1e-6)
    assert corners.dtype == scores.dtype == np.float32
    # Area 400, perimeter 100: the ratio 2 moves all sides by 8.
    corners, _ = regions_of(score_map, unclip_ratio=2.0)
    np.testing.assert_allclose(corners, [[[2, 12], [58, 12], [58, 38], [2, 38]]], atol=1e-4)


def inverse_ratio(width: float, height: float, shrink_ratio: float) -> float:
    """The unclip ratio that gives a rectangle back after it was shrunk."""
    distance = width * height * (1 - shrink_ratio**2) / (2 * (width + height))
    width, height = width - 2 * distance, height - 2 * distance
    return distance * 2 * (width + height) / (width * height)


@pytest.mark.parametrize("tilt", [0, 5, 30, 90])
@pytest.mark.parametrize(("height", "least"), [(12, 0.75), (24, 0.86), (48, 0.92)])
def test_shrunk_words_come_back(height, least, tilt):
    draws = np.random.default_rng(0)
    overlaps = []
    for _ in range(60):
        width = height * draws.uniform(1.5, 4)
        size = (int(width) + 30, int(width) + 30)
        x, y = np.array(size) / 2 + draws.uniform(0, 1, 2)
        word = rectangle(x, y, width, height, draws.uniform(-tilt, tilt))
        targets = score_map_targets([word], np.zeros(1, dtype=bool), size, shrink_ratio=0.4)
        ratio = inverse_ratio(width, height, 0.4)
        (found,), scores = regions_of(targets.shrunk, unclip_ratio=ratio)
        assert scores[0] > 0.7
        overlaps.append(iou(found, word))
    # Without a tilt a word of 12 pixels, shrunk to 3.4 to 5.5 of them, has whole rows all the same.
    assert np.mean(overlaps) > 0.9
    assert np.min(overlaps) > least


def plain_regions(score_map, threshold, box_threshold, unclip_ratio, min_size):
    """One by one and with a geometry library; lists of corners in any order and of scores."""
    _, labels = cv2.connectedComponents((score_map > threshold).astype(np.uint8))
    found = []
    for label in range(1, labels.max() + 1):
        y, x = np.nonzero(labels == label)
        points = np.stack([x, y], axis=1).astype(np.float32)
        centre, (width, height), degrees = cv2.minAreaRect(points)
        box = cv2.boxPoints((centre, (width, height), degrees))
        mask = np.zeros(score_map.shape, dtype=np.uint8)
        cv2.fillPoly(mask, [np.rint(box).astype(np.int32)], 1)
        score = score_map[mask > 0].mean(dtype=np.float64)
        slope = min(abs(np.cos(np.deg2rad(degrees))), abs(np.sin(np.deg2rad(degrees))))
        sides = width + max(0, 1 - slope * height), height + max(0, 1 - slope * width)
        x, y = centre
        core = shapely.Polygon(rectangle(x + 0.5, y + 0.5, *sides, degrees))
        word = core.buffer(core.area * unclip_ratio / core.length, quad_segs=64)
        word = np.array(word.exterior.coords, dtype=np.float32)
        rect = cv2.minAreaRect(word)
        if min(sides) >= min_size and score >= box_threshold and min(rect[1]) >= min_size + 2:
            found.append((cv2.boxPoints(rect), score))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_regions_are_those_of_the_plain_way(seed):
    draws = np.random.default_rng(seed)
    words = [
        rectangle(
            100 + 150 * column + draws.uniform(-9, 9),
            60 + 90 * row + draws.uniform(-9, 9),
            draws.uniform(4, 100),
            draws.uniform(2, 24),
            draws.uniform(-90, 90) if seed % 2 else draws.uniform(-6, 6),
        )
        for row in range(4)
        for column in range(4)
    ]
    score_map = rasterised(words, (400, 660)) * draws.uniform(0.4, 1, (400, 660))
    score_map = cv2.GaussianBlur(score_map, (0, 0), 1.0).astype(np.float32)
    corners, scores = regions_of(score_map, box_threshold=0.55, unclip_ratio=1.6)
    expected = plain_regions(score_map, 0.3, 0.55, 1.6, 3.0)
    assert len(corners) == len(expected) >= 8
    for box, score in expected:
        overlaps = [iou(found, box) for found in corners]
        best = int(np.argmax(overlaps))
        assert overlaps[best] > 0.995
        assert scores[best] == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("degrees", range(-85, 90, 10))
def test_corners_are_clockwise_from_the_upper_left(degrees):
    word = rectangle(100, 60, 80, 20, degrees)
    ((a, b, c, d),), _ = regions_of(rasterised([word]), unclip_ratio=0.0)
    assert (b - a) @ (c - b) == pytest.approx(0, abs=1e-2)
    assert (b - a)[0] * (c - b)[1] - (b - a)[1] * (c - b)[0] > 0, "clockwise as y points down"
    assert b[0] > a[0] and d[1] > a[1]
    # The first side is the one that extends farther to the right, so that a word which runs
    # downwards, or nearly so, begins with a short one.
    downwards = abs(np.tan(np.deg2rad(degrees))) > 80 / 20
    assert (np.linalg.norm(b - a) < np.linalg.norm(c - b)) == downwards


def test_an_upright_word_begins_at_its_upper_left():
    score_map = blank()
    score_map[10:100, 50:60] = 1
    corners, _ = regions_of(score_map, unclip_ratio=0.0)
    np.testing.assert_allclose(corners, [[[50, 10], [60, 10], [60, 100], [50, 100]]], atol=1e-4)


def test_a_square_on_its_corner_has_four_corners():
    corners, _ = regions_of(rasterised([rectangle(100, 60, 40, 40, 45)]), unclip_ratio=0.0)
    assert shapely.Polygon(corners[0]).area == pytest.approx(1600, rel=0.1)


def test_weak_and_small_regions_are_left_out():
    score_map = blank()
    score_map[10:20, 10:60] = 0.45
    score_map[40:42, 10:60] = 0.9
    score_map[60:63, 10:60] = 0.9
    score_map[80, 10] = score_map[90:92, 10:12] = 0.9
    corners, scores = regions_of(score_map, unclip_ratio=1.6)
    assert len(corners) == 1 and scores[0] == pytest.approx(0.9)
    assert corners[0, :, 1].mean() == pytest.approx(61.5)
    assert len(regions_of(score_map, box_threshold=0.4)[0]) == 2
    assert len(regions_of(score_map, min_size=2.0)[0]) == 2
    # Large enough as it is found, but not 2 pixels more after unclipping.
    assert len(regions_of(score_map, unclip_ratio=0.5)[0]) == 0


def test_the_mean_is_over_the_rectangle():
    # An L, whose rectangle is half empty.
    score_map = blank()
    score_map[10:50, 10:20] = 1
    score_map[40:50, 10:50] = 1
    _, scores = regions_of(score_map, box_threshold=0.0)
    full = score_map[10:50, 10:50].mean()
    assert scores[0] == pytest.approx(full, abs=1e-6)
    assert len(regions_of(score_map, box_threshold=0.5)[0]) == 0


def test_a_hole_is_no_word_but_a_word_in_a_ring_is():
    score_map = blank()
    score_map[10:110, 10:190] = 0.9
    score_map[20:100, 20:180] = 0.2
    score_map[50:70, 60:140] = 0.9
    corners, _ = regions_of(score_map, unclip_ratio=0.0, box_threshold=0.2)
    assert sorted(shapely.Polygon(c).area for c in corners) == pytest.approx([1600, 18000])


def test_of_too_many_candidates_the_largest_stay():
    score_map = blank()
    for index in range(8):
        score_map[4:10, 20 * index : 20 * index + 6 + index] = 0.9
    corners, scores = regions_of(score_map, unclip_ratio=0.4, max_candidates=3)
    assert len(corners) == len(scores) == 3
    assert sorted(corners[:, 0, 0].round(-1).tolist()) == [100, 120, 140]


def test_dilation_closes_gaps():
    score_map = blank()
    score_map[20:30, 10:40] = score_map[20:30, 41:70] = 1
    assert len(regions_of(score_map)[0]) == 2
    corners, _ = regions_of(score_map, dilate=True, unclip_ratio=0.0)
    np.testing.assert_allclose(corners, [[[10, 20], [71, 20], [71, 31], [10, 31]]], atol=1e-4)


def test_each_pixel_can_have_its_own_threshold():
    score_map = blank()
    score_map[20:30, 10:80] = 0.6
    border = np.full(SIZE, 0.5, dtype=np.float32)
    border[:, 40:45] = 0.7
    corners, _ = regions_of(score_map, border=border, unclip_ratio=0.0)
    assert sorted(corners[:, 0, 0].tolist()) == pytest.approx([10, 45], abs=1e-4)


def test_words_at_the_image_border_may_reach_beyond():
    score_map = blank()
    score_map[:8, :40] = score_map[112:, 150:] = 0.9
    corners, scores = regions_of(score_map)
    assert len(corners) == 2
    np.testing.assert_allclose(scores, 0.9, rtol=1e-6)
    for corner in ([0, 0], [SIZE[1], SIZE[0]]):
        assert any(shapely.Polygon(c).contains(shapely.Point(corner)) for c in corners)


def test_no_words():
    for score_map in (blank(), np.full(SIZE, 0.29, dtype=np.float32)):
        corners, scores = regions_of(score_map)
        assert corners.shape == (0, 4, 2) and scores.shape == (0,)
        assert corners.dtype == scores.dtype == np.float32


def test_single_pixels_and_lines_do_no_harm():
    score_map = blank()
    score_map[10, 10] = score_map[20, 20:22] = score_map[30:60, 30] = 1
    score_map[np.arange(70, 100), np.arange(70, 100)] = 1
    assert len(regions_of(score_map)[0]) == 0
    corners, _ = regions_of(score_map, min_size=0.0, unclip_ratio=10.0)
    assert np.isfinite(corners).all()


@pytest.mark.parametrize("aspect", [0.7, 2, 5, 20])
def test_without_a_ratio_shrinking_is_undone_at_any_length(aspect):
    height, width = 60.0, 60.0 * aspect
    distance = height * width * (1 - 0.4**2) / (2 * (height + width))
    core = np.array([[width, height]]) - 2 * distance
    np.testing.assert_allclose(_distance_of_shrinking(core, 0.4), [distance], rtol=1e-9)


def test_words_of_a_perfect_map_come_back_whatever_their_length():
    polygons = [
        rectangle(300, 60, 500, 48, 0),
        rectangle(150, 200, 100, 48, 20),
        rectangle(500, 250, 260, 40, -7),
    ]
    targets = score_map_targets(polygons, np.zeros(3, dtype=bool), (320, 640))
    corners, _ = regions_of(targets.shrunk)
    assert len(corners) == 3
    for polygon in polygons:
        assert max(iou(polygon, c) for c in corners) > 0.9
