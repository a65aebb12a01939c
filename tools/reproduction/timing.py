"""Milliseconds per image of several spotters, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

import numpy as np
from rich.progress import track

from dld_d2.predictor import TextSpotter

__all__ = ["milliseconds_per_image"]


def milliseconds_per_image(
    spotters: Mapping[str, TextSpotter], images: Sequence[np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Read every image with every spotter in turn, one at a time.

    Args:
        spotters: by name; the first is what the others are compared with.
        images: (H, W, 3) uint8 in BGR.

    Returns:
        name -> mean milliseconds per image, scaling included, and the first spotter's time over
        this one's: the total's, so that images count by their time.
    """
    for spotter in spotters.values():
        for image in images[:2]:
            spotter(image)
    seconds: dict[str, list[float]] = {name: [] for name in spotters}
    for image in track(images, description="Timing"):
        for name, spotter in spotters.items():
            start = time.perf_counter()
            spotter(image)
            seconds[name].append(time.perf_counter() - start)
    first = sum(next(iter(seconds.values())))
    return {
        name: (1000 * statistics.mean(values), first / sum(values))
        for name, values in seconds.items()
    }
