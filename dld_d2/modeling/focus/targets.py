"""What the network that looks first shall say: drawn from words' polygons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from detectron2.structures import Instances
from torch import Tensor

from dld_d2.modeling.focus.chips import STRIDE
from dld_d2.modeling.spotters.pp_ocr.score_map_targets import rasterise, solid_pieces

__all__ = ["FocusTargets", "focus_targets"]

# A place of which words cover less than this is neither text nor background.
_LEAST_COVER = 0.05


class FocusTargets(NamedTuple):
    """Maps (B, h, w) of a batch, at a stride of 8.

    Attributes:
        text: float32, 1 where there is a word and 0 elsewhere.
        known: float32, 1 where `text` is to be learnt: not in don't-care regions that no word
            covers, not where a word covers next to nothing, and not in padding.
        height: float32, of the smallest word there, in pixels of the network's input; 0 where there
            is none.
    """

    text: Tensor
    known: Tensor
    height: Tensor


def focus_targets(
    targets: Sequence[Instances],
    heights: Sequence[Tensor],
    scale: float,
    size: tuple[int, int],
) -> FocusTargets:
    """Draw the words of a padded batch.

    Args:
        targets: per image, at the full resolution, with `gt_masks` (`Polygons`) and `gt_ignore`.
        heights: (N,) of its words in pixels of the full resolution, see
            `dld_d2.structures.polygons.word_heights`.
        scale: of the full resolution, at which the network looks.
        size: height and width of the padded input of the network, multiples of 16.

    Returns:
        On the targets' device.
    """
    shape = (len(targets), size[0] // STRIDE, size[1] // STRIDE)
    maps = FocusTargets(*(np.zeros(shape, dtype=np.float32) for _ in FocusTargets._fields))
    for index, (target, high) in enumerate(zip(targets, heights, strict=True)):
        polygons = scale * target.gt_masks.vertices.cpu().numpy()
        ignore = target.gt_ignore.cpu().numpy()
        words, cover = _drawn(polygons[~ignore], scale * high.cpu().numpy()[~ignore], size)
        _, dont_care = _drawn(polygons[ignore], np.ones(ignore.sum()), size)
        maps.text[index] = cover > _LEAST_COVER
        maps.height[index] = words
        known = (cover > _LEAST_COVER) | ((cover == 0) & (dont_care <= _LEAST_COVER))
        # A place that is partly padding is looked at like any other.
        rows, columns = (-(-round(side * scale) // STRIDE) for side in target.image_size)
        maps.known[index, :rows, :columns] = known[:rows, :columns]
    device = targets[0].gt_ignore.device
    return FocusTargets(*(torch.from_numpy(one).to(device) for one in maps))


def _drawn(
    polygons: np.ndarray, heights: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Maps (h, w): the least height of the words at each place, 0 without one, and the share of the
    place that words cover."""
    canvas = np.zeros(size, dtype=np.float32)
    # The smallest last, so that they stay.
    order = np.argsort(-heights, kind="stable")
    pieces, word = solid_pieces(list(polygons[order]))
    for piece, window, inside in rasterise(pieces, size):
        canvas[window][inside] = heights[order][word[piece]]
    cells = canvas.reshape(size[0] // STRIDE, STRIDE, size[1] // STRIDE, STRIDE)
    least = np.where(cells > 0, cells, np.inf).min(axis=(1, 3))
    return np.where(np.isfinite(least), least, 0), (cells > 0).mean(axis=(1, 3))
