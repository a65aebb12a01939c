"""What readers by networks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnxruntime

from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["NetworkReader"]


class NetworkReader(ABC):
    """Finds and reads the words of an image.

    Args:
        networks: by the names that the spotter's `onnx_graphs` gives them.
        settings: of the spotter, see its `onnx`.
        characters: of the vocabulary.

    Attributes:
        score_threshold: see `OnnxSpotter.score_threshold`.
    """

    def __init__(
        self,
        networks: Mapping[str, onnxruntime.InferenceSession],
        settings: Mapping[str, Any],
        characters: str,
    ) -> None:
        self._networks = networks
        self._settings = dict(settings)
        self.score_threshold = self._settings.pop("score_threshold")
        self._vocabulary = Vocabulary(characters)

    @abstractmethod
    def __call__(
        self, image: np.ndarray, size: tuple[int, int]
    ) -> Iterator[tuple[np.ndarray, str, float, float]]:
        """
        Args:
            image: (1, 3, H, W) float32, normalised and padded.
            size: height and width without padding.

        Yields:
            For each word its polygon (K, 2) in pixels, its text, the confidence of that, and the
            confidence that there is text.
        """
