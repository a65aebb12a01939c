"""Which scales were chosen (Table A1 of the DLD paper), and how large the words were there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from dld_d2.structures.polygons import word_heights

__all__ = [
    "ScaleShares",
    "bias_of_larger_scale",
    "heights_by_scale",
    "polygon_heights",
    "scale_shares",
]


class ScaleShares(NamedTuple):
    """Scales of a set of images.

    Attributes:
        shares: scale -> fraction of the images, by ascending scale.
        mean: of the scale s.
        mean_square: of s^2, which is about the cost in units of the full resolution's.
    """

    shares: dict[float, float]
    mean: float
    mean_square: float


def scale_shares(chosen: Sequence[float], candidates: Sequence[float] = ()) -> ScaleShares:
    """How often each scale was chosen.

    Args:
        chosen: of each image, at least one.
        candidates: scales that are listed even if no image got them.

    Raises:
        ValueError: for no image.
    """
    if not len(chosen):
        raise ValueError("shares of scales need images, and there are none")
    values = np.asarray(chosen, dtype=np.float64)
    shares = {s: float(np.mean(values == s)) for s in sorted({*candidates, *values.tolist()})}
    return ScaleShares(shares, float(values.mean()), float(np.square(values).mean()))


def polygon_heights(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """Heights of words, see `dld_d2.structures.polygons.word_heights`.

    Args:
        polygons: (K_i, 2) each, in pixels.

    Returns:
        (N,) float64, pixels.
    """
    return np.array(
        [word_heights(torch.as_tensor(np.asarray(p))[None].double()).item() for p in polygons]
    )


def heights_by_scale(
    chosen: Mapping[str, float], heights: Mapping[str, np.ndarray]
) -> dict[float, np.ndarray]:
    """Heights of all words that were read at each scale.

    Args:
        chosen: image id -> scale.
        heights: image id -> (N_i,), of its words, for each of these images.

    Returns:
        Scale -> heights, by ascending scale, those of an image together.
    """
    return {
        scale: np.concatenate([heights[image] for image, s in chosen.items() if s == scale])
        for scale in sorted(set(chosen.values()))
    }


def bias_of_larger_scale(
    logits: np.ndarray, relative_cost: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """Cost biases below which images get a dearer scale than they have.

    Args:
        logits: (N, k), of the selector.
        relative_cost: (k,), of the candidates.
        chosen: (N,) integers, the best by logits - b * relative_cost at the present bias b.

    Returns:
        (N,) float64, at most b; -inf for images that have the dearest scale.
    """
    rows = np.arange(len(logits))
    gain = logits - logits[rows, chosen][:, None].astype(np.float64)
    dearer = relative_cost[None] - relative_cost[chosen][:, None].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(dearer > 0, gain / dearer, -np.inf).max(axis=1)
