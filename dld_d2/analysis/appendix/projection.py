"""Features in the plane of their first two principal components (Figures A5, A6 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

__all__ = ["Projection", "distances_in_plane", "project"]

# Columns that are in memory in double precision at a time.
_BLOCK = 4096


class Projection(NamedTuple):
    """Clouds of points on one plane.

    Attributes:
        clouds: (N_i, 2) float64 each.
        explained: (2,), fraction of all variance along each axis.
    """

    clouds: list[np.ndarray]
    explained: np.ndarray


def project(clouds: Sequence[np.ndarray]) -> Projection:
    """Principal component analysis of all points together, without whitening.

    By the Gram matrix of the points, since there are fewer of them than dimensions. Of the two
    signs of an axis that one is taken by which its largest loading is positive.

    Args:
        clouds: (N_i, D) each, of any real type; three points or more in all.

    Raises:
        ValueError: for fewer points, or clouds of different D.
    """
    if sum(map(len, clouds)) < 3 or len({cloud.shape[1] for cloud in clouds}) != 1:
        raise ValueError(
            "a plane needs three points or more of equal dimension, got "
            + ", ".join(str(cloud.shape) for cloud in clouds)
        )
    number, dimensions = sum(map(len, clouds)), clouds[0].shape[1]
    gram = np.zeros((number, number))
    for start in range(0, dimensions, _BLOCK):
        block = _centred(clouds, start)
        gram += block @ block.T
    variance = np.trace(gram)
    values, vectors = eigh(gram, subset_by_index=(number - 2, number - 1))
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    largest = np.zeros(2)
    for start in range(0, dimensions, _BLOCK):
        loadings = _centred(clouds, start).T @ vectors
        there = loadings[np.abs(loadings).argmax(axis=0), [0, 1]]
        largest = np.where(np.abs(there) > np.abs(largest), there, largest)
    points = vectors * np.sqrt(values) * np.where(largest < 0, -1, 1)
    ends = np.cumsum([len(cloud) for cloud in clouds])[:-1]
    return Projection(np.split(points, ends), values / variance if variance else 0 * values)


def distances_in_plane(high: np.ndarray, low: np.ndarray) -> tuple[float, float]:
    """How far two clouds of partners are apart.

    Args:
        high, low: (N, 2) each, N >= 1; row i of both is the same word.

    Returns:
        The distance of their means, and the median distance of partners. Clouds may lie on one
        another while partners are far apart.
    """
    between_means = np.linalg.norm(high.mean(axis=0) - low.mean(axis=0))
    return float(between_means), float(np.median(np.linalg.norm(high - low, axis=1)))


def _centred(clouds: Sequence[np.ndarray], start: int) -> np.ndarray:
    block = np.concatenate([c[:, start : start + _BLOCK].astype(np.float64) for c in clouds])
    return block - block.mean(axis=0)
