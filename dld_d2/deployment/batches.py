"""Running many images of many sizes, together where that pays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from dld_d2.data.images import ImageLike, describe_image

__all__ = ["check_several", "run_in_batches", "similar_sizes"]

# Images are read this many batches ahead, to find ones of similar size among them.
_READ_AHEAD = 4


def similar_sizes(
    sizes: Sequence[tuple[int, int]], batch_size: int, *, max_padding: float = 0.15
) -> list[list[int]]:
    """Batches that waste little on padding.

    The images of a batch are padded to a common height and width, and what is computed on padding
    is lost.

    Args:
        sizes: height and width of each image in pixels.
        batch_size: images in a batch, at most.
        max_padding: share of a batch's pixels that may be padding.

    Returns:
        Indices of the images, each once.
    """
    batches: list[list[int]] = []
    height = width = area = 0
    for index in sorted(range(len(sizes)), key=lambda i: tuple(sizes[i])):
        h, w = sizes[index]
        if batches and len(batches[-1]) < batch_size:
            padded = (len(batches[-1]) + 1) * max(height, h) * max(width, w)
            if area + h * w >= (1 - max_padding) * padded:
                batches[-1].append(index)
                height, width, area = max(height, h), max(width, w), area + h * w
                continue
        batches.append([index])
        height, width, area = h, w, h * w
    return batches


def check_several(images: Iterable[Any]) -> None:
    """
    Raises:
        TypeError: if these are no images, but a single one.
    """
    stack = isinstance(images, np.ndarray) and images.ndim == 4
    if isinstance(images, ImageLike) and not stack:
        raise TypeError(f"expected several images, got one, {describe_image(images)}")


def run_in_batches(
    function: Callable[[list[dict[str, Any]]], Sequence[Any]],
    prepare: Callable[[Any], dict[str, Any]],
    images: Iterable[Any],
    batch_size: int,
    out_of_memory: type[Exception] = MemoryError,
) -> Iterator[Any]:
    """Call a function on all images, in batches of similar sizes.

    Args:
        function: gives a result for each of the inputs it gets.
        prepare: makes of an image an input with "image", (3, H, W), and "name".
        images: whatever `prepare` takes; they are read as results are asked for.
        batch_size: inputs in a call, at most.
        out_of_memory: what `function` raises where the device's memory does not hold its inputs.

    Yields:
        For each image in order its result; or the OSError or ValueError that `prepare` raised; or
        a MemoryError if the device's memory does not hold it even alone.

    Raises:
        ValueError: for a batch size below 1.
        TypeError: for a single image.
    """
    if batch_size < 1:
        raise ValueError(f"a batch has at least 1 image, got a batch size of {batch_size}")
    check_several(images)
    return _run(function, prepare, iter(images), batch_size, out_of_memory)


def _run(
    function: Callable,
    prepare: Callable,
    images: Iterator,
    batch_size: int,
    out_of_memory: type[Exception],
) -> Iterator:
    ahead = 1 if batch_size == 1 else _READ_AHEAD * batch_size
    while chunk := list(islice(images, ahead)):
        results = [_attempt(prepare, image) for image in chunk]
        good = [i for i, item in enumerate(results) if not isinstance(item, Exception)]
        sizes = [tuple(results[i]["image"].shape[-2:]) for i in good]
        for batch in similar_sizes(sizes, batch_size):
            members = [good[i] for i in batch]
            done = _within_memory(function, [results[i] for i in members], out_of_memory)
            for i, result in zip(members, done, strict=True):
                results[i] = result
        yield from results


def _attempt(prepare: Callable, image: Any) -> Any:
    try:
        return prepare(image)
    except (OSError, ValueError) as error:
        return error


def _within_memory(
    function: Callable, inputs: list[dict[str, Any]], out_of_memory: type[Exception]
) -> Sequence[Any]:
    """Run a batch, or its images one by one if the device's memory does not hold them together."""
    try:
        return function(inputs)
    except out_of_memory:
        if len(inputs) == 1:
            return [
                MemoryError(
                    f"{inputs[0]['name']}: too large for the memory of this device; lower "
                    "INPUT.MAX_SIZE_TEST"
                )
            ]
    # Only here has the failed pass been let go of.
    return [r for item in inputs for r in _within_memory(function, [item], out_of_memory)]
