"""How an image shall be read, as requests say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Protocol

import numpy as np

from dld_d2.deployment.result import SpottingResult
from dld_d2.deployment.service.limits import RequestError

__all__ = ["ImageReader", "ReadingOptions"]


class ImageReader(Protocol):
    """What reads an image (H, W, 3) uint8 in BGR, such as `OnnxSpotter`; where it chooses scales by
    a selector it has a `cost_bias`, too."""

    def __call__(self, image: np.ndarray) -> SpottingResult: ...


@dataclass(frozen=True)
class ReadingOptions:
    """Of one request.

    Attributes:
        min_score: words whose transcription is less sure are left out.
        min_detection_score: likewise, of what was found.
        cost_bias: for this image; None for the reader's.
    """

    min_score: float = 0.0
    min_detection_score: float = 0.0
    cost_bias: float | None = None

    @classmethod
    def of(cls, query: Mapping[str, str], *, chooses: bool) -> ReadingOptions:
        """
        Args:
            query: of the request's address.
            chooses: whether there is something to bias.

        Raises:
            RequestError: of status 400, naming what is unknown or no such number.
        """
        known = ("min_score", "min_detection_score", "cost_bias")
        if unknown := [name for name in query if name not in known]:
            raise RequestError(
                400, f"there is no option {unknown[0][:40]!r}; there are {', '.join(known)}"
            )
        found = {name: _number(name, text) for name, text in query.items()}
        for name, value in found.items():
            if name != "cost_bias" and not 0 <= value <= 1:
                raise RequestError(400, f"{name} must be between 0 and 1, not {value:g}")
        if "cost_bias" in found and not chooses:
            raise RequestError(
                400, "cost_bias: this model reads all images at one scale, there is none to bias"
            )
        return cls(**found)

    def read(self, reader: ImageReader, image: np.ndarray) -> SpottingResult:
        """What the reader finds, without words of low scores."""
        if self.cost_bias is None:
            result = reader(image)
        else:
            usual = reader.cost_bias
            try:
                reader.cost_bias = self.cost_bias
                result = reader(image)
            finally:
                reader.cost_bias = usual
        words = tuple(
            word
            for word in result
            if word.score >= self.min_score and word.detection_score >= self.min_detection_score
        )
        return replace(result, words=words)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise RequestError(400, f"{name} must be a finite number, not {text[:40]!r}")
    return value
