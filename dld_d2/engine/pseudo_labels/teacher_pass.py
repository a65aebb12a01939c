"""A teacher reads photographs at full resolution, one by one."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from torch.utils.data import DataLoader, Dataset

from dld_d2.data.augmentation import build_augmentations
from dld_d2.data.mapper import image_to_tensor, load_image
from dld_d2.data.records import RawWord, record_of_size
from dld_d2.data.report import AnnotationReport
from dld_d2.data.text_dataset import TextDataset
from dld_d2.engine.pseudo_labels.readings import ImageReading, Stamp
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.structures.word import Word

__all__ = ["Photograph", "photographs", "readings_of"]

# Of coordinates. A hundredth of a pixel is finer than any spotter is, and keeps files legible.
_DECIMALS = 2


class Photograph(NamedTuple):
    """An image of a data set.

    Attributes:
        path: of its file.
        file_name: the same relative to the set's image folder, with "/" between folders.
        stamp: tells it from another one of its name.
    """

    path: str
    file_name: str
    stamp: Stamp


def photographs(dataset: TextDataset) -> list[Photograph]:
    """The images of a data set, as they are now.

    Raises:
        OSError: naming the file, if one has gone.
    """
    found = []
    for record in dataset.index:
        path = os.path.join(dataset.image_root, record.file_name)
        stamp = Stamp(record.height, record.width, os.path.getsize(path))
        found.append(Photograph(path, record.file_name, stamp))
    return found


def readings_of(
    teacher: Spotter, images: Sequence[Photograph], cfg: CfgNode, report: AnnotationReport
) -> Iterator[ImageReading | None]:
    """Read images in their order.

    Each goes through the teacher alone, since what a word at an image's border is read as may
    depend, by the padding, on the other images of a batch.

    Args:
        teacher: in evaluation mode.
        images: to read.
        cfg: `INPUT.FORMAT`, `INPUT.MIN_SIZE_TEST`, `INPUT.MAX_SIZE_TEST` and
            `DATALOADER.NUM_WORKERS` of it.
        report: told of images that cannot be read, or do not fit into the device's memory.

    Yields:
        The reading of each, or None if there is none (and the report's policy is to skip).

    Raises:
        AnnotationError: for the first image that cannot be read, if the policy is to raise.
    """
    loader = DataLoader(
        _FullImages(images, cfg),
        batch_size=None,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_as_it_is,
        # Nothing is drawn of the global generator, on which a training goes on.
        generator=torch.Generator(),
    )
    for image, item in zip(images, loader, strict=True):
        try:
            if isinstance(item, OSError):
                raise item
            yield _reading(teacher, image, item)
        except OSError as error:
            message = str(error).removeprefix(f"{image.path}: ")
            report.bad(image.path, "unreadable image", message)
            yield None
        except torch.cuda.OutOfMemoryError:
            message = "it is too large for the memory of this device; lower INPUT.MAX_SIZE_TEST"
            report.bad(image.path, "too large image", message)
            yield None


class _FullImages(Dataset):
    """Images as tensors of full resolution; for one that cannot be read, the error."""

    def __init__(self, images: Sequence[Photograph], cfg: CfgNode) -> None:
        self._images = images
        self._augmentations = T.AugmentationList(build_augmentations(cfg, is_train=False))
        self._image_format = cfg.INPUT.FORMAT

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> torch.Tensor | OSError:
        try:
            image = load_image({"file_name": self._images[index].path}, self._image_format)
        except OSError as error:
            return OSError(str(error))
        aug_input = T.AugInput(image)
        self._augmentations(aug_input)
        return image_to_tensor(aug_input.image)


def _as_it_is(item: Any) -> Any:
    return item


@torch.no_grad()
def _reading(teacher: Spotter, image: Photograph, tensor: torch.Tensor) -> ImageReading:
    height, width, _ = image.stamp
    (output,) = teacher([{"image": tensor, "height": height, "width": width}])
    found = output["instances"].to("cpu")
    words = []
    for polygon, *word in zip(
        found.pred_polygons,
        found.pred_texts,
        map(_score, found.text_scores.tolist()),
        map(_score, found.scores.tolist()),
        strict=True,
    ):
        usable = _usable(np.asarray(polygon, dtype=np.float64).reshape(-1, 2), image)
        if usable is not None:
            words.append(Word(usable, *word))
    return ImageReading(image.file_name, image.stamp, tuple(words))


def _score(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _usable(polygon: np.ndarray, image: Photograph) -> np.ndarray | None:
    """A polygon that is good as an annotation, or None where there is no such."""
    height, width, _ = image.stamp
    # The first time to clip the polygon, the second for what rounding makes of that.
    for _ in range(2):
        word = RawWord(polygon.round(_DECIMALS), "", False, image.path)
        skipping = AnnotationReport("skip")
        polygons = record_of_size(image.file_name, height, width, [word], skipping).polygons
        if not polygons:
            return None
        polygon = polygons[0].astype(np.float64)
    return polygon.round(_DECIMALS)
