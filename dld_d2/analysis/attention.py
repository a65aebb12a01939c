"""Pictures of where a spotter looks for the characters of words."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

__all__ = ["draw_attention"]

# Neighbouring characters differ clearly; the colours come again after six.
_HUES = (0, 60, 120, 20, 90, 150)  # OpenCV's, in [0, 180)


def draw_attention(
    image: np.ndarray, attention: Sequence[np.ndarray], *, strength: float = 0.75
) -> np.ndarray:
    """Lay a colour for each character over a darkened image.

    Args:
        image: (H, W, 3) uint8, BGR.
        attention: for each word (T, h, w) float in [0, 1], of its T characters; a map of another
            size is enlarged to that of the image.
        strength: how opaque the colours are where attention is 1.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    height, width = image.shape[:2]
    canvas = image.astype(np.float32) * 0.5
    hues = np.array([[[hue, 255, 255] for hue in _HUES]], dtype=np.uint8)
    colors = cv2.cvtColor(hues, cv2.COLOR_HSV2BGR)[0].astype(np.float32)
    for word in attention:
        for position, seen in enumerate(word):
            seen = cv2.resize(np.asarray(seen, dtype=np.float32), (width, height))
            weight = strength * seen[..., None]
            canvas = canvas * (1 - weight) + colors[position % len(colors)] * weight
    return canvas.round().clip(0, 255).astype(np.uint8)
