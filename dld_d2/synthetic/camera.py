"""What light, lens, sensor and file format do to a scene."""

from __future__ import annotations

import math

import cv2
import numpy as np

from dld_d2.synthetic.config import SceneConfig
from dld_d2.synthetic.draws import Draws
from dld_d2.synthetic.texture import smooth_field, white_noise

__all__ = ["photograph"]

_MAX_BLUR = 3.0  # pixels; more is not seen in photographs that are kept


def photograph(
    canvas: np.ndarray, config: SceneConfig, min_letter_height: float, draws: Draws
) -> np.ndarray:
    """(H, W, 3) float32 BGR to (H, W, 3) uint8 BGR.

    Args:
        min_letter_height: of the readable words, in pixels. It limits the blur.
    """
    height, width = canvas.shape[:2]
    if draws.chance(0.7):
        canvas = cv2.multiply(canvas, cv2.merge([_light(draws, height, width)] * 3))
    contrast, brightness = draws.uniform(0.7, 1.15), draws.uniform(-18, 18)
    cast = [draws.uniform(0.93, 1.07) for _ in range(3)]
    # One pass over all pixels: a colour matrix with an offset.
    matrix = np.diag([*(contrast * value for value in cast), 0.0])[:3]
    matrix[:, 3] = 128 * (1 - contrast) + brightness
    canvas = cv2.transform(canvas, matrix)
    canvas = _blurred(canvas, config, min_letter_height, draws)
    if draws.chance(0.75):
        sigma = config.noise * draws.unit() ** 2
        colored = draws.chance(0.5)
        grain = [white_noise(draws, height, width) for _ in range(3 if colored else 1)]
        cv2.scaleAdd(cv2.merge(grain if colored else grain * 3), sigma, canvas, canvas)
    # Saturates: what is below 0 becomes 0, above 255, 255.
    image = cv2.add(canvas, 0, dtype=cv2.CV_8U)
    if draws.chance(config.jpeg):
        quality = draws.integer(*config.jpeg_quality)
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return image


def _light(draws: Draws, height: int, width: int) -> np.ndarray:
    """(height, width) float32: uneven light, a factor of less than two between its extremes."""
    field = smooth_field(draws, height, width, draws.integer(1, 3))
    field *= draws.uniform(0.03, 0.13)
    field += 1
    return np.clip(field, 0.7, 1.25, out=field)


def _blurred(
    canvas: np.ndarray, config: SceneConfig, min_letter_height: float, draws: Draws
) -> np.ndarray:
    """Out of focus, or moved."""
    kind = draws.unit()
    height = min(min_letter_height, max(canvas.shape[:2]))
    most = min(_MAX_BLUR, config.blur * height)
    amount = most * math.sqrt(draws.unit())
    if kind < 0.4 and amount > 0.2:
        return cv2.GaussianBlur(canvas, (0, 0), amount)
    if kind < 0.55 and amount > 0.3:
        # A uniform motion of length l has the standard deviation l / sqrt(12).
        length = amount * math.sqrt(12)
        return cv2.filter2D(canvas, -1, _motion_kernel(length, draws.uniform(0, math.pi)))
    return canvas


def _motion_kernel(length: float, angle: float) -> np.ndarray:
    size = 2 * math.ceil(length / 2) + 1
    middle = size // 2
    kernel = np.zeros((size, size), dtype=np.uint8)
    x, y = math.cos(angle) * length / 2, math.sin(angle) * length / 2
    ends = [(round((middle + s * x) * 16), round((middle + s * y) * 16)) for s in (-1, 1)]
    cv2.line(kernel, *ends, 255, 1, cv2.LINE_AA, 4)
    weights = kernel.astype(np.float32)
    return weights / weights.sum()
