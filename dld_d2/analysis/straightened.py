"""Words laid straight, as Text Perceptron lays their features, in pictures."""

from __future__ import annotations

import cv2
import numpy as np

from dld_d2.modeling.spotters.text_perceptron.shape_transform import spline_matrix
from dld_d2.structures.sides import POINTS_PER_SIDE

__all__ = ["bend", "sides_of_outline", "straighten", "uprightness"]


def sides_of_outline(polygon: np.ndarray) -> np.ndarray:
    """Outline (14, 2) as Text Perceptron reports it -> upper and lower side, (14, 2), both in
    reading order."""
    return np.concatenate([polygon[:POINTS_PER_SIDE], polygon[: POINTS_PER_SIDE - 1 : -1]])


def straighten(image: np.ndarray, sides: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut a word out of an image by the thin-plate spline through its sides.

    Args:
        image: (H, W, 3) uint8.
        sides: (14, 2) in pixels, (0, 0) being the image's corner.
        size: height and width of what is cut out.

    Returns:
        (*size, 3) uint8; beyond the image its border is repeated.
    """
    places = spline_matrix(*size).numpy() @ np.asarray(sides, dtype=np.float64) - 0.5
    x, y = places.astype(np.float32).reshape(*size, 2).transpose(2, 0, 1)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _middle(sides: np.ndarray) -> np.ndarray:
    return (sides[:POINTS_PER_SIDE] + sides[POINTS_PER_SIDE:]) / 2


def bend(sides: np.ndarray) -> float:
    """How far a word's middle line is from the straight line between its ends, at most, in units of
    that line's length. A half circle has 0.5."""
    middle = _middle(sides)
    chord = middle[-1] - middle[0]
    length = max(float(np.hypot(*chord)), 1e-6)
    offset = middle - middle[0]
    return float(np.abs(chord[0] * offset[:, 1] - chord[1] * offset[:, 0]).max() / length**2)


def uprightness(sides: np.ndarray) -> float:
    """Sine of the angle between a word and the horizontal: 1 for one that runs up or down."""
    middle = _middle(sides)
    chord = middle[-1] - middle[0]
    return float(abs(chord[1]) / max(float(np.hypot(*chord)), 1e-6))
