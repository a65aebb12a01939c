"""What the head learns: maps drawn from words' sides, all words of a batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from detectron2.structures import Instances
from torch import Tensor

from dld_d2.modeling.spotters.text_perceptron.cells import (
    BACKGROUND,
    BOUNDARY,
    CENTRE,
    HEAD,
    OFFSET_UNIT,
    STRIDE,
    TAIL,
    TargetRule,
)
from dld_d2.modeling.spotters.text_perceptron.side_regions import sides_in_pixels
from dld_d2.modeling.spotters.text_perceptron.word_geometry import (
    WordPairs,
    distance_to_sides,
    outline,
    outline_crossings,
    shortest_edges,
    word_ends,
)
from dld_d2.structures.polygons import Polygons, points_in_polygons

__all__ = ["MapTargets", "draw_targets"]


class MapTargets(NamedTuple):
    """Of B images with maps of h x w cells.

    Attributes:
        labels: (B, h, w) int64: background 0, centre 1, head 2, tail 3, boundary 4.
        weight: (B, h, w) bool, cells whose label is to be learnt: not in padding, not the
            background of don't-care regions, nor background that was drawn to be left out.
        offsets: (B, 12, h, w) float, see `DetectionMaps`; 0 where they do not count.
        offset_valid: (B, 12, h, w) bool, where they count.
    """

    labels: Tensor
    weight: Tensor
    offsets: Tensor
    offset_valid: Tensor

    def kinds(self) -> Tensor:
        """(B, 4, h, w) float, 1 where a cell is of a kind, in the order of `KINDS`."""
        return F.one_hot(self.labels, 5)[..., 1:].movedim(-1, 1).to(self.offsets.dtype)

    def thinned(self) -> MapTargets:
        """With so much of the background left out, at random, that the rest is two fifths of it,
        and once more as many cells as words have: of G cells of background and F of words in an
        image each is left out with the probability (0.6 G - F) / G."""
        background = self.weight & (self.labels == BACKGROUND)
        words = (self.weight & ~background).flatten(1).sum(dim=1)
        number = background.flatten(1).sum(dim=1)
        chance = (0.6 - words / number.clamp(min=1))[:, None, None]
        left_out = background & (torch.rand(background.shape, device=chance.device) < chance)
        return self._replace(weight=self.weight & ~left_out)


@torch.no_grad()
def draw_targets(
    targets: Sequence[Instances], size: tuple[int, int], rule: TargetRule
) -> MapTargets:
    """Draw the words of a padded batch.

    A word's outline is that of its sides, uncut. Its polygon is centre; over it, the part of length
    e = 0.25 max(m, 12) pixels at its beginning is head, at its end tail; over these, both sides are
    boundary, lines of min(max(0.09 m, 3), 12) pixels. m is the shortest of the word's two ends and
    two sides (in the released code the shortest edge of the annotated polygon, whatever edges it
    has). Later words are drawn over earlier ones.

    Args:
        targets: per image, in its pixels, with `gt_sides`, `gt_masks` and `gt_ignore`.
        size: height and width of the maps in cells.
        rule: how to draw.

    Raises:
        ValueError: if the targets have no `gt_sides`.
    """
    device = targets[0].gt_ignore.device
    extent = torch.tensor([t.image_size for t in targets], device=device)
    extent = (extent + STRIDE - 1) // STRIDE  # of the images in cells, (B, 2): rows, columns
    rows, columns = (torch.arange(side, device=device) for side in size)
    weight = (rows[:, None] < extent[:, :1, None]) & (columns < extent[:, 1:, None])

    words = [~target.gt_ignore for target in targets]
    sides = [sides_in_pixels(t)[keep] for t, keep in zip(targets, words, strict=True)]
    labels, offsets, valid = _draw_words(_pairs_input(sides, device), (len(targets), *size), rule)

    masks = [t.gt_masks[~keep].to(device) for t, keep in zip(targets, words, strict=True)]
    ignored, image_index = Polygons.cat(masks).vertices, _image_index(masks, device)
    pairs = WordPairs.of(ignored, image_index, size, STRIDE, rule.at)
    inside = points_in_polygons(pairs.points[:, None], ignored[pairs.word])[:, 0]
    weight.view(-1)[pairs.cell[inside]] = False
    weight |= labels > 0
    return MapTargets(labels, weight, offsets, valid)


def _image_index(parts: Sequence, device: torch.device) -> Tensor:
    counts = torch.tensor([len(part) for part in parts], device=device)
    total = sum(len(part) for part in parts)
    return torch.arange(len(parts), device=device).repeat_interleave(counts, output_size=total)


def _pairs_input(sides: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.cat(list(sides)), _image_index(sides, device)


def _draw_words(
    words: tuple[Tensor, Tensor], shape: tuple[int, int, int], rule: TargetRule
) -> tuple[Tensor, Tensor, Tensor]:
    """Labels, offsets and where these count, of words' sides (N, 14, 2) and their images (N,)."""
    sides, image_index = words
    if not rule.on_cells:
        sides = sides.round()
    batch, height, width = shape
    polygon = outline(sides)
    m = shortest_edges(sides)
    end_length = 0.25 * m.clamp(min=12)
    line_width = (0.09 * m).clamp(3, 12)
    if rule.on_cells:
        end_length = end_length.clamp(min=STRIDE)
        line_width = STRIDE * (line_width / STRIDE).round().clamp(min=1)
    else:
        # OpenCV's lines of 3 pixels cover 5, of 5 cover 7.
        line_width = 2 * (line_width.floor() / 2).ceil()

    reach = line_width.max().item() if len(sides) else 0.0
    pairs = WordPairs.of(polygon, image_index, (height, width), STRIDE, rule.at, reach)
    points, word = pairs.points, pairs.word
    crossings = outline_crossings(points, polygon[word])
    heads, tails = word_ends(sides, end_length)
    in_polygon = crossings.inside
    in_head, in_tail = (
        points_in_polygons(points[:, None], ends[word])[:, 0] for ends in (heads, tails)
    )
    if not rule.on_cells:
        # OpenCV fills outlines as well.
        in_polygon = in_polygon | (crossings.distance <= 0.5)
        in_head, in_tail = (
            inside | (outline_crossings(points, ends[word]).distance <= 0.5)
            for inside, ends in ((in_head, heads), (in_tail, tails))
        )
    on_side = distance_to_sides(points, sides[word]) <= line_width[word] / 2
    label = in_polygon.long()
    for kind, inside in ((HEAD, in_head), (TAIL, in_tail), (BOUNDARY, on_side)):
        label = torch.where(inside, kind, label)

    # The last of several words has a cell.
    hit = label > 0
    owner = torch.full((batch * height * width,), -1, device=sides.device)
    owner.scatter_reduce_(0, pairs.cell[hit], word[hit], "amax")
    mine = hit & (owner[pairs.cell] == word)
    cell, word, label, points = pairs.cell[mine], word[mine], label[mine], points[mine]
    labels = owner.new_zeros(batch * height * width)
    labels[cell] = label

    corners = sides[:, [0, 7, 6, 13]][word]  # top left, bottom left, top right, bottom right
    to_corners = (points[:, None] - corners).flatten(1)
    kind = torch.tensor([HEAD, TAIL, CENTRE], device=label.device).repeat_interleave(4)
    ends = to_corners.new_ones(to_corners.shape, dtype=torch.bool)
    counts = torch.cat([ends, crossings.exist[mine]], dim=1) & (label[:, None] == kind)
    value = torch.cat([to_corners, crossings.signed[mine]], dim=1) / OFFSET_UNIT
    offsets = sides.new_zeros(batch * height * width, 12)
    offsets[cell] = torch.where(counts, value, 0)
    valid = torch.zeros_like(offsets, dtype=torch.bool)
    valid[cell] = counts

    def as_maps(flat: Tensor) -> Tensor:
        return flat.view(batch, height, width, 12).permute(0, 3, 1, 2)

    return labels.view(shape), as_maps(offsets), as_maps(valid)
