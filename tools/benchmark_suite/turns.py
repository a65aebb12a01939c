"""Spotters that read the same images in turn, so that all see the same machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from dld_d2.commands.console import progress
from dld_d2.deployment.predictor import TextSpotter
from dld_d2.modeling.selection.policies import FixedScale

__all__ = ["fixed_scale", "read_in_turn", "take_turns"]

T = TypeVar("T")
U = TypeVar("U")


def read_in_turn(
    spotters: Mapping[str, TextSpotter],
    images: Sequence[T],
    read: Callable[[TextSpotter, T], U],
) -> dict[str, list[U]]:
    """Read every image with every spotter, in turn.

    What a spotter does for the first time, at any of its scales, it does before.

    Args:
        spotters: by name.
        images: to read, at least one.
        read: what a spotter does with an image.

    Returns:
        By name what `read` returned for each image.
    """
    for spotter in spotters.values():
        for index in range(len(spotter.scales)) if len(spotter.scales) > 1 else ():
            with fixed_scale(spotter, index):
                read(spotter, images[0])
        read(spotter, images[0])
    return take_turns({name: partial(read, spotters[name]) for name in spotters}, images)


def take_turns(readers: Mapping[str, Callable[[T], U]], images: Sequence[T]) -> dict[str, list[U]]:
    """Give every image to every reader, one image at a time, reader after reader; who begins
    changes from image to image.

    Returns:
        By name what the reader returned for each image.
    """
    names = list(readers)
    found: dict[str, list[U]] = {name: [] for name in names}
    for number, image in enumerate(progress(images, "Reading")):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(readers[name](image))
    return found


@contextmanager
def fixed_scale(spotter: TextSpotter, index: int) -> Iterator[None]:
    """Within the context a student reads at one scale, and its selector does not run."""
    policy = spotter.model.policy
    spotter.model.policy = FixedScale(index, len(spotter.scales))
    try:
        yield
    finally:
        spotter.model.policy = policy
