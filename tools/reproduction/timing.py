"""Milliseconds per image of several spotters, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

import numpy as np
from demo_page.measure import fixed_scale
from rich.progress import track

from dld_d2.predictor import TextSpotter

__all__ = ["milliseconds_per_image"]


def milliseconds_per_image(
    spotters: Mapping[str, TextSpotter], images: Sequence[np.ndarray]
) -> dict[str, float]:
    """Read every image with every spotter in turn, one at a time.

    Who begins changes from image to image, and what a spotter does for the first time, at any of
    its scales, it does before.

    Args:
        spotters: by name.
        images: (H, W, 3) uint8 in BGR, at least one.

    Returns:
        name -> mean milliseconds per image, scaling included.
    """
    for spotter in spotters.values():
        _warm_up(spotter, images[0])
    names = list(spotters)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number, image in enumerate(track(images, description="Timing")):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            spotters[name](image)
            seconds[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.mean(values) for name, values in seconds.items()}


def _warm_up(spotter: TextSpotter, image: np.ndarray) -> None:
    if len(spotter.scales) > 1:
        for index in range(len(spotter.scales)):
            with fixed_scale(spotter, index):
                spotter(image)
    spotter(image)
