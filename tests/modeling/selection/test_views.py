"""Low-resolution views against drawings, closed forms and one image at a time."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.structures import ImageList
from tiny_spotter import make_input

from dld_d2.modeling.selection.views import scale_images
from dld_d2.modeling.spotters.rescale import scale_targets
from dld_d2.structures.polygons import Polygons
from dld_d2.structures.sizes import scaled_size
from dld_d2.structures.vocabulary import Vocabulary

SCALES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
BILINEAR = {"mode": "bilinear", "align_corners": False, "antialias": True}
SIZES = [(97, 131), (61, 127), (128, 160), (90, 33)]
SHAPES = [
    np.array([[20.0, 14.0], [71.0, 14.0], [71.0, 43.0], [20.0, 43.0]]),  # a rectangle
    np.array([[15.3, 60.2], [70.8, 38.4], [79.6, 60.7], [24.1, 82.5]]),  # a rotated one
    np.array([[12.0, 30.5], [30.2, 12.0], [70.0, 10.0], [92.6, 33.1], [52.3, 63.9]]),
]


def draw(polygon, size):
    """How much of each pixel the polygon covers, from 16 x 16 samples."""
    height, width = size
    fine = np.zeros((16 * height, 16 * width), dtype=np.uint8)
    # cv2's integer coordinates are centres of pixels.
    cv2.fillPoly(fine, [np.round(polygon * 16 - 0.5).astype(np.int32)], 255)
    return fine.reshape(height, 16, width, 16).mean(axis=(1, 3)) / 255


def distance_inside(polygon, size):
    """Of all pixel centres from the polygon's outline in pixels, positive inside."""
    outline = polygon.astype(np.float32)[:, None]
    return np.array(
        [
            [cv2.pointPolygonTest(outline, (x + 0.5, y + 0.5), True) for x in range(size[1])]
            for y in range(size[0])
        ]
    )


def as_batch(images, divisibility=32):
    batch = ImageList.from_tensors(images, divisibility)
    batch.tensor = batch.tensor.contiguous(memory_format=torch.channels_last)
    return batch


def view_of(images, scales, divisibility=0):
    """The views as a batch, as a spotter makes one."""
    return as_batch(scale_images(images, scales), divisibility)


def random_batch(sizes=SIZES):
    generator = torch.manual_seed(0)
    return as_batch([torch.randn(3, *size, generator=generator) for size in sizes])


@pytest.mark.parametrize("size", [(97, 131), (90, 100), (101, 111)])
@pytest.mark.parametrize("polygon", SHAPES, ids=["rectangle", "rotated", "pentagon"])
def test_targets_lie_on_the_image_to_half_a_pixel(polygon, size):
    image = torch.from_numpy(draw(polygon, size)).float().expand(3, -1, -1)
    target = make_input([("word", (0, 0, 9, 9))], size)["instances"]
    target.gt_masks = Polygons.from_arrays([polygon])
    target.gt_boxes = target.gt_masks.get_bounding_boxes()
    for scale in SCALES:
        view = view_of(as_batch([image]), [scale], 32)
        (scaled,) = scale_targets([target], view.image_sizes)
        assert scaled.image_size == view.image_sizes[0]
        drawn = view[0][0].numpy() > 0.5
        inside = distance_inside(scaled.gt_masks.vertices[0].numpy(), scaled.image_size)
        assert drawn[inside > 0.5].all(), scale
        assert not drawn[inside < -0.5].any(), scale


@pytest.mark.parametrize("size", [(97, 131), (90, 100), (101, 111)])
def test_boxes_lie_on_the_image_to_a_fifth_of_a_pixel(size):
    image = torch.from_numpy(draw(SHAPES[0], size)).float().expand(3, -1, -1)
    target = make_input([("word", (20, 14, 71, 43))], size)["instances"]
    for scale in SCALES:
        view = view_of([image], [scale])
        (scaled,) = scale_targets([target], view.image_sizes)
        x0, y0, x1, y1 = scaled.gt_boxes.tensor[0].tolist()
        brightness = view[0][0].double()
        for profile, begin, end in (
            (brightness[round((y0 + y1) / 2)], x0, x1),
            (brightness[:, round((x0 + x1) / 2)], y0, y1),
        ):
            centres = torch.arange(len(profile)) + 0.5
            assert profile.sum().item() == pytest.approx(end - begin, abs=0.2)
            middle = (profile * centres).sum() / profile.sum()
            assert middle.item() == pytest.approx((begin + end) / 2, abs=0.2)


def test_a_shift_by_one_pixel_would_be_noticed():
    polygon, size = SHAPES[0], (97, 131)
    drawn = draw(polygon, size) > 0.5
    assert drawn[distance_inside(polygon, size) > 0.5].all()
    inside = distance_inside(polygon + 1.1, size)
    assert not drawn[inside > 0.5].all()


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [
        ((97, 131), 0.3, (29, 39)),
        ((97, 131), 0.7, (68, 92)),
        ((1280, 2275), 0.3, (384, 682)),
        ((768, 1365), 0.8, (614, 1092)),
        ((61, 127), 1.0, (61, 127)),
        ((3, 1), 0.3, (1, 1)),
        ((1, 1), 0.3, (1, 1)),
    ],
)
def test_rounding(size, scale, expected):
    assert scaled_size(size, scale) == expected
    if min(size) < 10 or max(size) > 200:
        return
    view = view_of([torch.zeros(3, *size)], [scale], 32)
    assert view.image_sizes == [expected]


@pytest.mark.parametrize("scale", SCALES)
def test_sizes_are_the_nearest_whole_pixels(scale):
    for side in range(1, 200):
        height, width = scaled_size((side, 2 * side), scale)
        assert abs(height - max(side * scale, 1)) <= 0.5 + 1e-9
        assert abs(width - max(2 * side * scale, 1)) <= 0.5 + 1e-9


def test_padding_is_zero_up_to_a_multiple_of_the_divisibility():
    view = view_of(random_batch(), [0.3, 0.8, 0.5, 0.6], 32)
    assert view.image_sizes == [(29, 39), (49, 102), (64, 80), (54, 20)]
    assert view.tensor.shape == (4, 3, 64, 128)
    assert view.tensor.is_contiguous(memory_format=torch.channels_last)
    for padded, (height, width) in zip(view.tensor, view.image_sizes, strict=True):
        assert (padded[:, height:] == 0).all() and (padded[:, :, width:] == 0).all()
        assert padded[:, :height, :width].abs().min(dim=0).values.max() > 0


def test_scale_one_is_the_image_itself():
    batch = random_batch()
    before = batch.tensor.clone()
    view = view_of(batch, [1.0] * 4, 32)
    assert torch.equal(view.tensor, batch.tensor)
    view.tensor.zero_()  # a copy
    alone = view_of([batch[2]], [1.0], 32)
    alone.tensor.zero_()
    assert torch.equal(batch.tensor, before)


def test_a_batch_is_its_images_one_by_one():
    batch, scales = random_batch(), [0.3, 0.8, 0.5, 0.6]
    together = view_of(batch, scales, 32)
    for i, scale in enumerate(scales):
        alone = view_of([batch[i].contiguous()], [scale], 32)
        assert alone.image_sizes == [together.image_sizes[i]]
        torch.testing.assert_close(together[i], alone[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [(97, 131), (64, 1), (1, 64), (33, 5), (61, 127)])
@pytest.mark.parametrize("scale", SCALES)
def test_interpolation_of_views_into_a_batch_is_right(size, scale):
    """Slices of channels-last batches, which kernels for that format have got wrong before."""
    batch = random_batch([size, (96, 128)])
    image = batch[0]
    (view,) = scale_images([image], [scale])
    expected = F.interpolate(
        image.double().contiguous()[None], size=scaled_size(size, scale), **BILINEAR
    )
    torch.testing.assert_close(view, expected[0].float(), rtol=1e-4, atol=1e-4)


def test_brightness_stays():
    """Anti-aliasing weighs all pixels alike: a mean over the image hardly changes."""
    image = torch.rand(3, 120, 160, generator=torch.manual_seed(0))
    for scale in SCALES:
        (view,) = scale_images([image], [scale])
        torch.testing.assert_close(view.mean(dim=(1, 2)), image.mean(dim=(1, 2)), rtol=0.01, atol=0)


WORDS = [("Hello", (10, 10, 60, 26)), ("###", (90, 50, 131, 80)), ("naïve", (10, 40, 60, 52))]


def test_targets_are_scaled_by_the_true_ratios():
    target = make_input(WORDS, (97, 131))["instances"]
    before = {n: (v.tensor if n == "gt_boxes" else v) for n, v in target.get_fields().items()}
    boxes, vertices = target.gt_boxes.tensor.clone(), target.gt_masks.vertices.clone()
    (scaled,) = scale_targets([target], [(29, 39)])
    ratio = torch.tensor([39 / 131, 29 / 97])
    torch.testing.assert_close(scaled.gt_boxes.tensor, boxes * ratio.repeat(2))
    torch.testing.assert_close(scaled.gt_masks.vertices, vertices * ratio)
    assert scaled.gt_boxes.tensor[1, 2] == 39  # the image's edge stays its edge
    assert scaled.image_size == (29, 39)
    for name in ("gt_texts", "gt_ignore", "gt_readable", "gt_classes"):
        assert torch.equal(scaled.get(name), before[name]), name
    assert scaled.gt_ignore.tolist() == [False, True, False]
    assert scaled.gt_readable.tolist() == [True, False, False]
    assert Vocabulary().decode(scaled.gt_texts[0, :5].tolist()) == "Hello"
    # The full-resolution targets are still needed.
    assert torch.equal(target.gt_boxes.tensor, boxes)
    assert torch.equal(target.gt_masks.vertices, vertices)
    assert target.image_size == (97, 131)


def test_targets_of_a_batch_and_of_no_words():
    targets = [make_input(words, (97, 131))["instances"] for words in (WORDS, [], WORDS[:1])]
    scaled = scale_targets(targets, [(29, 39), (78, 105), (97, 131)])
    assert [len(t) for t in scaled] == [3, 0, 1]
    assert [t.image_size for t in scaled] == [(29, 39), (78, 105), (97, 131)]
    assert torch.equal(scaled[2].gt_boxes.tensor, targets[2].gt_boxes.tensor)
    with pytest.raises(ValueError):
        scale_targets(targets, [(29, 39)])
    with pytest.raises(ValueError):
        scale_images([torch.zeros(3, 8, 8)], [0.5, 0.5])
