"""Synthetic scenes at a glance: a row of pictures for each regime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dld_d2.analysis.visualization import DrawnWord, below_each_other, draw_words, side_by_side
from dld_d2.data.records import image_id
from dld_d2.synthetic.dataset import SyntheticDataset

__all__ = ["contact_sheet"]


def contact_sheet(
    dataset: SyntheticDataset, columns: int = 4, *, annotated: bool = True
) -> np.ndarray:
    """A row of scenes for each regime, at full size.

    Args:
        columns: scenes in a row; fewer where the set has fewer.
        annotated: outline the words, don't-care ones hatched in grey.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    rows: dict[str, list[int]] = {name: [] for name in dataset.config.regimes}
    for index in range(len(dataset)):
        regime = image_id(dataset.record(index).file_name).rsplit("_", 1)[-1]
        if len(rows[regime]) < columns:
            rows[regime].append(index)
        if all(len(row) == columns for row in rows.values()):
            break
    strips = [_strip([dataset[i] for i in row], annotated) for row in rows.values() if row]
    return below_each_other(strips)


def _strip(items: Sequence[dict[str, Any]], annotated: bool) -> np.ndarray:
    images = []
    for item in items:
        image = item["read_image"]("BGR")
        if annotated:
            words = [
                DrawnWord(
                    np.reshape(word["segmentation"][0], (-1, 2)),
                    color="grey" if word["ignore"] else "orange",
                    hatched=word["ignore"],
                )
                for word in item["annotations"]
            ]
            image = draw_words(image, words)
        images.append(image)
    return side_by_side(images, [item["image_id"] for item in items])
