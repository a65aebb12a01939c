"""Words as the recogniser takes them: how wide, and by what outline."""

from __future__ import annotations

import torch
from torch import Tensor

from dld_d2.modeling.spotters.pp_ocr.lines import HEIGHT, MAX_WIDTH, WIDTH_STEP
from dld_d2.modeling.spotters.pp_ocr.recogniser import Encoded, Recogniser
from dld_d2.modeling.spotters.pp_ocr.straightening import aspect_ratios, extend, straighten

__all__ = ["encode_words", "jitter_sides", "sides_of_boxes", "widths"]


def widths(sides: Tensor) -> Tensor:
    """How wide words are read, in pixels at the recogniser's height.

    Widths are rounded to a step, so that words of about one length are read together without
    padding: what is read of a word does not depend on the others.

    Args:
        sides: (N, 14, 2) in pixels.

    Returns:
        (N,) int64, multiples of 32.
    """
    steps = (aspect_ratios(sides) * HEIGHT / WIDTH_STEP).round()
    return (steps.clamp(1, MAX_WIDTH / WIDTH_STEP) * WIDTH_STEP).long()


def jitter_sides(sides: Tensor, inwards: float, outwards: float) -> Tensor:
    """Outlines as a detector might find them.

    Args:
        sides: (N, 14, 2) in pixels.
        inwards, outwards: how far each side may move, in units of the word's height.

    Returns:
        The same, each of the four sides moved by an amount of its own.
    """
    moved = torch.rand(len(sides), 4, device=sides.device) * (inwards + outwards) - inwards
    left, upper, right, lower = moved.unbind(dim=1)
    aspect = aspect_ratios(sides).clamp(min=0.1)
    return extend(sides, left / aspect, upper, right / aspect, lower)


def encode_words(
    recogniser: Recogniser,
    images: Tensor,
    image_index: Tensor,
    sides: Tensor,
    width: Tensor,
    *,
    early: bool = False,
) -> Encoded:
    """Read words in groups of equal width.

    Args:
        recogniser: takes them.
        images: (B, 3, H, W), normalised.
        image_index: (N,) int64, N >= 1.
        sides: (N, 14, 2) in pixels of these images.
        width: (N,) as `widths` gives it.
        early: whether `early` is wanted; it is None else.

    Returns:
        Those of all words, `early` and `context` with zeros behind the end of shorter words.
    """
    members, groups = [], []
    for value in width.unique().tolist():
        rows = (width == value).nonzero()[:, 0]
        words = straighten(images, image_index[rows], sides[rows], (HEIGHT, value))
        members.append(rows)
        groups.append(recogniser(words))
    order = torch.cat(members).argsort()
    context = _padded([found.context for found in groups], dim=1)[order]
    if not early:
        return Encoded(None, context)
    return Encoded(_padded([found.early for found in groups], dim=3)[order], context)


def _padded(tensors: list[Tensor], dim: int) -> Tensor:
    """One after the other, all as long along `dim` as the longest."""
    longest = max(tensor.shape[dim] for tensor in tensors)
    padded = []
    for tensor in tensors:
        shape = list(tensor.shape)
        shape[dim] = longest - shape[dim]
        padded.append(torch.cat([tensor, tensor.new_zeros(shape)], dim=dim))
    return torch.cat(padded)


def sides_of_boxes(corners: Tensor) -> Tensor:
    """Sides of quadrilaterals.

    Args:
        corners: (N, 4, 2), clockwise from the upper left. A region more than 1.5 times as high as
            wide is taken for a word that runs downwards, and begins at its upper right.

    Returns:
        (N, 14, 2).
    """
    across = (corners[:, 1] - corners[:, 0]).norm(dim=-1)
    down = (corners[:, 3] - corners[:, 0]).norm(dim=-1)
    upright = (down > 1.5 * across)[:, None, None]
    a, b, c, d = torch.where(upright, corners.roll(-1, dims=1), corners).unbind(dim=1)
    fraction = torch.linspace(0, 1, 7, device=corners.device)[:, None]
    upper = a[:, None] + fraction * (b - a)[:, None]
    lower = d[:, None] + fraction * (c - d)[:, None]
    return torch.cat([upper, lower], dim=1)
