"""Words cut out of images and laid straight, each between its upper and its lower side.

Where words lie is told by their sides: 7 points of the upper one and 7 of the lower one, from left
to right in reading order, see `dld_d2.structures.sides`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["aspect_ratios", "cut_rectangles", "extend", "straighten"]

# A word counts as curved where a point of a side is off its chord by more than this part of the
# word's height.
_CURVED = 0.05


def aspect_ratios(sides: Tensor) -> Tensor:
    """Width over height of words, by the mean length of their sides and of the lines between them.

    Args:
        sides: (N, 14, 2) in pixels.

    Returns:
        (N,) float.
    """
    upper, lower = _upper_and_lower(sides)
    width = (_lengths(upper) + _lengths(lower)) / 2
    height = (lower - upper).norm(dim=-1).mean(dim=-1)
    return width / height.clamp(min=1e-3)


def extend(sides: Tensor, left: Tensor, upper: Tensor, right: Tensor, lower: Tensor) -> Tensor:
    """Words with their outlines moved outwards, or inwards where an amount is below 0.

    Args:
        sides: (N, 14, 2).
        left, right: (N,) in units of the word's length.
        upper, lower: (N,) in units of its height.

    Returns:
        (N, 14, 2).
    """
    steps = torch.linspace(0, 1, sides.shape[1] // 2, device=sides.device)
    u = -left[:, None] + steps * (1 + left + right)[:, None]
    above, below = (_along(side, u) for side in _upper_and_lower(sides))
    across = below - above
    above, below = above - upper[:, None, None] * across, below + lower[:, None, None] * across
    return torch.cat([above, below], dim=1)


def straighten(images: Tensor, image_index: Tensor, sides: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut words out.

    A quadrilateral is laid flat as what it mostly is, a rectangle seen from the side (a homography,
    Heckbert 1989); a curved word in strips between corresponding points of its sides. Beyond the
    image there is 0, the mean grey.

    Where a word is larger in the image than in the result, neighbouring pixels are averaged first,
    by as many samples as it takes.

    Args:
        images: (B, 3, H, W).
        image_index: (N,) int64, N >= 1.
        sides: (N, 14, 2) in pixels; pixel (0, 0) covers [0, 1] x [0, 1].
        size: height and width of the result.

    Returns:
        (N, 3, *size).
    """
    sides = sides.float()
    height, width = size
    samples = _samples(sides, height)
    u = (torch.arange(width * samples, device=sides.device) + 0.5) / (width * samples)
    v = (torch.arange(height * samples, device=sides.device) + 0.5) / (height * samples)
    points = torch.where(
        _is_curved(sides)[:, None, None, None], _strips(sides, u, v), _flat(sides, u, v)
    )
    cut = _sample(images, image_index, points)
    return F.avg_pool2d(cut, samples) if samples > 1 else cut


def cut_rectangles(image: Tensor, corners: Tensor, u: Tensor, v: Tensor, height: int) -> Tensor:
    """What `straighten` gives for rectangles in one image, by operations that ONNX has.

    Args:
        image: (1, 3, H, W).
        corners: (N, 4, 2) in pixels, clockwise from where the word begins.
        u: (K * W',) fractions of the words' length at which samples are taken.
        v: (K * height,) of their height.
        height: of the result; it tells K, along each side of a pixel the number of samples.

    Returns:
        (N, 3, height, W').
    """
    a, b, c, d = corners.unbind(dim=1)
    points = _flat(torch.stack([a, b, d, c], dim=1), u, v)
    # Not by a tensor of the size: it would be of the image that the graph was made with.
    x, y = points[..., 0] / image.shape[3], points[..., 1] / image.shape[2]
    grid = torch.stack([x, y], dim=-1) * 2 - 1
    words, samples_v, samples_u = grid.shape[0], grid.shape[1], grid.shape[2]
    cut = F.grid_sample(image, grid.flatten(0, 1)[None], align_corners=False)[0]
    samples = samples_v // height
    cut = cut.reshape(-1, words, height, samples, samples_u // samples, samples)
    return cut.mean(dim=(3, 5)).transpose(0, 1)


def _samples(sides: Tensor, height: int) -> int:
    """Samples along each side of a pixel of the result, for the largest word, at most 4."""
    upper, lower = _upper_and_lower(sides)
    largest = (lower - upper).norm(dim=-1).mean(dim=-1).max()
    return int((largest / height).round().clamp(1, 4))


def _strips(sides: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """(N, V, U, 2): between the points at u of the upper and the lower side, the one at v."""
    u = u.expand(len(sides), -1)
    upper, lower = (_along(side, u)[:, None] for side in _upper_and_lower(sides))
    return upper + v[:, None, None] * (lower - upper)


def _along(side: Tensor, u: Tensor) -> Tensor:
    """(N, U, 2) points at fractions u, (N, U), of polylines (N, 7, 2) of equal segments; beyond
    their ends, the first and last segment go on."""
    place = u * (side.shape[1] - 1)
    start = place.floor().long().clamp(0, side.shape[1] - 2)
    fraction = (place - start)[..., None]
    index = start[..., None].expand(-1, -1, 2)
    first, last = side.gather(1, index), side.gather(1, index + 1)
    return first * (1 - fraction) + last * fraction


def _flat(sides: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """(N, V, U, 2): the unit square mapped on the quadrilateral of the sides' ends."""
    upper, lower = _upper_and_lower(sides)
    a, b, d, c = upper[:, 0], upper[:, -1], lower[:, 0], lower[:, -1]
    right, below, bent = b - c, d - c, a - b + c - d
    determinant = _cross(right, below)
    # Corners on a line have no homography; their two last coefficients, 0, leave an affine map.
    fine = determinant.abs() > 1e-6
    determinant = torch.where(fine, determinant, torch.ones_like(determinant))
    g = torch.where(fine, _cross(bent, below) / determinant, 0.0)
    h = torch.where(fine, _cross(right, bent) / determinant, 0.0)
    along_u, along_v = b - a + g[:, None] * b, d - a + h[:, None] * d
    u, v = u[None, None, :], v[None, :, None]
    top = (
        a[:, None, None]
        + u[..., None] * along_u[:, None, None]
        + v[..., None] * along_v[:, None, None]
    )
    bottom = 1 + g[:, None, None] * u + h[:, None, None] * v
    return top / bottom.clamp(min=1e-3)[..., None]


def _cross(x: Tensor, y: Tensor) -> Tensor:
    return x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]


def _is_curved(sides: Tensor) -> Tensor:
    """(N,) bool."""
    upper, lower = _upper_and_lower(sides)
    height = (lower - upper).norm(dim=-1).mean(dim=-1)
    off = torch.stack([_off_chord(side) for side in (upper, lower)]).amax(dim=0)
    return off > _CURVED * height


def _off_chord(side: Tensor) -> Tensor:
    """(N,) the largest distance of a polyline's points (N, 7, 2) from the line of its ends."""
    chord = F.normalize(side[:, -1] - side[:, 0], dim=-1)
    offset = side - side[:, :1]
    return (offset[..., 0] * chord[:, None, 1] - offset[..., 1] * chord[:, None, 0]).abs().amax(1)


def _upper_and_lower(sides: Tensor) -> tuple[Tensor, Tensor]:
    return sides.chunk(2, dim=1)


def _lengths(side: Tensor) -> Tensor:
    return (side[:, 1:] - side[:, :-1]).norm(dim=-1).sum(dim=-1)


def _sample(images: Tensor, image_index: Tensor, points: Tensor) -> Tensor:
    """(N, 3, V, U) of images (B, 3, H, W) at points (N, V, U, 2) in pixels, bilinearly."""
    size = images.new_tensor([images.shape[-1], images.shape[-2]], dtype=torch.float32)
    grid = points / size * 2 - 1
    cut = torch.empty(
        len(points), images.shape[1], *points.shape[1:3], dtype=images.dtype, device=images.device
    )
    # A copy of the image for each of its words would take more memory than the words themselves.
    for index in range(len(images)):
        rows = (image_index == index).nonzero()[:, 0]
        if len(rows):
            stacked = grid[rows].flatten(0, 1)[None].to(images.dtype)
            taken = F.grid_sample(images[index : index + 1], stacked, align_corners=False)
            cut[rows] = taken[0].unflatten(1, (len(rows), -1)).transpose(0, 1)
    return cut
