"""How far features move with the resolution (Table A2 of the DLD paper)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dld_d2.evaluation.bootstrap import mean_intervals
from dld_d2.modeling.selection.views import scale_images
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.modeling.spotters.rescale import scale_targets

__all__ = ["DISTANCES", "Interval", "mean_distances", "word_distances", "word_features"]

DISTANCES = ("rms", "mean_square", "mean_absolute", "relative")
"""The columns of `word_distances`."""


class Interval(NamedTuple):
    """A mean over words, with its 95% interval by the bootstrap over images."""

    mean: float
    low: float
    high: float


@torch.no_grad()
def word_features(
    spotter: Spotter, inputs: list[dict[str, Any]], scale: float, want: Collection[str]
) -> dict[str, Tensor]:
    """Features of the readable ground-truth words of images.

    Args:
        spotter: in evaluation mode.
        inputs: what `dld_d2.data.mapper.TextDatasetMapper` gives, with "instances".
        scale: at which the images are looked at, in (0, 1].
        want: out of "roi" (N, C, H, W) and "context" (N, L, C).

    Returns:
        By name, float32 on the CPU, N >= 0 rows in target order.
    """
    images, targets = spotter.preprocess(inputs)
    view = spotter.batch(scale_images(list(images), [scale] * len(images)))
    reading = spotter.recognize(view, scale_targets(targets, view.image_sizes), want=want)
    return {name: reading.features[name].float().cpu() for name in want}


def word_distances(high: Tensor, low: Tensor) -> np.ndarray:
    """Distances of features at full and at low resolution. The paper prints an "L2 distance"
    without a formula; these are what may be meant, and the one that does not depend on how large a
    layer's values are.

    Args:
        high, low: (N, ...) of D elements each, rows of the same words.

    Returns:
        (N, 4) float64, columns as in `DISTANCES`: sqrt of the mean square over the D elements, the
        mean square, the mean absolute value, and ||high - low|| / ||high|| (0 for equal features).
    """
    high, difference = high.flatten(1).double(), (high - low).flatten(1).double()
    square = difference.square().mean(dim=1)
    norms = difference.norm(dim=1), high.norm(dim=1)
    relative = torch.where(norms[0] == 0, 0, norms[0] / norms[1])
    columns = (square.sqrt(), square, difference.abs().mean(dim=1), relative)
    return torch.stack(columns, dim=1).numpy()


def mean_distances(
    by_image: Sequence[np.ndarray], repeats: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Means over all words.

    Args:
        by_image: for each image (N_i, 4), what `word_distances` gives; N_i may be 0.
        repeats, seed: of the bootstrap.

    Returns:
        By the names of `DISTANCES`.

    Raises:
        ValueError: for no words at all.
    """
    with_words = [distances for distances in by_image if len(distances)]
    sums = np.array([distances.sum(axis=0) for distances in with_words])
    numbers = np.array([len(distances) for distances in with_words])
    rows = mean_intervals(sums, numbers, repeats, seed)
    return {name: Interval(*row) for name, row in zip(DISTANCES, rows.tolist(), strict=True)}
