"""Sizes of a network's inputs."""

from __future__ import annotations

from collections.abc import Iterable

from detectron2.data.transforms import ResizeShortestEdge

__all__ = ["full_resolution_sizes"]

Size = tuple[int, int]


def full_resolution_sizes(
    image_sizes: Iterable[Size], short_side: int, max_size: int
) -> list[Size]:
    """Sizes of images after the resizing that testing does, before padding.

    Args:
        image_sizes: height and width of images in pixels.
        short_side: `INPUT.MIN_SIZE_TEST`; 0 leaves images as they are.
        max_size: `INPUT.MAX_SIZE_TEST`, which the long side does not exceed.
    """
    if short_side == 0:
        return [tuple(size) for size in image_sizes]
    return [
        ResizeShortestEdge.get_output_shape(*size, short_side, max_size) for size in image_sizes
    ]
