"""Milliseconds per image of several spotters, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

import numpy as np
from benchmark_suite.turns import read_in_turn

from dld_d2.deployment.predictor import TextSpotter

__all__ = ["milliseconds_per_image"]


def milliseconds_per_image(
    spotters: Mapping[str, TextSpotter], images: Sequence[np.ndarray]
) -> dict[str, float]:
    """Mean milliseconds, scaling included, that each spotter takes for one image at a time.

    Args:
        spotters: by name.
        images: (H, W, 3) uint8 in BGR, at least one.
    """
    seconds = read_in_turn(spotters, images, _seconds)
    return {name: 1000 * statistics.mean(values) for name, values in seconds.items()}


def _seconds(spotter: TextSpotter, image: np.ndarray) -> float:
    start = time.perf_counter()
    spotter(image)
    return time.perf_counter() - start
