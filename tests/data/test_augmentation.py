"""Augmentations: polygons follow the image, crops cut nothing, colours as defined."""

import pickle

import cv2
import numpy as np
import pytest
from detectron2.data import transforms as T
from detectron2.utils.env import seed_all_rng
from hypothesis import given, settings
from hypothesis import strategies as st

from dld_d2.data.aug_input import TextAugInput
from dld_d2.data.augmentation import (
    RandomColorJitter,
    RandomCropKeepingInstances,
    ResizeShortestEdge,
    build_augmentations,
)
from dld_d2.engine.setup import setup_cfg

HEIGHT, WIDTH = 240, 360


def quad(x, y, w, h, angle):
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    corners = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2
    return corners @ np.array([[c, s], [-s, c]]) + [x, y]


POLYGONS = [
    quad(80, 60, 90, 40, 10),
    quad(250, 70, 60, 60, 30),
    quad(120, 180, 110, 30, -20),
    np.array([[200, 150], [260, 135], [330, 160], [325, 200], [260, 175], [205, 190.0]]),
]


def coverage(polygon, height, width, factor=16):
    """Fraction of each pixel that a polygon covers, (H, W) in [0, 255], by supersampling."""
    canvas = np.zeros((height * factor, width * factor), dtype=np.uint8)
    # A vertex at continuous coordinate x lies between subpixels; OpenCV names their centres.
    cv2.fillPoly(canvas, [np.rint(polygon * factor - 0.5).astype(np.int32)], 255)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)


def drawing(polygon):
    return np.repeat(coverage(polygon, HEIGHT, WIDTH)[..., None], 3, axis=2)


def cfg_with(**keys):
    opts = [word for key, value in keys.items() for word in (f"INPUT.AUG.{key}", str(value))]
    return setup_cfg("", ["MODEL.DEVICE", "cpu", "INPUT.AUG.BASE_SHORT_SIDE", "240", *opts])


GEOMETRIC = {
    "crop": [RandomCropKeepingInstances(0.3)],
    "shrink": [T.ResizeShortestEdge(131, 1600)],
    "enlarge": [T.ResizeShortestEdge(407, 1600)],
    "rotate left": [T.RandomRotation((15, 15))],
    "rotate right": [T.RandomRotation((-11.3, -11.3))],
    "all": build_augmentations(
        cfg_with(
            CROP_PROB=1.0, ROTATION_PROB=1.0, SCALE_RANGE=(0.7, 1.6), BRIGHTNESS=0.0, CONTRAST=0.0
        ),
        True,
    ),
}


@pytest.mark.parametrize("name", GEOMETRIC)
def test_polygons_lie_on_what_they_outline(name):
    for seed in range(4):
        for polygon in POLYGONS:
            seed_all_rng(seed)
            aug_input = TextAugInput(drawing(polygon), [polygon], [True])
            T.AugmentationList(GEOMETRIC[name])(aug_input)
            seen = aug_input.image[..., 0].astype(float)
            (moved,) = aug_input.polygons
            expected = coverage(moved, *seen.shape).astype(float)
            iou = np.minimum(seen, expected).sum() / np.maximum(seen, expected).sum()
            assert iou > 0.95
            # Half a pixel is the error of mixing up conventions for pixel centres.
            grid = np.indices(seen.shape)
            for axis in range(2):
                shift = (grid[axis] * seen).sum() / seen.sum()
                shift -= (grid[axis] * expected).sum() / expected.sum()
                assert abs(shift) < 0.25


def test_builder_gives_the_order_crop_scale_rotation_colour():
    kinds = [getattr(a, "aug", a) for a in build_augmentations(cfg_with(), True)]
    assert [type(a) for a in kinds] == [
        RandomCropKeepingInstances,
        ResizeShortestEdge,
        T.RandomRotation,
        RandomColorJitter,
    ]


def test_short_sides_are_uniform_between_the_scales_and_long_sides_limited():
    keys = {"CROP_PROB": 0.0, "ROTATION_PROB": 0.0, "COLOR_PROB": 0.0}
    augmentations = T.AugmentationList(build_augmentations(cfg_with(**keys), True))
    image = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    seed_all_rng(0)
    sides = []
    for _ in range(300):
        aug_input = TextAugInput(image)
        augmentations(aug_input)
        sides.append(aug_input.image.shape[0])
        assert aug_input.image.shape[1] == pytest.approx(1.5 * sides[-1], abs=0.5)
    assert min(sides) >= 72 and max(sides) <= 240  # 0.3 and 1.0 times 240
    assert np.histogram(sides, bins=4, range=(72, 240))[0].min() > 50

    cfg = setup_cfg("", ["MODEL.DEVICE", "cpu", "INPUT.MAX_SIZE_TRAIN", "500"])
    aug_input = TextAugInput(np.zeros((400, 800, 3), dtype=np.uint8))
    T.AugmentationList(build_augmentations(cfg, True)[1:2])(aug_input)
    assert max(aug_input.image.shape) <= 500


def test_testing_scales_only():
    opts = ["MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "120", "INPUT.MAX_SIZE_TEST", "150"]
    (resize,) = build_augmentations(setup_cfg("", opts), False)
    tall, wide = np.zeros((300, 200, 3), np.uint8), np.zeros((200, 240, 3), np.uint8)
    assert resize.get_transform(tall).apply_image(tall).shape == (150, 100, 3)
    assert resize.get_transform(wide).apply_image(wide).shape == (120, 144, 3)


def test_same_seed_same_augmentation_other_seed_other():
    def run(seed):
        seed_all_rng(seed)
        aug_input = TextAugInput(drawing(POLYGONS[0]), POLYGONS, [True] * len(POLYGONS))
        T.AugmentationList(build_augmentations(cfg_with(), True))(aug_input)
        return aug_input

    first, again, other = run(7), run(7), run(8)
    assert np.array_equal(first.image, again.image)
    assert all(map(np.array_equal, first.polygons, again.polygons))
    assert first.image.shape != other.image.shape or (first.image != other.image).any()


def test_augmentations_print_and_pickle():
    augmentations = build_augmentations(cfg_with(), True)
    assert "RandomCropKeepingInstances(min_size=0.3) with chance 0.5" in str(augmentations)
    seed_all_rng(0)
    tfm = RandomColorJitter(32, 0.5, 0.5).get_transform(drawing(POLYGONS[0]))
    pickle.loads(pickle.dumps((augmentations, tfm)))


@st.composite
def layouts(draw):
    width, height = draw(st.integers(1, 400)), draw(st.integers(1, 400))
    number = draw(st.integers(0, 12))
    unit = st.floats(0, 1, allow_nan=False, width=32)
    boxes = np.array([[draw(unit) for _ in range(4)] for _ in range(number)]).reshape(-1, 2, 2)
    boxes = np.sort(boxes, axis=1)
    # Mostly word-sized, now and then as large as the image.
    shrink = draw(st.sampled_from([1.0, 0.3, 0.1]))
    boxes[:, 1] = boxes[:, 0] + (boxes[:, 1] - boxes[:, 0]) * shrink
    boxes = (boxes * [width, height]).reshape(-1, 4)
    if draw(st.booleans()):
        boxes = np.rint(boxes)  # borders that touch exactly
    cares = np.array([draw(st.booleans()) for _ in range(number)], dtype=bool)
    return width, height, boxes, cares, draw(st.integers(0, 2**31 - 1))


@settings(max_examples=400, deadline=None, derandomize=True)
@given(layouts())
def test_crop_cuts_no_instance_and_keeps_one_that_is_cared_for(layout):
    width, height, boxes, cares, seed = layout
    seed_all_rng(seed)
    image = np.zeros((height, width, 3), dtype=np.uint8)
    tfm = RandomCropKeepingInstances(0.3).get_transform(image, boxes, cares)
    if isinstance(tfm, T.NoOpTransform):
        return
    x0, y0, x1, y1 = tfm.x0, tfm.y0, tfm.x0 + tfm.w, tfm.y0 + tfm.h
    assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    assert x1 - x0 >= 0.3 * width and y1 - y0 >= 0.3 * height
    assert tfm.apply_image(image).shape == (y1 - y0, x1 - x0, 3)
    kept = 0
    for (bx0, by0, bx1, by1), care in zip(boxes, cares, strict=True):
        within = x0 <= bx0 and bx1 <= x1 and y0 <= by0 and by1 <= y1
        apart = bx1 <= x0 or bx0 >= x1 or by1 <= y0 or by0 >= y1
        assert within or apart
        kept += within and care
    assert kept or not cares.any()


def test_crops_vary_and_reach_their_smallest_size():
    image = np.zeros((400, 400, 3), dtype=np.uint8)
    boxes = np.array([[190.0, 190, 210, 200], [20, 20, 60, 30], [300, 350, 350, 360]])
    seed_all_rng(0)
    crop = RandomCropKeepingInstances(0.3)
    cares = np.array([True, True, False])
    seen = [crop.get_transform(image, boxes, cares) for _ in range(200)]
    areas = [t.w * t.h for t in seen]
    assert min(areas) < 0.15 * 400**2 and max(areas) > 0.7 * 400**2
    assert len({(t.x0, t.y0, t.w, t.h) for t in seen}) > 190
    # Each of the two words is left out now and then, so both kinds of context occur.
    for x, y in ((20, 20), (190, 190)):
        out = sum(t.x0 > x or t.y0 > y or t.x0 + t.w <= x or t.y0 + t.h <= y for t in seen)
        assert 10 < out < 150


def test_image_stays_whole_where_every_window_would_cut():
    boxes = np.array([[0.0, 0, 100, 60], [0, 55, 100, 100]])
    image = np.zeros((100, 100, 3), dtype=np.uint8)
    seed_all_rng(0)
    for _ in range(20):
        tfm = RandomCropKeepingInstances(0.3).get_transform(image, boxes, np.array([True, False]))
        assert isinstance(tfm, T.NoOpTransform)


def naive_jitter(image, shift, contrast, saturation):
    pixels = image.astype(np.float64) + shift
    grey = pixels @ [0.114, 0.587, 0.299]
    pixels = grey.mean() + contrast * (pixels - grey.mean())
    grey = (pixels @ [0.114, 0.587, 0.299])[..., None]
    return np.clip(np.rint(grey + saturation * (pixels - grey)), 0, 255)


@pytest.mark.parametrize("image_format", ["BGR", "RGB"])
def test_colour_is_brightness_then_contrast_then_saturation(image_format, monkeypatch):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (37, 53, 3), dtype=np.uint8)
    jitter = RandomColorJitter(32, 0.5, 0.4, image_format)
    for unit in (-1, -0.3, 0.6, 1):

        def at_unit(low, high, size=None, unit=unit):
            return np.full(size or (), (low + high) / 2 + unit * (high - low) / 2)

        monkeypatch.setattr(jitter, "_rand_range", at_unit)
        seen = jitter.get_transform(image).apply_image(image)
        bgr = image if image_format == "BGR" else image[..., ::-1]
        expected = naive_jitter(bgr, 32 * unit, 1 + 0.5 * unit, 1 + 0.4 * unit)
        if image_format == "RGB":
            expected = expected[..., ::-1]
        assert seen.dtype == np.uint8
        assert np.abs(seen - expected).max() <= 1


def test_colour_leaves_coordinates():
    tfm = RandomColorJitter(32, 0.5, 0.5).get_transform(drawing(POLYGONS[0]))
    assert np.array_equal(tfm.apply_coords(POLYGONS[0].copy()), POLYGONS[0])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SCALE_RANGE", "(1.0, 0.5)"),
        ("SCALE_RANGE", "(0.0, 0.5)"),
        ("SCALE_RANGE", "(0.5,)"),
        ("BASE_SHORT_SIDE", "0"),
        ("CROP_MIN_SIZE", "0.0"),
        ("CROP_PROB", "1.5"),
        ("ROTATION", "-1.0"),
        ("CONTRAST", "1.5"),
    ],
)
def test_keys_out_of_range_are_named(key, value):
    with pytest.raises(ValueError, match=rf"INPUT\.AUG\.{key}"):
        build_augmentations(cfg_with(**{key: value}), True)


def test_other_image_formats_are_refused():
    for is_train in (True, False):
        cfg = setup_cfg("", ["MODEL.DEVICE", "cpu"])
        cfg.defrost()
        cfg.INPUT.FORMAT = "L"  # as by a script; `setup_cfg` refuses it
        with pytest.raises(ValueError, match=r"INPUT\.FORMAT"):
            build_augmentations(cfg, is_train)
    with pytest.raises(ValueError, match="min_size"):
        RandomCropKeepingInstances(1.2)


def test_cut_instances_are_tracked_and_do_not_come_back():
    polygons = [
        quad(50, 50, 40, 20, 0),  # whole
        np.array([[80, 10], [120, 10], [120, 30], [80, 30.0]]),  # half inside the crop
        np.array([[98, 40], [138, 40], [138, 60], [98, 60.0]]),  # 5 % inside
        np.array([[100, 70], [140, 70], [140, 90], [100, 90.0]]),  # touches from outside
        np.array([[110, 70], [140, 70], [140, 90], [110, 90.0]]),  # outside
    ]
    image = np.zeros((100, 200, 3), dtype=np.uint8)
    aug_input = TextAugInput(image, polygons, [True, False, True, True, True])
    aug_input.transform(T.CropTransform(0, 0, 100, 100))
    assert aug_input.indices.tolist() == [0, 1, 2]
    assert aug_input.visible == pytest.approx([1, 0.5, 0.05])
    assert aug_input.cares.tolist() == [True, False, True]
    assert aug_input.boxes[1:].tolist() == [[80, 10, 100, 30], [98, 40, 100, 60]]
    aug_input.transform(T.RotationTransform(100, 100, 45))  # a larger canvas
    assert aug_input.indices.tolist() == [0, 1, 2]
    assert aug_input.visible == pytest.approx([1, 0.5, 0.05])
    aug_input.transform(T.CropTransform(0, 0, 0, 0))
    assert len(aug_input) == 0 and aug_input.polygons == [] and aug_input.boxes.shape == (0, 4)


def test_cutting_at_the_border_of_the_original_image_does_not_count():
    polygon = quad(0, 50, 40, 20, 0)
    image = np.zeros((100, 200, 3), dtype=np.uint8)
    aug_input = TextAugInput(image, [polygon], [True])
    assert aug_input.boxes.tolist() == [[0, 40, 20, 60]]
    assert aug_input.visible.tolist() == [1]
    assert polygon.min() == -20  # the caller's array stays as it was


def test_rounding_of_sizes_cuts_nothing():
    whole = np.array([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]], dtype=float)
    for seed in range(20):
        seed_all_rng(seed)
        aug_input = TextAugInput(drawing(POLYGONS[0]), [whole], [True])
        T.AugmentationList(build_augmentations(cfg_with(ROTATION_PROB=1.0), True))(aug_input)
        assert aug_input.visible.tolist() == [1]
        (polygon,) = aug_input.polygons
        height, width = aug_input.image.shape[:2]
        assert len(polygon) == 4
        assert (polygon >= 0).all() and (polygon <= [width, height]).all()


def test_flags_must_match_polygons():
    with pytest.raises(ValueError, match="4 polygons, but 1"):
        TextAugInput(drawing(POLYGONS[0]), POLYGONS, [True])
