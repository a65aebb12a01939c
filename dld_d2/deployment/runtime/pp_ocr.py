"""The spotter of photographs by its networks; `PPOCRSpotter.find` without PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnxruntime

from dld_d2.modeling.spotters.pp_ocr.lines import (
    HEIGHT,
    MAX_WIDTH,
    PIXELS_PER_POSITION,
    WIDTH_STEP,
    LinePart,
    parts_of_line,
)
from dld_d2.modeling.spotters.pp_ocr.regions import regions_of

__all__ = ["PPOCRReader"]


class PPOCRReader:
    """Finds and reads the words of an image.

    Args:
        networks: "detector" and "reader", see `dld_d2.modeling.spotters.pp_ocr.onnx_graphs`.
        settings: of the spotter, see `PPOCRSpotter.onnx`.
        characters: of the vocabulary.
    """

    def __init__(
        self,
        networks: Mapping[str, onnxruntime.InferenceSession],
        settings: Mapping[str, Any],
        characters: str,
    ) -> None:
        self._detector, self._reader = networks["detector"], networks["reader"]
        self._region_rule = dict(settings["region_rule"])
        self._text_threshold = settings["text_threshold"]
        self._characters = characters

    @property
    def score_threshold(self) -> float:
        """See `OnnxSpotter.score_threshold`."""
        return self._region_rule["box_threshold"]

    @score_threshold.setter
    def score_threshold(self, value: float) -> None:
        self._region_rule["box_threshold"] = value

    def __call__(
        self, image: np.ndarray, size: tuple[int, int]
    ) -> Iterator[tuple[np.ndarray, str, float, float]]:
        """
        Args:
            image: (1, 3, H, W) float32, normalised and padded.
            size: height and width without padding.

        Yields:
            For each word its corners (4, 2) in pixels, its text, the confidence of that, and the
            confidence that there is text.
        """
        (scores,) = self._detector.run(None, {"image": image})
        corners, confidence = regions_of(scores[: size[0], : size[1]], **self._region_rule)
        corners = _from_the_beginning(corners)
        limit = np.array([size[1], size[0]], dtype=np.float32)
        lines = self._read(image, corners)
        for rectangle, found, parts in zip(corners, confidence.tolist(), lines, strict=True):
            for part in parts:
                if part.score >= self._text_threshold:
                    polygon = np.clip(_part_of(rectangle, part), 0, limit)
                    yield polygon, part.text, part.score, found

    def _read(self, image: np.ndarray, corners: np.ndarray) -> list[list[LinePart]]:
        """The words in each of N rectangles (N, 4, 2)."""
        widths = _widths(corners)
        lines: list[list[LinePart]] = [[] for _ in corners]
        for width in np.unique(widths).tolist():
            rows = np.flatnonzero(widths == width)
            samples = _samples(corners[rows])
            inputs = {"image": image, "corners": corners[rows]}
            for name, pixels in (("u", width), ("v", HEIGHT)):
                steps = np.arange(pixels * samples, dtype=np.float32)
                inputs[name] = (steps + np.float32(0.5)) / np.float32(pixels * samples)
            classes, probabilities = self._reader.run(None, inputs)
            for row, *word in zip(rows, classes, probabilities, strict=True):
                path = _best_path(*word, blank=len(self._characters))
                lines[row] = parts_of_line(*path, self._characters, width // PIXELS_PER_POSITION)
        return lines


def _from_the_beginning(corners: np.ndarray) -> np.ndarray:
    """Corners (N, 4, 2) from where each word begins, see `sides_of_boxes`."""
    upright = _lengths(corners[:, 3] - corners[:, 0]) > 1.5 * _lengths(
        corners[:, 1] - corners[:, 0]
    )
    return np.where(upright[:, None, None], np.roll(corners, -1, axis=1), corners)


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1)


def _widths(corners: np.ndarray) -> np.ndarray:
    """(N,) int64: in how many columns rectangles are read, see `words.widths`."""
    along, across = (_lengths(corners[:, i] - corners[:, 0]) for i in (1, 3))
    steps = np.rint(along / np.maximum(across, 1e-3) * HEIGHT / WIDTH_STEP)
    return (np.clip(steps, 1, MAX_WIDTH / WIDTH_STEP) * WIDTH_STEP).astype(np.int64)


def _samples(corners: np.ndarray) -> int:
    """Samples along each side of a pixel that is read, see `straightening.straighten`."""
    largest = _lengths(corners[:, 3] - corners[:, 0]).max()
    return int(np.clip(np.rint(largest / HEIGHT), 1, 4))


def _best_path(
    classes: np.ndarray, probabilities: np.ndarray, blank: int
) -> tuple[list[int], list[float], list[float]]:
    """What `CTCDecoder.best_path` gives for one word: characters, the centres of their runs of
    positions, and the probability of each at the first position of its run."""
    starts = np.flatnonzero(np.diff(classes, prepend=-1))
    stops = np.append(starts[1:], len(classes))
    shown = classes[starts] != blank
    starts, stops = starts[shown], stops[shown]
    return classes[starts].tolist(), ((starts + stops) / 2).tolist(), probabilities[starts].tolist()


def _part_of(corners: np.ndarray, part: LinePart) -> np.ndarray:
    """Corners (4, 2) of a word within its line's."""
    a, b, c, d = corners
    along = np.array([part.start, part.stop, part.stop, part.start], dtype=np.float32)[:, None]
    return np.stack([a, a, d, d]) + along * np.stack([b - a, b - a, c - d, c - d])
