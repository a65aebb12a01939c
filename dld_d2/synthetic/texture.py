"""Noise, smooth fields and colours that backgrounds and letters are made of."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from dld_d2.synthetic.draws import Draws

__all__ = ["LUMA", "color_of_luma", "luma", "smooth_field", "texture", "white_noise"]

LUMA = np.array([0.114, 0.587, 0.299], dtype=np.float32)
"""Weights of blue, green and red in luma (ITU-R BT.601)."""

_BANK = 1024


@lru_cache(maxsize=1)
def _bank() -> np.ndarray:
    """Standard normal noise, drawn once: pictures take parts of it, which is much faster."""
    uniform = Draws(0).array(2, _BANK, _BANK)
    radius = np.sqrt(-2 * np.log1p(-uniform[0]))
    return (radius * np.cos(2 * np.pi * uniform[1])).astype(np.float32)


def white_noise(draws: Draws, height: int, width: int) -> np.ndarray:
    """(height, width) float32, standard normal; part of a fixed plane of noise, a read-only view
    for images of up to 512 x 512 pixels."""
    bank = _bank()
    if 2 * max(height, width) > _BANK:
        repeats = -(-2 * max(height, width) // _BANK)
        bank = np.tile(bank, (repeats, repeats))
    y = draws.integer(0, bank.shape[0] - height)
    x = draws.integer(0, bank.shape[1] - width)
    part = bank[y : y + height, x : x + width]
    return part[::-1] if draws.chance(0.5) else part[:, ::-1]


def smooth_field(draws: Draws, height: int, width: int, cells: int) -> np.ndarray:
    """(height, width) float32 noise of about unit variance with `cells` waves along a side."""
    field = np.ascontiguousarray(white_noise(draws, cells + 1, cells + 1))
    if 8 * cells < min(height, width):
        # So smooth a field is well kept by a quarter of the pixels, at a fraction of the cost.
        field = cv2.resize(field, (width // 4, height // 4), interpolation=cv2.INTER_CUBIC)
        return cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)


def texture(
    draws: Draws, height: int, width: int, *, finest: int = 256, roughness: float = 0.5
) -> np.ndarray:
    """(height, width) float32: noise of several scales, of about unit variance.

    Args:
        finest: waves along a side of the finest scale.
        roughness: amplitude of each scale relative to the next coarser one.
    """
    # From coarse to fine, each scale on a grid of its own size: one resizing is of full size.
    cells, amplitude, power = 4, 1.0, 1.0
    field = np.array(white_noise(draws, cells + 1, cells + 1))
    while 4 * cells <= finest:
        cells *= 4
        amplitude *= roughness
        power += amplitude**2
        field = cv2.resize(field, (cells + 1, cells + 1), interpolation=cv2.INTER_CUBIC)
        field += amplitude * white_noise(draws, cells + 1, cells + 1)
    field /= np.sqrt(power)
    return cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)


def luma(color: np.ndarray) -> np.ndarray:
    """(..., 3) BGR to (...) luma."""
    return color @ LUMA


def color_of_luma(draws: Draws, target: float, saturation: float | None = None) -> np.ndarray:
    """A random colour, (3,) float32 BGR in [0, 255], of this luma.

    Args:
        saturation: 0 for grey to 1; random if None, more often low than high.
    """
    target = float(np.clip(target, 0, 255))
    if saturation is None:
        saturation = draws.unit() ** 1.5
    gray = np.full(3, 128, dtype=np.float32)
    color = gray + saturation * (255 * draws.array(3) - gray)
    found = float(luma(color))
    if found >= target:
        return color * (target / found)
    return 255 - (255 - color) * ((255 - target) / (255 - found))
