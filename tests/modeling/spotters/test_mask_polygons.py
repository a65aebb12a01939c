"""Polygons out of box masks, on shapes whose outline is known."""

import numpy as np
import pytest
import shapely
import torch

from dld_d2.modeling.spotters.mask_rcnn.mask_polygons import polygons_from_masks
from dld_d2.structures.polygons import Polygons

SIZE = 28


def soft_masks(polygons: list[np.ndarray], boxes: np.ndarray) -> np.ndarray:
    """Coverage of each mask element by the polygon, as a well-trained mask head would give."""
    fine = Polygons.from_arrays(polygons).crop_and_resize(torch.from_numpy(boxes), SIZE * 8)
    fine = fine.numpy().reshape(len(boxes), SIZE, 8, SIZE, 8)
    return fine.mean(axis=(2, 4))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    a, b = shapely.Polygon(a), shapely.Polygon(b)
    return a.intersection(b).area / a.union(b).area


def test_outlines_come_back():
    angle = np.linspace(0, np.pi, 9)
    ring = np.stack([np.cos(angle), -np.sin(angle)], axis=1)
    polygons = [
        np.array([[10.0, 10.0], [90.0, 10.0], [90.0, 30.0], [10.0, 30.0]]),
        np.array([[20.0, 60.0], [70.0, 40.0], [75.0, 52.0], [25.0, 73.0]]),
        np.concatenate([100 + 50 * ring, 100 + 25 * ring[::-1]]),
    ]
    boxes = Polygons.from_arrays(polygons).get_bounding_boxes().tensor.numpy().astype(np.float64)
    found = polygons_from_masks(soft_masks(polygons, boxes), boxes)
    assert [iou(f, p) > 0.93 for f, p in zip(found, polygons, strict=True)] == [True] * 3
    assert all(f.dtype == np.float32 and f.shape[1] == 2 for f in found)
    assert max(len(f) for f in found) < 20, "the outlines are simplified"


def test_a_full_mask_gives_the_box_to_the_last_pixel():
    box = np.array([[3.0, 5.0, 31.0, 12.0]])
    (polygon,) = polygons_from_masks(np.ones((1, SIZE, SIZE)), box)
    x0, y0, x1, y1 = shapely.Polygon(polygon).bounds
    # The iso-line at one half runs through the middle between the last element and the frame.
    np.testing.assert_allclose([x0, y0, x1, y1], box[0], atol=1e-5)


def test_of_several_parts_the_largest_stays_and_neighbours_do_not_mix():
    masks = np.zeros((3, SIZE, SIZE))
    masks[0, 2:5, 2:5] = masks[0, 10:26, 10:26] = 1
    masks[2, :14] = 1
    boxes = np.array([[0.0, 0, 28, 28], [100, 100, 128, 110], [0, 0, 56, 56]])
    found = polygons_from_masks(masks, boxes)
    assert iou(found[0], [[10, 10], [26, 10], [26, 26], [10, 26]]) > 0.9
    np.testing.assert_allclose(found[1], [[100, 100], [128, 100], [128, 110], [100, 110]])
    assert iou(found[2], [[0, 0], [56, 0], [56, 28], [0, 28]]) > 0.9


def test_tolerance_is_a_fraction_of_the_perimeter():
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = [50 + 40 * np.stack([np.cos(angle), np.sin(angle)], axis=1)]
    boxes = np.array([[10.0, 10, 90, 90]])
    counts = [
        len(polygons_from_masks(soft_masks(circle, boxes), boxes, tolerance=t)[0])
        for t in (0.001, 0.01, 0.05)
    ]
    assert counts[0] > counts[1] > counts[2]


def test_no_words():
    assert polygons_from_masks(np.zeros((0, SIZE, SIZE)), np.zeros((0, 4))) == []


@pytest.mark.parametrize("box", [[5.0, 5, 5, 9], [5, 5, 5, 5]])
def test_an_empty_box_still_gives_a_polygon(box):
    (polygon,) = polygons_from_masks(np.ones((1, SIZE, SIZE)), np.array([box]))
    assert polygon.shape == (4, 2)
