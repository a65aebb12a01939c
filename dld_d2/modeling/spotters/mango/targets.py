"""What is learnt of where words are: their centre lines, and the cells that read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely
import torch
from detectron2.structures import Instances
from torch import Tensor

from dld_d2.modeling.spotters.mango.character_slices import along_sides
from dld_d2.modeling.spotters.mango.grid import Grid
from dld_d2.modeling.spotters.mango.rasterize import rasterize
from dld_d2.structures.polygons import Polygons

__all__ = [
    "NOBODY",
    "CenterLineTargets",
    "WordCells",
    "center_line_targets",
    "representative_cells",
    "sides_of_targets",
    "word_cells",
]

NOBODY = -1

# The part of a word's centre line that its cells lie on, and how thick that is in units of the
# word's shorter end: sigma of the released code.
_SIGMA = 0.2
# Samples along and across that part. The longest word reaches over 60 cells, a fifth of it over 12.
_ALONG, _ACROSS = 33, 9


class CenterLineTargets(NamedTuple):
    """(B, h, w) bool of a batch: where centre lines are, and where this is to be learnt."""

    wanted: Tensor
    counts: Tensor


class WordCells(NamedTuple):
    """Which word each cell reads.

    Attributes:
        owner: (B, S * S) int64, the word's number among all instances of the batch, or `NOBODY`.
        counts: (B, S * S) bool, where this is to be learnt: not in don't-care regions.
    """

    owner: Tensor
    counts: Tensor


def sides_of_targets(targets: Sequence[Instances]) -> Tensor:
    """(N, 14, 2), the sides of all instances of a batch.

    Raises:
        ValueError: if the ground truth has none.
    """
    if not all(target.has("gt_sides") for target in targets):
        raise ValueError(
            "the ground truth has no gt_sides, by which MANGOSpotter tells where a word is read; "
            "dld_d2.data.mapper.TextDatasetMapper gives them"
        )
    return torch.cat([target.gt_sides for target in targets])


def center_line_targets(
    targets: Sequence[Instances], grid: Grid, shrink_ratio: float
) -> CenterLineTargets:
    """Draw the centre lines of words: their polygons of area A and perimeter L, moved inwards by
    A (1 - r^2) / L. One that vanishes or falls apart shows nothing.

    Args:
        targets: per image, with `gt_masks` and `gt_ignore`.
        grid: of the batch.
        shrink_ratio: r.
    """
    height, width = grid.shape
    wanted = torch.zeros(len(targets), height * width, dtype=torch.bool, device=grid.extent.device)
    counts = grid.seen().flatten(1)
    image_index, ignore = _image_index(targets), _all(targets, "gt_ignore")
    if len(ignore):
        polygons = Polygons.cat([target.gt_masks for target in targets if len(target)]).vertices
        lines, word = _shrunk(polygons[~ignore].cpu().numpy(), shrink_ratio)
        lines = torch.from_numpy(lines).to(polygons)
        word = (~ignore).nonzero()[:, 0][torch.from_numpy(word).to(ignore.device)]
        inside = rasterize(lines / grid.stride, grid.shape)
        wanted[image_index[word[inside.owner]], inside.row * width + inside.column] = True
        regions = ignore.nonzero()[:, 0]
        inside = rasterize(polygons[regions] / grid.stride, grid.shape)
        pixel = inside.row * width + inside.column
        counts[image_index[regions[inside.owner]], pixel] = False
        counts |= wanted & grid.seen().flatten(1)
    return CenterLineTargets(wanted.view(-1, height, width), counts.view(-1, height, width))


def word_cells(targets: Sequence[Instances], grid: Grid) -> WordCells:
    """The cells around the middles of words, later words over earlier ones.

    Released code draws that part of a centre line on the map, at least a pixel thick; here it is
    sampled, which takes no least thickness, and gives the same cells at every scale.

    Args:
        targets: per image, with `gt_sides`, `gt_masks` and `gt_ignore`.
        grid: of the batch.
    """
    sides, device = sides_of_targets(targets), grid.extent.device
    image_index, ignore = _image_index(targets), _all(targets, "gt_ignore")
    number = torch.arange(len(ignore), device=device)
    cells = grid.side**2
    owner = torch.full((len(targets) * cells,), NOBODY, dtype=torch.int64, device=device)
    found = grid.cells(_middle_parts(sides, grid.image_sizes()[image_index]), image_index)
    found = found + image_index[:, None] * cells
    words = (~ignore).nonzero()[:, 0]
    owner.scatter_reduce_(
        0, found[words].flatten(), number[words].repeat_interleave(found.shape[1]), "amax"
    )

    counts = torch.ones_like(owner, dtype=torch.bool)
    regions = ignore.nonzero()[:, 0]
    if len(regions):
        polygons = Polygons.cat([target.gt_masks for target in targets if len(target)])
        size = grid.extent[image_index[regions]]
        polygons = polygons.vertices[regions] / size[:, None] * grid.side
        inside = rasterize(polygons, (grid.side, grid.side))
        place = image_index[regions[inside.owner]] * cells
        counts[place + inside.row * grid.side + inside.column] = False
        # A small one may hold no cell's middle.
        middle = polygons.mean(dim=1).floor().long().clamp(0, grid.side - 1)
        place = image_index[regions] * cells + middle[:, 1] * grid.side + middle[:, 0]
        counts[place] = False
        counts |= owner != NOBODY
    return WordCells(owner.view(-1, cells), counts.view(-1, cells))


def representative_cells(
    sides: Tensor, word: Tensor, image_index: Tensor, cells: WordCells, grid: Grid
) -> Tensor:
    """For each word one cell that reads it: the one that its middle lies in; if that was given to
    another word, the nearest of its own; if it has none, the first all the same.

    Args:
        sides: (N, 14, 2) of the words.
        word: (N,) int64, their numbers among all instances of the batch.
        image_index: (N,) int64.
        cells: of the batch.
        grid: of the batch.

    Returns:
        (N,) int64.
    """
    middle = along_sides(sides, torch.full_like(sides[:, :1, 0], 0.5)).mean(dim=(1, 2))
    at = grid.cells(middle[:, None], image_index)[:, 0]
    own = cells.owner[image_index] == word[:, None]
    number = torch.arange(grid.side**2, device=at.device)
    down = number // grid.side - (at // grid.side)[:, None]
    right = number % grid.side - (at % grid.side)[:, None]
    distance = (down.square() + right.square()).masked_fill(~own, 4 * grid.side**2)
    return torch.where(own.any(dim=1), distance.argmin(dim=1), at)


def _middle_parts(sides: Tensor, sizes: Tensor) -> Tensor:
    """(N, samples, 2), all over the middle parts of words, as fractions like the sides."""
    # Widths and heights are not alike: thickness is measured in pixels.
    pixels = sides * sizes[:, None]
    along = torch.linspace(0.5 - _SIGMA / 2, 0.5 + _SIGMA / 2, _ALONG, device=sides.device)
    upper, lower = along_sides(pixels, along.expand(len(sides), -1)).unbind(dim=1)
    across = lower - upper
    across = across / across.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    first, last = pixels[:, 0] - pixels[:, 7], pixels[:, 6] - pixels[:, 13]
    thickness = _SIGMA * torch.minimum(first.norm(dim=-1), last.norm(dim=-1))
    offset = torch.linspace(-0.5, 0.5, _ACROSS, device=sides.device) * thickness[:, None]
    points = ((upper + lower) / 2)[:, :, None] + across[:, :, None] * offset[:, None, :, None]
    return points.flatten(1, 2) / sizes[:, None]


def _shrunk(polygons: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Polygons (N, K, 2), shrunk: (M, P, 2) float32, each padded by its last vertex, and the index
    (M,) of what each was."""
    if len(polygons) == 0:
        return np.zeros((0, 3, 2), dtype=np.float32), np.zeros(0, dtype=np.int64)
    shapes = shapely.polygons(polygons.astype(np.float64))
    crossed = ~shapely.is_valid(shapes)
    shapes[crossed] = shapely.make_valid(shapes[crossed])
    length = np.maximum(shapely.length(shapes), 1e-9)
    shapes = shapely.buffer(shapes, -shapely.area(shapes) * (1 - ratio**2) / length)
    whole = (shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON) & (
        ~shapely.is_empty(shapes)
    )
    word = np.flatnonzero(whole)
    points, owner = shapely.get_coordinates(
        shapely.get_exterior_ring(shapes[word]), return_index=True
    )
    if len(word) == 0:
        return np.zeros((0, 3, 2), dtype=np.float32), word
    counts = np.bincount(owner, minlength=len(word))
    starts = np.cumsum(counts) - counts
    place = np.minimum(np.arange(counts.max())[None], counts[:, None] - 1)
    return points[starts[:, None] + place].astype(np.float32), word


def _image_index(targets: Sequence[Instances]) -> Tensor:
    device = targets[0].gt_ignore.device
    counts = torch.tensor([len(target) for target in targets], device=device)
    return torch.arange(len(targets), device=device).repeat_interleave(counts)


def _all(targets: Sequence[Instances], field: str) -> Tensor:
    return torch.cat([target.get(field) for target in targets])
