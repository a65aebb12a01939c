"""Sizes of images."""

from __future__ import annotations

__all__ = ["TooThinError", "check_not_too_thin", "full_size", "scaled_size"]


class TooThinError(ValueError):
    """An image is so long and thin that its short side would vanish."""


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Height and width in whole pixels, at least 1, of an image of `size` at `scale`."""
    height, width = size
    return max(1, round(height * scale)), max(1, round(width * scale))


def full_size(size: tuple[int, int], short_side: int, long_side: int) -> tuple[int, int]:
    """Height and width at the full resolution, as Detectron2's `ResizeShortestEdge` has them.

    Args:
        size: height and width of an image.
        short_side: what its short side becomes; 0 leaves the image as it is.
        long_side: what its long side is at most.

    Raises:
        TooThinError: if nothing would be left of the short side.
    """
    if short_side == 0:
        return size
    height, width = size
    factor = short_side / min(size)
    scaled = (short_side, factor * width) if height < width else (factor * height, short_side)
    if max(scaled) > long_side:
        factor = long_side / max(scaled)
        scaled = scaled[0] * factor, scaled[1] * factor
    full = int(scaled[0] + 0.5), int(scaled[1] + 0.5)
    check_not_too_thin(size, full)
    return full


def check_not_too_thin(size: tuple[int, int], full: tuple[int, int]) -> None:
    """
    Args:
        size: height and width of an image.
        full: the same at the full resolution.

    Raises:
        TooThinError: if nothing is left of the short side.
    """
    if min(full) < 1:
        raise TooThinError(
            f"an image of {size[1]} x {size[0]} pixels is too long and thin: at a long side of "
            f"{max(full)} nothing is left of its short one; leave it out, or cut it into pieces"
        )
