import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import shapely

from dld_d2.evaluation.geometry import compute_overlaps, even_odd_regions, truncate

SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]
BOW_TIE = [(0, 0), (10, 10), (10, 0), (0, 10)]  # lobes of opposite direction
LOOP_TWICE = [(0, 0), (20, 0), (20, 20), (0, 20), (0, 0), (10, 0), (10, 10), (0, 10)]


def overlap(gt, det):
    (only,) = compute_overlaps([[np.array(gt)]], [[np.array(det)]])
    return only


def random_ring(generator, limit, points=None):
    points = points or generator.integers(3, 11)
    return generator.integers(-limit // 4, limit, size=(points, 2)).tolist()


def fan_region(ring):
    """Even-odd interior as the symmetric difference of the triangles over each edge."""
    ring = np.asarray(ring, dtype=float)
    region = shapely.Polygon()
    for a, b in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        triangle = shapely.Polygon([(-1000.5, -777.25), a, b])
        if triangle.area > 0:
            region = region.symmetric_difference(triangle)
    return region


@pytest.mark.parametrize(
    ("ring", "area", "interior"),
    [
        (SQUARE, 100, 100),
        (SQUARE[::-1], 100, 100),
        (BOW_TIE, 0, 50),
        ([(0, 0), (10, 10), (10, 0), (0, 20)], 50, 250 / 3),
        (LOOP_TWICE, 500, 300),
        ([(0, 0), (0, 0), (10, 0), (10, 10), (0, 10), (0, 0)], 100, 100),
        ([(0, 0), (10, 0), (20, 0), (10, 0), (10, 10), (0, 10)], 100, 100),  # a spike
        ([(0, 0), (5, 0), (10, 0)], 0, 0),
        ([(3, 3)] * 4, 0, 0),
        ([(5, 5), (9, 9), (5, 5)], 0, 0),
    ],
)
def test_area_is_the_shoelace_and_intersection_the_even_odd_interior(ring, area, interior):
    around = [(-100, -100), (100, -100), (100, 100), (-100, 100)]
    for result in (overlap(ring, around), overlap(ring[::-1], around[::-1])):
        assert result.gt_areas.tolist() == [area]
        assert result.intersections.sum() == pytest.approx(interior)


def test_iou_and_coverage_divide_by_areas_not_interiors():
    result = overlap(BOW_TIE, SQUARE)  # union = 0 + 100 - 50
    assert result.ious.tolist() == [1.0]
    assert result.det_coverage_exceeds(0.49).tolist() == [True]
    assert result.det_coverage_exceeds(0.5).tolist() == [False]
    result = overlap(SQUARE, BOW_TIE)  # nothing of the detection's own area
    assert result.det_coverage_exceeds(0.0).tolist() == [False]
    result = overlap(BOW_TIE, BOW_TIE)  # union = -50
    assert result.ious == pytest.approx([-1.0])
    half = [(0, 0), (10, 0), (10, 5), (0, 5)]
    assert overlap(BOW_TIE, half).ious == pytest.approx([25 / 25])


def test_even_odd_regions_against_a_fan_of_triangles():
    generator = np.random.default_rng(0)
    for limit in (6, 30, 400):
        rings = [np.array(random_ring(generator, limit), dtype=float) for _ in range(60)]
        for ring, region in zip(rings, even_odd_regions(rings), strict=True):
            expected = fan_region(ring)
            assert region.is_valid
            assert region.area == pytest.approx(expected.area, abs=1e-6)
            assert region.symmetric_difference(expected).area == pytest.approx(0, abs=1e-6)


def test_images_at_once_equal_pairs_one_by_one():
    generator = np.random.default_rng(1)
    gts = [[random_ring(generator, 60) for _ in range(n)] for n in (0, 3, 5, 1, 0)]
    dets = [[random_ring(generator, 60) for _ in range(n)] for n in (2, 0, 4, 6, 0)]
    results = compute_overlaps(
        *([[np.array(r) for r in image] for image in s] for s in (gts, dets))
    )
    assert len(results) == 5
    for image, result in enumerate(results):
        dense = np.zeros((len(gts[image]), len(dets[image])))
        dense[result.gt_index, result.det_index] = result.intersections
        pairs = list(zip(result.gt_index.tolist(), result.det_index.tolist(), strict=True))
        assert pairs == sorted(pairs)
        assert (result.intersections > 0).all()
        for g, gt in enumerate(gts[image]):
            for d, det in enumerate(dets[image]):
                expected = fan_region(gt).intersection(fan_region(det)).area
                assert dense[g, d] == pytest.approx(expected, abs=1e-6)


def test_coordinates_are_truncated_towards_zero():
    assert truncate([[1.99, -1.99], [-0.5, 0.5]]).tolist() == [[1, -1], [0, 0]]
    result = overlap([(0.9, 0.9), (10.9, 0.2), (10.1, 10.7), (0.3, 10.99)], SQUARE)
    assert result.ious.tolist() == [1.0]


_POLYGON3 = """
import json, os, sys
import Polygon
out = []
for p, q in json.load(sys.stdin):
    a, b = Polygon.Polygon(p), Polygon.Polygon(q)
    both = a & b
    out.append([a.area(), b.area(), both.area() if len(both) else 0.0])
print(json.dumps(out), flush=True)
os._exit(0)  # Polygon3 3.0.9 miscounts references and aborts a normal exit
"""


@pytest.mark.skipif(importlib.util.find_spec("Polygon") is None, reason="needs Polygon3")
def test_agrees_with_the_general_polygon_clipper():
    generator = np.random.default_rng(2)
    pairs = [
        (random_ring(generator, limit, points), random_ring(generator, limit))
        for limit in (60, 1000)
        for points in (4, 4, None)
        for _ in range(150)
    ]
    clipper = subprocess.run(
        [sys.executable, "-c", _POLYGON3],
        input=json.dumps(pairs),
        capture_output=True,
        text=True,
        check=True,
    )
    results = compute_overlaps([[np.array(p)] for p, _ in pairs], [[np.array(q)] for _, q in pairs])
    for (a, b, both), result in zip(json.loads(clipper.stdout), results, strict=True):
        assert (result.gt_areas[0], result.det_areas[0]) == (a, b)
        assert result.intersections.sum() == pytest.approx(both, rel=1e-9, abs=1e-6)
