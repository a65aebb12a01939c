"""Words laid straight, against closed forms and a naive spline."""

import math

import pytest
import torch
import torch.nn.functional as F
from tiny_spotter import sided_input

from dld_d2.modeling.recognition.regions import jitter_targets
from dld_d2.modeling.spotters.text_perceptron.shape_transform import ShapeTransform, spline_matrix
from dld_d2.modeling.spotters.text_perceptron.side_regions import SideRegions

SQUARE = torch.stack(
    [
        torch.linspace(-1, 1, 7, dtype=torch.float64).repeat(2),
        torch.tensor([-1.0] * 7 + [1.0] * 7, dtype=torch.float64),
    ],
    dim=1,
)


def cells(height, width, halo=0):
    return torch.tensor(
        [
            ((2 * c + 1) / width - 1, (2 * r + 1) / height - 1)
            for r in range(-halo, height + halo)
            for c in range(-halo, width + halo)
        ],
        dtype=torch.float64,
    )


@pytest.mark.parametrize("halo", [0, 1])
def test_the_matrix_reproduces_identity_and_affine_maps(halo):
    matrix = spline_matrix(8, 32, halo)
    places = cells(8, 32, halo)
    torch.testing.assert_close(matrix @ SQUARE, places, rtol=0, atol=1e-12)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(len(matrix)).double())
    turn = torch.tensor([[3.0, -1.0], [0.5, 2.0]], dtype=torch.float64)
    shift = torch.tensor([7.0, -4.0], dtype=torch.float64)
    torch.testing.assert_close(
        matrix @ (SQUARE @ turn + shift), places @ turn + shift, rtol=0, atol=1e-11
    )


def test_the_matrix_is_that_of_the_textbook_spline():
    """Weights of kernels at the control points, point by point, for a bent word."""
    bent = SQUARE.clone()
    bent[:, 1] += 0.5 * bent[:, 0] ** 2
    n = len(SQUARE)

    def kernel(a, b):
        d = math.dist(a, b)
        return d * d * math.log(d) if d > 0 else 0.0

    system = torch.zeros(n + 3, n + 3, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            system[i, j] = kernel(SQUARE[i].tolist(), SQUARE[j].tolist())
        for j, value in enumerate([1.0, *SQUARE[i].tolist()]):
            system[i, n + j] = system[n + j, i] = value
    weights = torch.linalg.solve(system, F.pad(bent, (0, 0, 0, 3)))
    matrix = spline_matrix(8, 32)
    for row in (0, 45, 130, 255):
        x, y = cells(8, 32)[row].tolist()
        basis = [kernel((x, y), point.tolist()) for point in SQUARE] + [1.0, x, y]
        expected = torch.tensor(basis, dtype=torch.float64) @ weights
        torch.testing.assert_close(matrix[row] @ bent, expected)


def transform(conv_on):
    """A shape transform that gives the map's own channels."""
    torch.manual_seed(0)
    module = ShapeTransform(
        in_channels=2, out_channels=2, size=(8, 32), stride=4, conv_on=conv_on, norm=""
    )
    with torch.no_grad():
        module.conv.weight.zero_()
        module.conv.bias.zero_()
        for channel in range(2):
            module.conv.weight[channel, channel, 1, 1] = 1
    return module


def rectangle(x0, y0, x1, y1):
    x = torch.linspace(x0, x1, 7)
    return torch.cat([torch.stack([x, torch.full_like(x, y)], dim=1) for y in (y0, y1)])


@pytest.mark.parametrize("conv_on", ["map", "crop"])
def test_a_rectangle_is_cut_out_and_resized(conv_on):
    """Against a crop of the map that is resized, of "crop" with the halo that its convolution sees:
    within half a cell of the border values come from beyond it too, instead of being repeated."""
    halo = 1 if conv_on == "crop" else 0
    features = torch.rand(2, 2, 20, 40, generator=torch.manual_seed(1))
    regions = SideRegions(torch.tensor([1, 0]), torch.stack([rectangle(16, 8, 80, 24)] * 2))
    found = transform(conv_on)(features, regions)
    for row, image in enumerate((1, 0)):
        crop = features[image : image + 1, :, 2 - halo : 6 + halo, 4 - halo : 20 + halo]
        size = (8 + 4 * halo, 32 + 4 * halo)  # two result cells per feature cell
        expected = F.interpolate(crop, size=size, mode="bilinear", align_corners=False)
        expected = expected[0, :, 2 * halo : size[0] - 2 * halo, 2 * halo : size[1] - 2 * halo]
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)


def test_a_turned_word_is_laid_down():
    """A vertical word, read downwards: its upper side is on the right."""
    features = torch.rand(1, 2, 40, 20, generator=torch.manual_seed(1))
    lying = rectangle(0, 0, 64, 16)
    standing = torch.stack([40 - lying[:, 1], 16 + lying[:, 0]], dim=1)
    found = transform("map")(features, SideRegions(torch.tensor([0]), standing[None]))
    crop = features[:, :, 4:20, 6:10].flip(3).transpose(2, 3)
    expected = F.interpolate(crop, size=(8, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_what_lies_beyond_the_words_box_is_its_border_repeated():
    features = torch.rand(1, 2, 20, 40, generator=torch.manual_seed(1))
    bent = rectangle(16, 20, 80, 40)
    bent[:, 1] -= 0.01 * (bent[:, 0] - 48) ** 2 * 0.5
    regions = SideRegions(torch.tensor([0]), bent[None])
    found = transform("map")(features, regions)
    box = bent.amin(dim=0).div(4).floor().long(), bent.amax(dim=0).div(4).ceil().long()
    outside = torch.full_like(features, 1e6)
    region = (..., slice(box[0][1], box[1][1]), slice(box[0][0], box[1][0]))
    outside[region] = features[region]
    torch.testing.assert_close(transform("map")(outside, regions), found)


def test_only_the_map_gets_a_gradient_and_degenerate_words_are_finite():
    features = torch.rand(1, 2, 20, 40, requires_grad=True)
    sides = torch.zeros(2, 14, 2, requires_grad=True)
    found = transform("crop")(features, SideRegions(torch.tensor([0, 0]), sides))
    assert found.isfinite().all()
    found.sum().backward()
    assert features.grad.abs().sum() > 0


def test_regions_move_with_their_jitter_and_stay_in_the_image():
    target = sided_input([("to", (20, 40, 60, 50)), ("be", (150, 80, 160, 96))])["instances"]
    exact = SideRegions.from_targets([target])
    torch.testing.assert_close(exact.boxes, target.gt_boxes.tensor)
    (jittered,) = jitter_targets([target], 0.4)
    moved = SideRegions.from_targets([jittered])
    expected = target.gt_boxes.tensor + jittered.gt_jitter * 10
    expected = expected.clamp(min=0).minimum(torch.tensor([160.0, 96.0, 160.0, 96.0]))
    torch.testing.assert_close(moved.boxes, expected)
    assert not torch.allclose(moved.boxes, exact.boxes)


def test_another_place_of_the_convolution_is_refused():
    with pytest.raises(ValueError, match='"map" or "crop"'):
        ShapeTransform(
            in_channels=2, out_channels=2, size=(8, 32), stride=4, conv_on="word", norm=""
        )
