"""The polygon structure against shapely."""

import numpy as np
import pytest
import shapely
import torch
from detectron2.structures import Boxes, Instances

from dld_d2.structures.polygons import Polygons, points_in_polygons


def star_polygons(count: int) -> list[np.ndarray]:
    """Star-shaped, hence simple, polygons of 3 to 14 vertices."""
    random = np.random.default_rng(0)
    polygons = []
    for _ in range(count):
        angle = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 15)))
        radius = random.uniform(5, 40, len(angle))
        centre = random.uniform(40, 60, 2)
        polygons.append(
            (centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)).astype(
                np.float32
            )
        )
    return polygons


def test_inside_agrees_with_shapely_even_though_vertices_are_padded():
    arrays = star_polygons(20)
    points = torch.rand(20, 500, 2, generator=torch.manual_seed(0)) * 100
    inside = points_in_polygons(points, Polygons.from_arrays(arrays).vertices)
    for row, array, place in zip(inside.numpy(), arrays, points.numpy(), strict=True):
        # Star centres may lie outside the ring of vertices: even-odd is what buffer-free
        # containment of a valid ring means.
        ring = shapely.Polygon(array)
        assert ring.is_valid
        np.testing.assert_array_equal(row, shapely.contains_xy(ring, place[:, 0], place[:, 1]))


def test_bow_tie_is_even_odd():
    bow_tie = torch.tensor([[[0.0, 0.0], [10.0, 10.0], [10.0, 0.0], [0.0, 10.0]]])
    points = torch.tensor([[[1.0, 5.0], [9.0, 5.0], [5.0, 1.0], [5.0, 9.0]]])
    assert points_in_polygons(points, bow_tie).tolist() == [[True, True, False, False]]


def test_areas_and_boxes():
    arrays = star_polygons(20)
    polygons = Polygons.from_arrays(arrays)
    np.testing.assert_allclose(
        polygons.area(), [shapely.Polygon(a).area for a in arrays], rtol=1e-4
    )
    np.testing.assert_allclose(
        polygons.get_bounding_boxes().tensor, [shapely.Polygon(a).bounds for a in arrays]
    )


def test_masks_cover_the_area_and_lie_the_right_way_round():
    wedge = Polygons.from_arrays([np.array([[0.0, 0.0], [40.0, 0.0], [0.0, 20.0]])])
    mask = wedge.crop_and_resize(torch.tensor([[0.0, 0.0, 40.0, 20.0]]), 200)
    assert mask.dtype == torch.bool
    assert mask.float().mean().item() == pytest.approx(0.5, abs=0.01)
    assert mask[0, 0, 0] and mask[0, 0, -2] and mask[0, -2, 0] and not mask[0, -1, -1]


def test_masks_of_another_number_of_boxes_are_refused():
    with pytest.raises(ValueError, match="2 boxes for 1 polygons"):
        Polygons.from_arrays(star_polygons(1)).crop_and_resize(torch.zeros(2, 4), 28)


def test_instances_can_hold_pick_and_join_them():
    polygons = Polygons.from_arrays(star_polygons(5))
    first = Instances((100, 100), gt_masks=polygons)
    second = Instances((100, 100), gt_masks=Polygons.from_arrays([np.eye(3)[:, :2] * 10]))
    joined = Instances.cat([first[torch.tensor([True, False, True, False, False])], second])
    assert len(joined.gt_masks) == 3
    assert joined.gt_masks.area()[:2].tolist() == polygons.area()[[0, 2]].tolist()
    assert joined.gt_masks.area()[2] == 50
    assert len(first[1].gt_masks) == 1
    assert len(Polygons.from_arrays([])) == 0


def test_scaling():
    polygons = Polygons.from_arrays(star_polygons(4)).scale(0.5, 2.0)
    boxes = Polygons.from_arrays(star_polygons(4)).get_bounding_boxes()
    boxes.scale(0.5, 2.0)
    torch.testing.assert_close(polygons.get_bounding_boxes().tensor, Boxes(boxes.tensor).tensor)
