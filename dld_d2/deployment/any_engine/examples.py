"""From an engine's readings to what a selector learns: what goes wrong at each scale, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dld_d2.deployment.any_engine.readings import ReadingsFile
from dld_d2.evaluation.geometry import compute_overlaps
from dld_d2.evaluation.mistakes import find_mistakes
from dld_d2.structures.errors import UsageError
from dld_d2.structures.word import Word

__all__ = ["Example", "examples_of", "relative_costs"]


@dataclass(frozen=True)
class Example:
    """What an engine gets wrong in an image.

    Attributes:
        image: path of its file.
        size: its height and width.
        mistakes: (k,) float64, words that go wrong at each scale, see `Mistakes.total`.
        boxes: (M, 4) float64, x0, y0, x1, y1 in pixels, of what goes wrong at any scale.
        weights: (M, k) float64, how much of `mistakes` each box is.
    """

    image: str
    size: tuple[int, int]
    mistakes: np.ndarray
    boxes: np.ndarray
    weights: np.ndarray


def examples_of(
    file: ReadingsFile,
    images: Sequence[str],
    scales: Sequence[float],
    truth: Mapping[str, Sequence[Word]],
) -> list[Example]:
    """Compare readings at each scale with the truth.

    Args:
        file: holds the readings.
        images: names of those that are taken.
        scales: the k scales.
        truth: of each image; don't-care words count for nothing.
    """
    examples = []
    for image in images:
        true = truth[image]
        readings = [file.at(image, scale) for scale in scales]
        overlaps = compute_overlaps(
            [[word.polygon for word in true]] * len(scales),
            [[word.polygon for word in reading.words] for reading in readings],
            [image] * len(scales),
        )
        boxes, weights, totals = [], [], []
        for column, (reading, geometry) in enumerate(zip(readings, overlaps, strict=True)):
            mistakes = find_mistakes(
                geometry, [w.text for w in true], [w.text for w in reading.words]
            )
            totals.append(mistakes.total)
            words = [*true, *reading.words]
            for word, weight in zip(words, np.concatenate(mistakes), strict=True):
                if weight > 0:
                    boxes.append(np.concatenate([word.polygon.min(0), word.polygon.max(0)]))
                    weights.append(weight * np.eye(len(scales))[column])
        examples.append(
            Example(
                image,
                readings[0].size,
                np.array(totals),
                np.array(boxes).reshape(-1, 4),
                np.array(weights).reshape(-1, len(scales)),
            )
        )
    return examples


def relative_costs(
    file: ReadingsFile,
    images: Sequence[str],
    scales: Sequence[float],
    reference: float,
    *,
    wall: bool = False,
) -> tuple[float, ...]:
    """What each scale costs: the median over images of its time over the reference's.

    A median of ratios within an image, whose scales were read one after the other, holds where the
    machine was busy with other things now and then.

    Args:
        file, images, scales: as of `examples_of`.
        reference: the scale whose cost is 1.
        wall: by the clock instead of the processors, for an engine that computes elsewhere.

    Raises:
        UsageError: if the processors did nothing.
    """
    kind = "seconds" if wall else "cpu_seconds"
    times = np.array([[getattr(file.at(i, s), kind) for s in scales] for i in images])
    base = times[:, list(scales).index(reference)]
    if not (base > 0).all():
        raise UsageError(
            f"{file.path}: readings at scale {reference:g} took no time of the processors; an "
            "engine that computes elsewhere is measured by --clock wall"
        )
    return tuple(np.median(times / base[:, None], axis=0).tolist())
