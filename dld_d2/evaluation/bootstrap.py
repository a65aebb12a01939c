"""How far a score would move on another test set of the same kind: the bootstrap over images."""

from __future__ import annotations

import numpy as np

from dld_d2.evaluation.protocol import Counts, rates

_WEIGHTS_IN_MEMORY = 4_000_000
_COLUMNS = {field: column for column, field in enumerate(Counts._fields)}


def hmean_intervals(
    counts: np.ndarray, repeats: int, seed: int = 0, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of the detection and spotting hmean.

    Images, not words, are drawn with replacement: words of one image fail together.

    Args:
        counts: (I, 5) integers, one row of `Counts` for each image, I >= 1.
        repeats: number of resampled test sets, >= 1.
        seed: of the random numbers; equal seeds draw equal images for every case, so that cases
            can be compared.
        level: probability mass of the interval.

    Returns:
        {"det_hmean": (low, high), "spot_hmean": (low, high)}.
    """
    images = len(counts)
    generator = np.random.default_rng(seed)
    block = max(1, _WEIGHTS_IN_MEMORY // images)
    totals = np.concatenate(
        [
            generator.multinomial(
                images, np.full(images, 1.0 / images), size=min(block, repeats - start)
            )
            @ counts
            for start in range(0, repeats, block)
        ]
    )
    gt_care, det_care = totals[:, _COLUMNS["num_gt_care"]], totals[:, _COLUMNS["num_det_care"]]
    tails = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
    intervals = {}
    for key, hits in (("det_hmean", "num_matched"), ("spot_hmean", "num_correct")):
        hmeans = rates(totals[:, _COLUMNS[hits]], gt_care, det_care).hmean
        low, high = np.quantile(hmeans, tails).tolist()
        intervals[key] = (low, high)
    return intervals
