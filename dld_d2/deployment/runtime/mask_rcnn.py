"""Mask R-CNN with a text head by its networks; `MaskRCNNSpotter.find` without PyTorch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dld_d2.deployment.runtime.attention_decoder import read_words
from dld_d2.deployment.runtime.network_reader import NetworkReader
from dld_d2.modeling.spotters.mask_rcnn.mask_polygons import polygons_from_masks

__all__ = ["MaskRCNNReader"]


class MaskRCNNReader(NetworkReader):
    """By "detector", "encoder" and "decoder"; see `onnx_graphs` of the spotter."""

    def __call__(
        self, image: np.ndarray, size: tuple[int, int]
    ) -> Iterator[tuple[np.ndarray, str, float, float]]:
        inputs = {
            "image": image,
            "size": np.array(size, dtype=np.int64),
            "threshold": np.array([self.score_threshold], dtype=np.float32),
        }
        boxes, found, masks, feature = self._networks["detector"].run(None, inputs)
        if not len(boxes):
            return
        polygons = polygons_from_masks(
            masks,
            boxes,
            threshold=self._settings["mask_threshold"],
            tolerance=self._settings["polygon_tolerance"],
        )
        regions = {"feature": feature, "boxes": boxes, "masks": masks}
        memory = self._networks["encoder"].run(None, regions)
        texts, scores = read_words(
            self._networks["decoder"], *memory, self._vocabulary, self._settings["max_length"]
        )
        yield from zip(polygons, texts, scores, found.tolist(), strict=True)
