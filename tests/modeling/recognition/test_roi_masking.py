"""RoI masking against a per-instance implementation with full-image masks."""

import numpy as np
import pytest
import shapely
import torch
import torch.nn.functional as F
from detectron2.structures import Instances

from dld_d2.modeling.recognition.regions import BoxMasks, Regions, jitter_targets
from dld_d2.modeling.recognition.roi_masking import RoIMasking
from dld_d2.modeling.spotters.rescale import scale_targets
from dld_d2.structures.polygons import Polygons

STRIDE = 4
MAP = (24, 40)  # feature pixels


def make_layer(conv_on: str, size: tuple[int, int] = (8, 32)) -> RoIMasking:
    torch.manual_seed(1)
    layer = RoIMasking(
        in_channels=3,
        out_channels=5,
        size=size,
        stride=STRIDE,
        enlarge=1,
        transpose_ratio=1.5,
        conv_on=conv_on,
        norm="BN",
    )
    return layer.double().eval()


def word_polygons() -> list[np.ndarray]:
    """A wide, a tall, a tilted, a curved, a tiny word and two that touch the image's border."""
    angle = np.linspace(0, np.pi, 7)
    arc = np.stack([80 + 40 * np.cos(angle), 70 - 40 * np.sin(angle)], axis=1)
    inner = np.stack([80 + 25 * np.cos(angle), 70 - 25 * np.sin(angle)], axis=1)
    return [
        np.array([[10.3, 20.1], [90.2, 18.4], [91.7, 37.9], [11.0, 40.6]]),
        np.array([[100.5, 10.2], [115.1, 11.0], [114.2, 80.3], [99.4, 79.0]]),
        np.array([[20.0, 60.0], [70.0, 40.0], [75.0, 52.0], [25.0, 73.0]]),
        np.concatenate([arc, inner[::-1]]),
        np.array([[50.1, 50.2], [52.9, 50.0], [53.0, 52.5], [50.4, 52.8]]),
        np.array([[0.0, 0.0], [31.0, 0.0], [31.0, 9.0], [0.0, 9.0]]),
        np.array([[131.0, 85.0], [160.0, 85.0], [160.0, 96.0], [131.0, 96.0]]),
    ]


def make_regions() -> Regions:
    polygons = Polygons.from_arrays(word_polygons())
    index = torch.tensor([0, 1, 0, 1, 1, 0, 1])
    return Regions(index, polygons.get_bounding_boxes().tensor, polygons)


def window_of(box: np.ndarray) -> tuple[int, int, int, int]:
    height, width = MAP
    x0, y0 = np.maximum(np.floor(box[:2] / STRIDE) - 1, 0).astype(int)
    x1, y1 = np.minimum(np.ceil(box[2:] / STRIDE) + 1, (width, height)).astype(int)
    return x0, y0, x1, y1


def full_mask(polygon: np.ndarray) -> torch.Tensor:
    height, width = MAP
    x, y = np.meshgrid((np.arange(width) + 0.5) * STRIDE, (np.arange(height) + 0.5) * STRIDE)
    inside = shapely.contains_xy(shapely.Polygon(polygon.astype(np.float32)), x, y)
    return torch.from_numpy(inside.astype(np.float64))


def naive_resize(crop: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if crop.shape[1] > 1.5 * crop.shape[2]:
        crop = crop.transpose(1, 2)
    return F.interpolate(crop[None], size=size, mode="bilinear", align_corners=False)[0]


def naive_on_map(layer: RoIMasking, features: torch.Tensor, regions: Regions) -> torch.Tensor:
    features = layer.conv(features)
    output = []
    for image, box, polygon in zip(
        regions.image_index, regions.boxes.double().numpy(), word_polygons(), strict=True
    ):
        x0, y0, x1, y1 = window_of(box)
        masked = features[image] * full_mask(polygon)
        output.append(naive_resize(masked[:, y0:y1, x0:x1], layer.size))
    return torch.stack(output)


def naive_on_crops(layer: RoIMasking, features: torch.Tensor, regions: Regions) -> torch.Tensor:
    """One element at a time; the halo is one further output element around the window."""

    def at(image: torch.Tensor, y: float, x: float) -> torch.Tensor:
        y = min(max(y, 0), MAP[0] - 1)
        x = min(max(x, 0), MAP[1] - 1)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, MAP[0] - 1), min(left + 1, MAP[1] - 1)
        upper = image[:, top, left] * (1 - x + left) + image[:, top, right] * (x - left)
        lower = image[:, bottom, left] * (1 - x + left) + image[:, bottom, right] * (x - left)
        return upper * (1 - y + top) + lower * (y - top)

    rows, columns = layer.size
    output = []
    for image, box, polygon in zip(
        regions.image_index, regions.boxes.double().numpy(), word_polygons(), strict=True
    ):
        x0, y0, x1, y1 = window_of(box)
        transposed = y1 - y0 > 1.5 * (x1 - x0)
        elements = []
        for i in range(-1, rows + 1):
            for j in range(-1, columns + 1):
                along_x, along_y = (i + 0.5, j + 0.5) if transposed else (j + 0.5, i + 0.5)
                per_x, per_y = (rows, columns) if transposed else (columns, rows)
                elements.append(
                    at(
                        features[image],
                        y0 + along_y * (y1 - y0) / per_y - 0.5,
                        x0 + along_x * (x1 - x0) / per_x - 0.5,
                    )
                )
        crop = torch.stack(elements, dim=1).view(1, -1, rows + 2, columns + 2)
        mask = naive_resize(full_mask(polygon)[None, y0:y1, x0:x1], layer.size)
        output.append(layer.conv(crop)[0] * mask)
    return torch.stack(output)


@pytest.mark.parametrize(("conv_on", "naive"), [("map", naive_on_map), ("crop", naive_on_crops)])
@pytest.mark.parametrize("size", [(8, 32), (4, 6)], ids=["8x32", "4x6"])
def test_values_and_gradients_equal_the_naive_ones(conv_on, naive, size):
    layer, regions = make_layer(conv_on, size), make_regions()
    values = torch.randn(2, 3, *MAP, dtype=torch.float64, generator=torch.manual_seed(0))
    results, gradients = [], []
    for run in (layer, lambda features, regions: naive(layer, features, regions)):
        features = values.clone().requires_grad_()
        layer.zero_grad()
        output = run(features, regions)
        # A random direction, so that every element of the Jacobian's action counts.
        direction = torch.randn(output.shape, dtype=torch.float64, generator=torch.manual_seed(2))
        (output * direction).sum().backward()
        results.append(output.detach())
        gradients.append((features.grad, layer.conv.weight.grad.clone()))
    # Windows are computed in float32, hence not to the last digit of float64.
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


def test_what_lies_outside_the_words_shape_does_not_leak_in():
    layer, regions = make_layer("map"), make_regions()
    layer.conv = torch.nn.Identity()
    inside = full_mask(word_polygons()[2])
    features = torch.zeros(2, 3, *MAP, dtype=torch.float64)
    features[0] = 1 - inside
    only = Regions(regions.image_index[2:3], regions.boxes[2:3], regions.shape[2:3])
    assert layer(features, only).abs().max() == 0
    assert layer(1 - features, only).max() > 0.9


def test_box_masks_agree_with_the_polygon_they_were_drawn_from():
    polygons = Polygons.from_arrays(word_polygons())
    boxes = polygons.get_bounding_boxes().tensor
    masks = BoxMasks(polygons.crop_and_resize(boxes, 56).float(), boxes)
    points = torch.rand(len(boxes), 4000, 2, generator=torch.manual_seed(0))
    points = boxes[:, None, :2] - 3 + points * (boxes[:, None, 2:] - boxes[:, None, :2] + 6)
    agreement = masks.contains(points) == polygons.contains(points)
    assert agreement.float().mean(dim=1).min() > 0.97
    outside = ((points < boxes[:, None, :2]) | (points > boxes[:, None, 2:])).any(dim=-1)
    assert not masks.contains(points)[outside].any()


def test_unknown_place_of_the_convolution_is_refused():
    with pytest.raises(ValueError, match="'both'"):
        make_layer("both")


def make_target() -> Instances:
    polygons = Polygons.from_arrays(word_polygons())
    return Instances(
        (4 * MAP[0], 4 * MAP[1]), gt_boxes=polygons.get_bounding_boxes(), gt_masks=polygons
    )


def regions_of(*targets) -> Regions:
    return Regions.from_targets(targets)


def test_jittered_regions_stretch_their_polygons_with_their_boxes():
    torch.manual_seed(0)
    exact = make_target()
    targets = jitter_targets([exact], 0.2)
    regions, jittered = regions_of(exact), regions_of(*targets)
    moved = jittered.boxes - regions.boxes
    shorter = (regions.boxes[:, 2:] - regions.boxes[:, :2]).amin(dim=1, keepdim=True)
    assert (moved.abs() <= 0.2 * shorter + 1e-4).all() and (moved != 0).all()
    torch.testing.assert_close(
        jittered.shape.get_bounding_boxes().tensor, jittered.boxes, rtol=1e-5, atol=1e-3
    )
    # What detection learns from is as it was.
    assert targets[0].gt_boxes is exact.gt_boxes and targets[0].gt_masks is exact.gt_masks
    assert not exact.has("gt_jitter")
    still = regions_of(*jitter_targets([exact], 0.0))
    torch.testing.assert_close(still.shape.vertices, regions.shape.vertices, rtol=0, atol=1e-4)


def test_jitter_holds_at_every_scale_of_the_image():
    torch.manual_seed(0)
    (target,) = jitter_targets([make_target()], 0.2)
    (small,) = scale_targets([target], [(MAP[0], MAP[1])])
    torch.testing.assert_close(4 * regions_of(small).boxes, regions_of(target).boxes)
