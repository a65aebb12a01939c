"""How far a score would move on another test set of the same kind: the bootstrap over images."""

from __future__ import annotations

from collections.abc import Sequence

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
    totals = _resampled_totals(counts, repeats, seed)
    gt_care, det_care = totals[:, _COLUMNS["num_gt_care"]], totals[:, _COLUMNS["num_det_care"]]
    intervals = {}
    for key, hits in (("det_hmean", "num_matched"), ("spot_hmean", "num_correct")):
        hmeans = rates(totals[:, _COLUMNS[hits]], gt_care, det_care).hmean
        intervals[key] = _percentiles(hmeans, level)
    return intervals


def spotting_difference(
    counts: np.ndarray, others: np.ndarray, repeats: int, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """How much better one spotter's hmean is than another's on the same images.

    Both are scored on the same resampled sets, so that what makes a set hard for both drops out.

    Args:
        counts: (I, 5), of the one, a row of `Counts` for each image; fractions where it is a
            mixture of several spotters.
        others: (I, 5), of the other, the same images in the same order.
        repeats, seed, level: as for `hmean_intervals`.

    Returns:
        The difference of the spotting hmeans, and the ends of its percentile interval.

    Raises:
        ValueError: if they are not of equally many images.
    """
    return mean_spotting_difference([counts], [others], repeats, seed, level)


def mean_spotting_difference(
    runs: Sequence[np.ndarray],
    others: Sequence[np.ndarray],
    repeats: int,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """How much better one recipe's hmean is than another's, in the mean over their runs.

    The interval is that of other test images of the same kind, with these very runs; how far apart
    runs are, their own hmeans tell.

    Args:
        runs: of the one, at least one, such as of several seeds, each as for
            `spotting_difference`.
        others: of the other.
        repeats, seed, level: as for `hmean_intervals`.

    Returns:
        The difference of the mean spotting hmeans, and the ends of its percentile interval.

    Raises:
        ValueError: if they are not of equally many images.
    """
    lengths = [len(counts) for counts in (*runs, *others)]
    if len(set(lengths)) > 1:
        different = next(length for length in lengths if length != lengths[0])
        raise ValueError(f"one spotter has {lengths[0]} images, another {different}")

    def hmeans(totals: np.ndarray) -> np.ndarray:
        columns = (_COLUMNS[name] for name in ("num_correct", "num_gt_care", "num_det_care"))
        return np.asarray(rates(*(totals[..., column] for column in columns)).hmean)

    def mean(group: Sequence[np.ndarray]) -> tuple[float, np.ndarray]:
        whole = np.mean([hmeans(counts.sum(axis=0)) for counts in group])
        resampled = [hmeans(_resampled_totals(counts, repeats, seed)) for counts in group]
        return float(whole), np.mean(resampled, axis=0)

    (one, resampled), (other, other_resampled) = mean(runs), mean(others)
    return (one - other, *_percentiles(resampled - other_resampled, level))


def mean_intervals(
    sums: np.ndarray, numbers: np.ndarray, repeats: int, seed: int = 0, level: float = 0.95
) -> np.ndarray:
    """Means over the words of a set, with percentile intervals of the bootstrap over images.

    Args:
        sums: (I, K), of K quantities over the words of each image, I >= 1.
        numbers: (I,), of the words of each image, all at least 1.
        repeats, seed, level: as for `hmean_intervals`.

    Returns:
        (K, 3): mean, and the two ends of its interval.

    Raises:
        ValueError: for no image, and for an image without words.
    """
    if len(sums) == 0 or np.min(numbers) < 1:
        raise ValueError("a mean over words needs images, each with a word or more")
    columns = np.column_stack([sums, numbers])
    totals = _resampled_totals(columns, repeats, seed)
    ends = np.quantile(
        totals[:, :-1] / totals[:, -1:], [(1.0 - level) / 2.0, (1.0 + level) / 2.0], axis=0
    )
    return np.column_stack([sums.sum(axis=0) / np.sum(numbers), *ends])


def _resampled_totals(counts: np.ndarray, repeats: int, seed: int) -> np.ndarray:
    """(repeats, K): sums of the columns of (I, K) over sets of images drawn with replacement."""
    images = len(counts)
    generator = np.random.default_rng(seed)
    block = max(1, _WEIGHTS_IN_MEMORY // images)
    return np.concatenate(
        [
            generator.multinomial(
                images, np.full(images, 1.0 / images), size=min(block, repeats - start)
            )
            @ counts
            for start in range(0, repeats, block)
        ]
    )


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1.0 - level) / 2.0, (1.0 + level) / 2.0]).tolist()
    return low, high
