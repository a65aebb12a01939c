"""Maps that a spotter makes of an image, laid over it in colours."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

__all__ = ["character_colors", "draw_maps"]

# Neighbouring characters differ clearly; the colours come again after six.
_HUES = (0, 60, 120, 20, 90, 150)  # OpenCV's, in [0, 180)


def character_colors(number: int) -> list[tuple[int, int, int]]:
    """Colours (RGB) for the characters of a word."""
    hues = np.array([[[hue, 255, 255] for hue in _HUES]], dtype=np.uint8)
    colors = [tuple(color) for color in cv2.cvtColor(hues, cv2.COLOR_HSV2RGB)[0].tolist()]
    return [colors[position % len(colors)] for position in range(number)]


def draw_maps(
    image: np.ndarray,
    maps: Sequence[np.ndarray],
    colors: Sequence[tuple[int, int, int]],
    *,
    strength: float = 0.75,
) -> np.ndarray:
    """Lay a colour for each map over a darkened image.

    Args:
        image: (H, W, 3) uint8, BGR.
        maps: (h, w) float in [0, 1] each, in the order of drawing; those of another size are
            enlarged to that of the image.
        colors: of the maps, RGB.
        strength: how opaque the colours are where a map is 1.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    height, width = image.shape[:2]
    canvas = image.astype(np.float32) * 0.5
    for seen, color in zip(maps, colors, strict=True):
        seen = cv2.resize(np.asarray(seen, dtype=np.float32), (width, height))
        weight = strength * seen[..., None]
        canvas = canvas * (1 - weight) + np.array(color[::-1], dtype=np.float32) * weight
    return canvas.round().clip(0, 255).astype(np.uint8)
