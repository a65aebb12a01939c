"""What full resolution is, data set by data set: `DATASETS.SHORT_SIDES`.

Small words in street scenes need more pixels than signs that somebody aimed at. A model that is
trained, or evaluated, on several sets looks at each of them at its own resolution.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.data.transforms import ResizeShortestEdge
from torch.utils.data import Dataset

__all__ = [
    "MapperByDataset",
    "NamedImages",
    "at_resolution_of",
    "check_short_sides",
    "warn_of_held_back",
]

logger = logging.getLogger(__name__)

# Images whose sizes are looked at; evenly spread in larger sets.
_MAX_IMAGES = 100


def check_short_sides(cfg: CfgNode) -> None:
    """Check `DATASETS.SHORT_SIDES`, once the data sets are registered.

    Raises:
        ValueError: for a set that is not registered, which most often is a typing error.
    """
    unknown = sorted(set(cfg.DATASETS.SHORT_SIDES) - set(DatasetCatalog.list()))
    if unknown:
        raise ValueError(
            f"DATASETS.SHORT_SIDES: there is no data set {', '.join(unknown)}; registered are "
            f"{', '.join(sorted(DatasetCatalog.list()))}"
        )


def at_resolution_of(cfg: CfgNode, name: str) -> CfgNode:
    """The configuration with the full resolution of a data set.

    Args:
        cfg: `DATASETS.SHORT_SIDES`; without an entry for the set the result is `cfg` itself.
        name: of a data set.

    Returns:
        `INPUT.AUG.BASE_SHORT_SIDE` and `INPUT.MIN_SIZE_TEST` are the set's short side.
    """
    sides = cfg.DATASETS.SHORT_SIDES
    if name not in sides:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.AUG.BASE_SHORT_SIDE = cfg.INPUT.MIN_SIZE_TEST = sides[name]
    cfg.freeze()
    return cfg


class NamedImages(Dataset):
    """A data set whose dictionaries tell which set they are of, as `dataset_name`."""

    def __init__(self, images: Sequence[dict[str, Any]] | Dataset, name: str) -> None:
        self._images = images
        self._name = name

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self._images[index], "dataset_name": self._name}


class MapperByDataset:
    """A mapper for each data set, for images that `NamedImages` gives.

    Args:
        mappers: by the sets' names.
    """

    def __init__(self, mappers: Mapping[str, Callable[[dict[str, Any]], Any]]) -> None:
        self._mappers = dict(mappers)

    def __call__(self, dataset_dict: dict[str, Any]) -> Any:
        return self._mappers[dataset_dict["dataset_name"]](dataset_dict)


def warn_of_held_back(cfg: CfgNode, name: str, images: Sequence[dict[str, Any]] | Dataset) -> None:
    """Warn if the limit of the long side keeps training images below their full resolution.

    Args:
        cfg: as `at_resolution_of` gives it for the set.
        name: of the set.
        images: its dictionaries, with `height` and `width` in pixels.
    """
    full = round(cfg.INPUT.AUG.BASE_SHORT_SIDE * cfg.INPUT.AUG.SCALE_RANGE[1])
    limit = cfg.INPUT.MAX_SIZE_TRAIN
    indices = np.linspace(
        0, len(images), min(len(images), _MAX_IMAGES), endpoint=False, dtype=np.int64
    )
    found = [images[int(index)] for index in indices]
    sizes = np.array([sorted((item["height"], item["width"])) for item in found])
    long = np.ceil(full * sizes[:, 1] / sizes[:, 0]).astype(np.int64)
    held = long > limit
    if held.any():
        short = min(
            ResizeShortestEdge.get_output_shape(*size, full, limit)[0] for size in sizes.tolist()
        )
        logger.warning(
            f"{name}: INPUT.MAX_SIZE_TRAIN {limit} keeps {held.sum()} of {len(held)} images that "
            f"were looked at below their full short side of {full}, down to {short}; "
            f"{long.max()} would let all of them reach it, for memory and time"
        )
