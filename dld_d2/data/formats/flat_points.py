"""Polygons written as flat lists in JSON."""

from __future__ import annotations

import numpy as np

__all__ = ["pair_coordinates"]


def pair_coordinates(flat: object) -> np.ndarray:
    """Vertices (K, 2) float64 of a list x1, y1, ..., xn, yn.

    Raises:
        ValueError: saying what else it is.
    """
    if not isinstance(flat, list):
        raise ValueError(f"is {type(flat).__name__}, not a list x1, y1, ..., xn, yn")
    if len(flat) % 2:
        raise ValueError(f"has {len(flat)} coordinates, an odd number")
    strange = [value for value in flat if type(value) not in (int, float)]
    if strange:
        raise ValueError(f"has {strange[0]!r} among its coordinates, which is no number")
    try:
        return np.array(flat, dtype=np.float64).reshape(-1, 2)
    except OverflowError:
        raise ValueError("has a number of more than 300 digits among its coordinates") from None
