"""Mask R-CNN with a text head by its networks; `MaskRCNNSpotter.find` without PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnxruntime

from dld_d2.deployment.runtime.attention_decoder import read_words
from dld_d2.modeling.spotters.mask_rcnn.mask_polygons import polygons_from_masks
from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["MaskRCNNReader"]


class MaskRCNNReader:
    """Finds and reads the words of an image.

    Args:
        networks: "detector", "encoder" and "decoder", see
            `dld_d2.modeling.spotters.mask_rcnn.onnx_graphs`.
        settings: of the spotter, see `MaskRCNNSpotter.onnx`.
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
        self.score_threshold = settings["score_threshold"]
        self._mask_threshold = settings["mask_threshold"]
        self._tolerance = settings["polygon_tolerance"]
        self._max_length = settings["max_length"]
        self._vocabulary = Vocabulary(characters)

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
        inputs = {
            "image": image,
            "size": np.array(size, dtype=np.int64),
            "threshold": np.array([self.score_threshold], dtype=np.float32),
        }
        boxes, found, masks, feature = self._networks["detector"].run(None, inputs)
        if not len(boxes):
            return
        polygons = polygons_from_masks(
            masks, boxes, threshold=self._mask_threshold, tolerance=self._tolerance
        )
        regions = {"feature": feature, "boxes": boxes, "masks": masks}
        memory = self._networks["encoder"].run(None, regions)
        texts, scores = read_words(
            self._networks["decoder"], *memory, self._vocabulary, self._max_length
        )
        yield from zip(polygons, texts, scores, found.tolist(), strict=True)
