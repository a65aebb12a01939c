"""One data set under all settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.transforms import ResizeShortestEdge

from appendix_page.evaluations import Evaluation
from dld_d2.analysis.appendix.outcomes import WordPair, join_words
from dld_d2.analysis.appendix.scales import polygon_heights
from dld_d2.analysis.visualization import as_seen
from dld_d2.data.mapper import load_image
from dld_d2.structures.word import DONT_CARE

__all__ = ["Study", "register_part"]


@dataclass(eq=False)
class Study:
    """What was found on a data set.

    Attributes:
        name: of the set.
        items: its dictionaries, in Detectron2's form.
        low: the low scale.
        vanilla, vanilla_low, skd_only, drs_only: evaluations; None where there is none.
        dld: one for each student that chooses, the first is the one that is looked at.
        logits: (N, k) of the first one's selector, images in the order of `items`; None without
            its model.
    """

    name: str
    items: Sequence[Mapping[str, Any]]
    low: float
    vanilla: Evaluation
    vanilla_low: Evaluation | None
    skd_only: Evaluation | None
    drs_only: Evaluation | None
    dld: Sequence[Evaluation]
    logits: np.ndarray | None = None

    @cached_property
    def _by_id(self) -> dict[str, Mapping[str, Any]]:
        return {str(item["image_id"]): item for item in self.items}

    @property
    def image_ids(self) -> list[str]:
        return list(self._by_id)

    def image(self, image_id: str) -> np.ndarray:
        """(H, W, 3) uint8 BGR."""
        return load_image(self._by_id[image_id], "BGR")

    def seen(self, image_id: str, evaluation: Evaluation) -> np.ndarray:
        """An image as coarse as a model saw it, at its own size."""
        image = self.image(image_id)
        factor = input_factor(image.shape[:2], evaluation)
        return as_seen(image, factor * evaluation.scales[image_id])

    @cached_property
    def heights(self) -> dict[str, np.ndarray]:
        """Image id -> heights of the words that count, in pixels of the full resolution."""
        found = {}
        for image_id, item in self._by_id.items():
            polygons = [
                np.reshape(word["segmentation"][0], (-1, 2))
                for word in item["annotations"]
                if not word["ignore"] and word["text"] != DONT_CARE
            ]
            factor = input_factor((item["height"], item["width"]), self.vanilla)
            found[image_id] = factor * polygon_heights(polygons)
        return found

    def pairs(self, first: Evaluation, second: Evaluation) -> list[WordPair]:
        """The words that count, under two settings."""
        return join_words(first.records, second.records)


def input_factor(size: tuple[int, int], evaluation: Evaluation) -> float:
    """By how much an image (height, width) is enlarged to full resolution; 1 where not known."""
    if evaluation.short_side is None:
        return 1.0
    height, _ = ResizeShortestEdge.get_output_shape(
        *size, evaluation.short_side, evaluation.max_side
    )
    return height / size[0]


def register_part(name: str, count: int) -> str:
    """Register images of a data set that are spread evenly over it.

    Returns:
        The name of the part; the set's own if it has no more than `count` images.
    """
    whole = DatasetCatalog.get(name)
    if count >= len(whole):
        return name
    part = f"{name}_{count}_images"
    if part not in DatasetCatalog:
        places = [place * len(whole) // count for place in range(count)]
        DatasetCatalog.register(part, lambda: [whole[place] for place in places])
        metadata = MetadataCatalog.get(name).as_dict()
        MetadataCatalog.get(part).set(**{k: v for k, v in metadata.items() if k != "name"})
    return part
