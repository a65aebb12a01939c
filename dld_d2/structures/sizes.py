"""Sizes of images."""

from __future__ import annotations

__all__ = ["scaled_size"]


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Height and width in whole pixels, at least 1, of an image of `size` at `scale`."""
    height, width = size
    return max(1, round(height * scale)), max(1, round(width * scale))
