"""Letting an engine read photographs at several scales; it goes on where it was stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence

from dld_d2.data.images import as_bgr
from dld_d2.deployment.any_engine.readings import Reading, ReadingsFile
from dld_d2.deployment.runtime.engines import Engine, read_at
from dld_d2.evaluation.words import as_words
from dld_d2.structures.sizes import scaled_size

__all__ = ["collect", "cpu_time", "read_once"]


def collect(
    engine: Engine, images: Iterable[str], scales: Sequence[float], file: ReadingsFile
) -> Iterator[str | Exception]:
    """Read each image at each scale at which the file does not have it yet.

    Args:
        engine: see `dld_d2.deployment.runtime.engines`.
        images: names of files.
        scales: of the full size; above 1 enlarges.
        file: gets the readings, and says what the full size is.

    Yields:
        For each image its name, or the error that names it: an image that cannot be read, or one
        on which the engine fails, does not stop the others, and is tried again by the next call.
    """
    scales = list(dict.fromkeys(scales))
    warm = False
    for number, image in enumerate(images):
        missing = [scale for scale in scales if (image, scale) not in file]
        # In another order for each image, so that no scale always finds the processor warm.
        turn = number % len(missing) if missing else 0
        try:
            if missing:
                array = as_bgr(image)
            if missing and not warm:
                read_once(engine, array, image, missing[0], file)
                warm = True
            for scale in missing[turn:] + missing[:turn]:
                file.add(read_once(engine, array, image, scale, file))
        except OSError as error:
            if error.filename == str(file.path):
                raise
            yield error
        except Exception as error:  # an engine may raise anything
            yield ValueError(f"{image}: the engine failed: {type(error).__name__}: {error}")
        else:
            yield image


def read_once(
    engine: Engine, array: object, image: str, scale: float, file: ReadingsFile
) -> Reading:
    """Read an image, (H, W, 3) uint8 in BGR, at one scale."""
    size = array.shape[:2]
    start, cpu = time.perf_counter(), cpu_time()
    words = read_at(engine, array, scaled_size(file.sides.full(size), scale))
    seconds, cpu = time.perf_counter() - start, cpu_time() - cpu
    checked = as_words({image: words}, "engine")[image]
    return Reading(image, float(scale), size, seconds, cpu, tuple(checked))


def cpu_time() -> float:
    """Seconds that this process and those that it started and that ended have computed."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system
