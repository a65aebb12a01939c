"""Maps drawn from polygons, against distances and memberships computed pixel by pixel."""

import numpy as np
import pytest
import shapely
import torch
from detectron2.structures import Instances

from dld_d2.modeling.spotters.pp_ocr.score_map_targets import batch_targets, score_map_targets
from dld_d2.structures.polygons import Polygons

SIZE = (60, 90)
SHRINK_RATIO = 0.4


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def rotated(x: float, y: float, width: float, height: float, degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return box(-width / 2, -height / 2, width / 2, height / 2) @ turn + np.array([x, y])


def arc(x: float, y: float, outer: float, inner: float) -> np.ndarray:
    angle = np.linspace(np.pi, 2 * np.pi, 7)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([outer * ring, inner * ring[::-1]]) + np.array([x, y])


def draw(polygons: list[np.ndarray], ignore: list[bool] | None = None, size=SIZE, **kwargs):
    ignore = np.zeros(len(polygons), dtype=bool) if ignore is None else np.array(ignore)
    return score_map_targets(polygons, ignore, size, **kwargs)


def inside(shape: shapely.Geometry, size=SIZE) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return shapely.contains_xy(shape, x, y)


def distance_to(shape: shapely.Geometry, size=SIZE) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return shapely.distance(shapely.points(x, y), shape)


def offset(shape: shapely.Polygon) -> float:
    return shape.area * (1 - SHRINK_RATIO**2) / shape.length


SCENES = {
    "boxes": [box(5, 5, 45, 20), box(50.5, 8.25, 80.75, 30.5)],
    "rotated": [rotated(30.3, 28.9, 40, 14, 25), rotated(66.1, 30.2, 12, 35, -8)],
    "curved": [arc(45.2, 45.6, 38, 20)],
    "overlapping": [rotated(40, 30, 50, 16, 10), rotated(45, 33, 50, 16, -30)],
    "at borders": [box(-10, -4, 22, 12), rotated(88, 50, 40, 20, 30), box(30, 50, 60, 75)],
    "clockwise and not": [box(5, 5, 45, 20), box(5, 30, 45, 45)[::-1]],
}


@pytest.mark.parametrize("scene", SCENES)
def test_maps_follow_the_definition(scene):
    polygons = SCENES[scene]
    maps = draw(polygons)
    shrunk, covered = np.zeros(SIZE, dtype=bool), np.zeros(SIZE, dtype=bool)
    border = np.zeros(SIZE)
    for shape in map(shapely.Polygon, polygons):
        reach = offset(shape)
        shrunk |= inside(shape.buffer(-reach))
        distance = distance_to(shape.exterior)
        covered |= inside(shape) | (distance < reach)
        border = np.maximum(border, 1 - distance / reach)
    np.testing.assert_array_equal(maps.shrunk, shrunk)
    np.testing.assert_array_equal(maps.border_mask, covered)
    np.testing.assert_allclose(maps.border, 0.3 + 0.4 * border, atol=1e-4)
    assert maps.shrunk_mask.all()
    assert [m.dtype for m in maps] == [np.float32, bool, np.float32, bool]
    assert [m.shape for m in maps] == [SIZE] * 4


def test_a_box_of_whole_pixels_is_exact():
    # Its area is 400 and its perimeter 100, so it shrinks by 3.36: to [13.36, 46.64] x [13.36,
    # 16.64], in which the centres 13.5 to 46.5 and 13.5 to 16.5 lie.
    maps = draw([box(10, 10, 50, 20)])
    expected = np.zeros(SIZE)
    expected[13:17, 13:47] = 1
    np.testing.assert_array_equal(maps.shrunk, expected)
    # Half a pixel from the upper side on both sides of it.
    level = 0.3 + 0.4 * (1 - 0.5 / 3.36)
    np.testing.assert_allclose(maps.border[9:11, 30], level, rtol=1e-5)


@pytest.mark.parametrize("shrink_ratio", [0.2, 0.7])
def test_the_shrink_ratio_is_that_of_a_square_in_area(shrink_ratio):
    # A square of side s becomes one of side s - s (1 - r^2) / 2.
    maps = draw([box(20, 10, 60, 50)], shrink_ratio=shrink_ratio)
    side = 40 - 40 * (1 - shrink_ratio**2) / 2
    assert maps.shrunk.sum() == pytest.approx(side**2, rel=0.1)


def test_dont_care_is_neither_text_nor_background():
    polygons = [rotated(30, 30, 40, 16, 15), box(60, 10, 85, 25), box(55, 15, 70, 40)]
    maps = draw(polygons, [True, False, True])
    region = inside(shapely.Polygon(polygons[0])) | inside(shapely.Polygon(polygons[2]))
    np.testing.assert_array_equal(maps.shrunk_mask, ~region)
    alone = draw(polygons[1:2])
    for name in ("shrunk", "border", "border_mask"):
        np.testing.assert_array_equal(getattr(maps, name), getattr(alone, name))


@pytest.mark.parametrize("degrees", [0, 45, 90])
def test_tiny_words_are_left_out_however_they_are_turned(degrees):
    low = rotated(40, 30, 30, 2.9, degrees)
    maps = draw([low])
    assert not maps.shrunk.any() and not maps.border_mask.any()
    np.testing.assert_array_equal(maps.shrunk_mask, ~inside(shapely.Polygon(low)))
    assert draw([low], min_size=2.8, shrink_ratio=0.9).shrunk.any()


def test_words_that_keep_no_pixel_are_left_out():
    # 3.5 pixels high, and shrunk to half a pixel between two rows of centres.
    maps = draw([box(10, 10.25, 60, 13.75)])
    assert not maps.shrunk.any() and not maps.border_mask.any()
    assert not maps.shrunk_mask[10:14, 10:60].any()
    # Of one that begins outside only the rim is in the image.
    maps = draw([box(-40, 10, 3, 30)])
    assert not maps.shrunk.any() and not maps.shrunk_mask[10:30, :3].any()
    assert maps.shrunk_mask[:, 3:].all()


def test_no_words():
    for polygons in ([], [box(200, 200, 260, 220)]):
        maps = draw(polygons)
        assert not maps.shrunk.any() and not maps.border_mask.any() and maps.shrunk_mask.all()
        np.testing.assert_allclose(maps.border, 0.3)


def test_a_polygon_that_crosses_itself_is_taught_as_its_pieces():
    bow_tie = np.array([[10.0, 10], [80, 50], [80, 10], [10, 50]])
    maps = draw([bow_tie])
    halves = draw([[[10, 10], [45, 30], [10, 50]], [[80, 10], [45, 30], [80, 50]]])
    for drawn, expected in zip(maps, halves, strict=True):
        np.testing.assert_allclose(drawn, expected, atol=1e-5)
    assert maps.shrunk[30, 20] == maps.shrunk[30, 70] == 1


@pytest.mark.parametrize(
    "polygon",
    [
        np.tile([[20.0, 20.0]], (4, 1)),
        np.array([[10.0, 10], [50, 10], [30, 10], [20, 10]]),
        np.array([[10.0, 10], [60, 10], [60, 30], [10, 30], [30, 30], [30, 50], [30, 30]]),
        np.array([[10.0, 10], [70, 10], [70, 50], [30, 20], [60, 5], [50, 55], [10, 50]]),
    ],
    ids=["a point", "a line", "with a spike", "tangled"],
)
@pytest.mark.parametrize("ignored", [False, True])
def test_bad_polygons_do_no_harm(polygon, ignored):
    maps = draw([polygon, box(70, 40, 88, 55)], [ignored, False])
    assert np.isfinite(maps.border).all()
    assert maps.shrunk[47, 79] == 1


def test_polygons_and_flags_must_agree():
    with pytest.raises(ValueError, match="1 polygons, but ignore is for 2"):
        score_map_targets([box(0, 0, 9, 9)], np.zeros(2, dtype=bool), SIZE)


def test_a_batch_is_its_images_side_by_side():
    scenes = [([*SCENES["rotated"], *SCENES["curved"]], [False, True, False]), ([], [])]
    sizes = [(60, 90), (40, 100)]
    targets = []
    for (polygons, ignore), size in zip(scenes, sizes, strict=True):
        target = Instances(size)
        target.gt_masks = Polygons.from_arrays(polygons)
        target.gt_ignore = torch.tensor(ignore, dtype=torch.bool)
        targets.append(target)
    batch = batch_targets(targets, (64, 128), min_size=4.0)
    assert [m.shape for m in batch] == [(2, 64, 128)] * 4
    assert [m.dtype for m in batch] == [torch.float32, torch.bool] * 2
    for index, ((polygons, ignore), (height, width)) in enumerate(zip(scenes, sizes, strict=True)):
        # As `Polygons` stores them.
        polygons = [p.astype(np.float32) for p in polygons]
        single = draw(polygons, np.array(ignore, dtype=bool), (height, width), min_size=4.0)
        for together, alone in zip(batch, single, strict=True):
            np.testing.assert_allclose(together[index, :height, :width], alone, rtol=1e-6)
        assert not batch.shrunk_mask[index, height:].any()
        assert not batch.shrunk_mask[index, :, width:].any()
        for name in ("shrunk", "border_mask"):
            assert getattr(batch, name)[index].sum() == getattr(single, name).sum()
