"""A data set of images with words, in Detectron2's standard form."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from detectron2.structures import BoxMode
from torch.utils.data import Dataset

from dld_d2.data.index import TextIndex
from dld_d2.data.records import ImageRecord, image_id

__all__ = ["TextDataset", "standard_annotations"]


class TextDataset(Dataset):
    """Map-style data set that makes Detectron2's dictionaries when they are asked for.

    Each item has `file_name`, `image_id` (str, the path within the image folder without its
    extension), `height`, `width` (pixels) and `annotations`, a list of
    `{"bbox": [x0, y0, x1, y1], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0,
    "segmentation": [[x1, y1, ..., xn, yn]], "text": str, "ignore": bool}` with coordinates in
    pixels, where pixel (0, 0) covers [0, 1] x [0, 1]. An `ignore`d region is don't-care. A `text`
    may be empty: a word that nobody transcribed.
    """

    def __init__(self, index: TextIndex, image_root: str | os.PathLike[str]) -> None:
        self.index = index
        self.image_root = os.fspath(image_root)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The dictionary of one image, the caller's to change.

        Raises:
            IndexError: if there is no such image.
        """
        record = self.index[int(index)]
        return {
            "file_name": os.path.join(self.image_root, record.file_name),
            "image_id": image_id(record.file_name),
            "height": record.height,
            "width": record.width,
            "annotations": standard_annotations(record),
        }

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"TextDataset({len(self)} images, {self.index.num_words} words, {self.image_root})"


def standard_annotations(record: ImageRecord) -> list[dict[str, Any]]:
    """The `annotations` of an image's dictionary, as `TextDataset` has them."""
    return [
        {
            "bbox": np.concatenate([polygon.min(axis=0), polygon.max(axis=0)]).tolist(),
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": 0,
            "segmentation": [polygon.ravel().tolist()],
            "text": text,
            "ignore": ignore,
        }
        for polygon, text, ignore in zip(
            record.polygons, record.texts, record.ignore.tolist(), strict=True
        )
    ]
