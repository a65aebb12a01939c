"""Sides of words from the annotation through augmentation to the model's input."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.utils.env import seed_all_rng

from dld_d2.data.aug_input import TextAugInput
from dld_d2.data.augmentation import RandomCropKeepingInstances, build_augmentations
from dld_d2.data.mapper import TextDatasetMapper
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.spotters.rescale import scale_targets
from dld_d2.modeling.spotters.rows import Rows
from dld_d2.structures.sides import word_sides
from dld_d2.structures.vocabulary import Vocabulary

HEIGHT, WIDTH = 240, 360
QUAD = np.array([[20, 20], [120, 30], [118, 60], [18, 50]], dtype=float)


def arc(centre, radius=70, depth=25, span=130, number=6):
    angle = np.deg2rad(270 + np.linspace(-span / 2, span / 2, number))
    way = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([centre + radius * way, centre + (radius - depth) * way[::-1]])


CURVED = arc((240, 150))


def cfg_with(**keys):
    opts = [word for key, value in keys.items() for word in (f"INPUT.AUG.{key}", str(value))]
    return setup_cfg("", ["MODEL.DEVICE", "cpu", "INPUT.AUG.BASE_SHORT_SIDE", "240", *opts])


def annotation(polygon, text="abc", ignore=False):
    polygon = np.asarray(polygon, dtype=float)
    return {
        "bbox": [*polygon.min(axis=0), *polygon.max(axis=0)],
        "bbox_mode": 0,
        "category_id": 0,
        "segmentation": [polygon.ravel().tolist()],
        "text": text,
        "ignore": ignore,
    }


def mapped(annotations, augmentations=(), is_train=True):
    mapper = TextDatasetMapper(
        is_train,
        augmentations=list(augmentations),
        image_format="BGR",
        vocabulary=Vocabulary(),
        max_length=8,
    )
    image = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    given = {"file_name": "none", "height": HEIGHT, "width": WIDTH, "annotations": annotations}
    return mapper({**given, "read_image": lambda _: image})["instances"]


def moved(polygon, x):
    return np.add(polygon, (x, 0))


def in_pixels(instances):
    height, width = instances.image_size
    return instances.gt_sides * torch.tensor([width, height])


@pytest.mark.parametrize("is_train", [True, False])
def test_sides_are_fractions_of_the_image_and_zero_for_dont_care(is_train):
    instances = mapped(
        [annotation(QUAD), annotation(QUAD + 100, "###", ignore=True), annotation(CURVED, "é")],
        is_train=is_train,
    )
    assert instances.gt_sides.shape == (3, 14, 2) and instances.gt_sides.dtype == torch.float32
    expected = np.stack([word_sides(QUAD), np.zeros((14, 2)), word_sides(CURVED)])
    np.testing.assert_allclose(in_pixels(instances), expected, atol=1e-4)
    assert mapped([]).gt_sides.shape == (0, 14, 2)


def test_sides_of_dont_care_regions_are_not_asked_for(monkeypatch):
    asked = []

    def spy(polygons):
        asked.extend(map(len, polygons))
        return np.ones((len(polygons), 14, 2))

    monkeypatch.setattr("dld_d2.data.aug_input.sides_of", spy)
    mapped([annotation(QUAD[:3], ignore=True), annotation(QUAD), annotation(CURVED, ignore=True)])
    assert asked == [4]


def test_sides_are_those_of_the_annotation_though_the_border_cuts_the_polygon():
    crop = T.CropTransform(25, 0, 200, 240)  # takes the left end of QUAD off
    instances = mapped([annotation(QUAD)], [crop])
    assert len(instances.gt_masks.vertices[0]) >= 4 and not instances.gt_ignore.any()
    assert instances.gt_masks.vertices[0, :, 0].min() >= 0
    np.testing.assert_allclose(in_pixels(instances)[0], word_sides(QUAD) - (25, 0), atol=1e-4)
    assert in_pixels(instances)[0, 0, 0] == pytest.approx(-5, abs=1e-4)


def test_words_cut_to_dont_care_have_no_sides_and_dropped_ones_no_row():
    instances = mapped(
        [annotation(moved(QUAD, 100)), annotation(QUAD), annotation(CURVED)],
        [T.CropTransform(60, 0, 300, 240)],
    )
    assert instances.gt_ignore.tolist() == [False, True, False]
    assert not instances.gt_sides[1].any()
    instances = mapped(
        [annotation(QUAD), annotation(moved(QUAD, 150))], [T.CropTransform(150, 0, 210, 240)]
    )
    assert len(instances) == 1
    np.testing.assert_allclose(in_pixels(instances)[0], word_sides(QUAD), atol=1e-4)


GEOMETRIC = {
    "crop": [RandomCropKeepingInstances(0.3)],
    "scale": [T.ResizeShortestEdge(407, 1600)],
    "rotate": [T.RandomRotation((15, 15), expand=True)],
    "all": build_augmentations(
        cfg_with(CROP_PROB=1.0, ROTATION_PROB=1.0, SCALE_RANGE=(0.7, 1.6)), True
    ),
}


@pytest.mark.parametrize("name", GEOMETRIC)
def test_sides_stay_on_the_outline_of_curved_words(name):
    for seed in range(8):
        points = word_sides(CURVED)
        image = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
        dense = dense_outline(CURVED)
        seed_all_rng(seed)
        aug_input = TextAugInput(image, [CURVED, QUAD], [True, False])
        transforms = T.AugmentationList(GEOMETRIC[name])(aug_input)
        (row,) = np.flatnonzero(aug_input.indices == 0)
        outline = transforms.apply_coords(dense.copy())
        sides = aug_input.sides[row]
        gap = np.linalg.norm(sides[:, None] - outline, axis=2).min(axis=1)
        assert gap.max() < 0.2
        # Not only on the outline, but each point where it was.
        np.testing.assert_allclose(sides, transforms.apply_coords(points.copy()), atol=1e-6)


def dense_outline(polygon):
    after = np.roll(polygon, -1, axis=0)
    return np.concatenate([np.linspace(a, b, 500) for a, b in zip(polygon, after, strict=True)])


def test_sides_lie_on_the_image():
    # Discs at both ends of the upper side, bright and dim.
    sides = word_sides(CURVED)
    image = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    for point, color in ((sides[0], 255), (sides[6], 120)):
        cv2.circle(
            image, np.rint(point * 16 - 8).astype(int).tolist(), 64, [color] * 3, -1, shift=4
        )
    for seed in range(5):
        seed_all_rng(seed)
        aug_input = TextAugInput(image, [CURVED], [True])
        T.AugmentationList(GEOMETRIC["all"][:3])(aug_input)
        for place, low, high in ((0, 200, 256), (6, 60, 160)):
            x, y = np.floor(aug_input.sides[0, place]).astype(int)
            assert low <= aug_input.image[y, x, 0] < high


def test_fractions_hold_at_every_scale_of_the_targets():
    instances = mapped([annotation(QUAD), annotation(CURVED)])
    (scaled,) = scale_targets([instances], [(73, 111)])
    assert torch.equal(scaled.gt_sides, instances.gt_sides)
    for row, polygon in enumerate((QUAD, CURVED)):
        vertices = polygon * (111 / WIDTH, 73 / HEIGHT)
        ends = in_pixels(scaled)[row, [0, 6, 7, 13]].numpy()
        half = len(polygon) // 2
        np.testing.assert_allclose(ends, vertices[[0, half - 1, -1, half]], atol=1e-4)


def test_rows_keep_the_sides_of_readable_words_and_a_stand_in_has_zeros():
    instances = mapped([annotation(QUAD), annotation(CURVED, "é"), annotation(CURVED, "to")])
    (readable,) = Rows.of([instances]).targets
    assert torch.equal(readable.gt_sides, instances.gt_sides[[0, 2]])
    rows = Rows.of([mapped([annotation(QUAD, "é")])])
    assert rows.stand_in and rows.targets[0].gt_sides.shape == (1, 14, 2)
    assert not rows.targets[0].gt_sides.any()
    assert Rows.of([mapped([])]).targets[0].gt_sides.shape == (1, 14, 2)
