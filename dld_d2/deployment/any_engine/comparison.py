"""What choosing gains over fixed scales in the same time, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from dld_d2.deployment.any_engine.readings import ReadingsFile
from dld_d2.evaluation.geometry import compute_overlaps
from dld_d2.evaluation.protocol import (
    END_TO_END,
    correct_pairs,
    count_image,
    match_image,
    prepare_truth,
)
from dld_d2.structures.word import Word

__all__ = ["Interval", "Measured", "against_fixed", "measure", "oracle", "ratio"]

Interval = tuple[float, float, float]
"""A value, and the ends of its 95% interval by the bootstrap over images."""


@dataclass(frozen=True)
class Measured:
    """What a reader does on N images, or k readers.

    Attributes:
        counts: (N, 5) or (N, k, 5), the fields of `Counts`.
        seconds: (N,) or (N, k).
    """

    counts: np.ndarray
    seconds: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Words read correctly, (N,) or (N, k)."""
        return self.counts[..., 4]

    def chosen(self, index: np.ndarray, extra: np.ndarray | float = 0.0) -> Measured:
        """One of the k for each image, (N,); each takes `extra` seconds more."""
        rows = np.arange(len(index))
        return Measured(self.counts[rows, index], self.seconds[rows, index] + extra)


def measure(
    file: ReadingsFile,
    images: Sequence[str],
    scales: Sequence[float],
    truth: Mapping[str, Sequence[Word]],
    *,
    wall: bool,
) -> Measured:
    """Count an engine's readings at each scale by the end-to-end protocol.

    Args:
        file: holds the readings.
        images: N names.
        scales: k of them.
        truth: of each image.
        wall: time by the clock instead of the processors.
    """
    counts = np.zeros((len(images), len(scales), 5), dtype=np.int64)
    seconds = np.zeros((len(images), len(scales)))
    for row, image in enumerate(images):
        readings = [file.at(image, scale) for scale in scales]
        true = prepare_truth([word.text for word in truth[image]], END_TO_END)
        overlaps = compute_overlaps(
            [[word.polygon for word in truth[image]]] * len(scales),
            [[word.polygon for word in reading.words] for reading in readings],
            [image] * len(scales),
        )
        for column, (reading, geometry) in enumerate(zip(readings, overlaps, strict=True)):
            match = match_image(geometry, true.dont_care, 0.5)
            right = correct_pairs(match, true, [word.text for word in reading.words])
            counts[row, column] = count_image(match, true, right)
            seconds[row, column] = reading.seconds if wall else reading.cpu_seconds
    return Measured(counts, seconds)


def ratio(ours: np.ndarray, theirs: np.ndarray, repeats: int = 2000, seed: int = 0) -> Interval:
    """Sum of (N,) values over the sum of (N,) others."""
    weights = _resampled(len(ours), repeats, seed)
    resampled = (weights @ ours) / np.maximum(weights @ theirs, 1e-12)
    return _interval(ours.sum() / max(theirs.sum(), 1e-12), resampled)


def against_fixed(
    ours: Measured, fixed: Measured, repeats: int = 2000, seed: int = 0
) -> Interval | None:
    """Words that choosing reads more than fixed scales do in the same time.

    A mixture of two fixed scales reads a share of the images at one and the rest at the other; of
    all pairs, and in each resampled set anew, the mixture that takes as long and reads most counts.

    Args:
        ours: (N,).
        fixed: (N, k).

    Returns:
        The difference in words over all N images; None if no mixture takes as long.
    """

    def differences(weights: np.ndarray) -> np.ndarray:
        time, right = weights @ ours.seconds, weights @ ours.right
        return right - _best_mixture(weights @ fixed.seconds, weights @ fixed.right, time)

    (value,) = differences(np.ones((1, len(ours.right))))
    if not np.isfinite(value):
        return None
    found = differences(_resampled(len(ours.right), repeats, seed))
    return _interval(value, found[np.isfinite(found)])


def oracle(fixed: Measured, seconds: float, extra: float = 0.0) -> Measured:
    """The best choice of scales that takes no longer on average: what there is to win.

    Args:
        fixed: (N, k).
        seconds: mean time.
        extra: of it, what choosing takes for each image.

    Returns:
        (N,): each image at the scale with the largest `right - w seconds`, for the smallest w that
        is fast enough.
    """
    low, high = 0.0, 1e4
    for _ in range(60):
        weight = (low + high) / 2
        index = (fixed.right - weight * fixed.seconds).argmax(axis=1)
        slow = fixed.chosen(index, extra).seconds.mean() > seconds
        low, high = (weight, high) if slow else (low, weight)
    return fixed.chosen((fixed.right - high * fixed.seconds).argmax(axis=1), extra)


def _best_mixture(seconds: np.ndarray, right: np.ndarray, time: np.ndarray) -> np.ndarray:
    """(R,): words of the best mixture of two of k scales, (R, k), in the time (R,); -inf if none
    takes as long."""
    best = np.full(len(time), -np.inf)
    for i, j in combinations_with_replacement(range(seconds.shape[1]), 2):
        low, high = np.minimum(seconds[:, i], seconds[:, j]), seconds[:, [i, j]].max(axis=1)
        first = np.where(seconds[:, i] <= seconds[:, j], i, j)
        second = i + j - first
        rows = np.arange(len(time))
        share = np.clip((time - low) / np.maximum(high - low, 1e-12), 0, 1)
        mixed = (1 - share) * right[rows, first] + share * right[rows, second]
        # More time than the slowest scale takes is no worse than that scale.
        best = np.where(low <= time, np.maximum(best, mixed), best)
    return best


def _resampled(images: int, repeats: int, seed: int) -> np.ndarray:
    """(R, N): how often each image is in each set that is drawn with replacement."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(images, np.full(images, 1 / images), repeats).astype(np.float64)


def _interval(value: float, resampled: np.ndarray) -> Interval:
    low, high = np.quantile(resampled, [0.025, 0.975]).tolist()
    return float(value), low, high
