"""From a data set's dictionary of one image to what the model receives."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from detectron2.structures import Instances

from dld_d2.data.aug_input import TextAugInput
from dld_d2.data.augmentation import build_augmentations
from dld_d2.data.images import read_image
from dld_d2.data.report import AnnotationError
from dld_d2.structures.polygons import Polygons
from dld_d2.structures.sizes import TooThinError
from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["TextDatasetMapper", "image_to_tensor", "load_image"]

logger = logging.getLogger(__name__)

# Entries of a data set's dictionary that the mapper does not pass on.
_CONSUMED = frozenset({"annotations", "read_image"})


class TextDatasetMapper:
    """Read one image, augment it with its words, and turn both into tensors.

    The same mapper serves training and testing, which differ by their augmentations alone, except
    that testing also passes on the transcriptions as strings.
    """

    @configurable
    def __init__(
        self,
        is_train: bool = True,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str,
        vocabulary: Vocabulary,
        max_length: int,
        min_visible: float = 0.9,
    ) -> None:
        """
        Args:
            is_train: whether the result is for training.
            augmentations: applied in order; any of Detectron2's, and those of
                `dld_d2.data.augmentation`.
            image_format: order of the channels, "BGR" or "RGB".
            vocabulary: characters that the recognition branch can read.
            max_length: longest word in characters.
            min_visible: an instance of which the border of the augmented image leaves less than
                this part of its area becomes don't-care, because its text no longer shows as a
                whole. Instances that lie outside are dropped.
        """
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.vocabulary = vocabulary
        self.max_length = max_length
        self.min_visible = min_visible
        mode = "training" if is_train else "testing"
        logger.info(f"Augmentations in {mode}: {list(augmentations)}")

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "vocabulary": Vocabulary.from_config(cfg.MODEL.RECOGNITION.VOCABULARY),
            "max_length": cfg.MODEL.RECOGNITION.MAX_LENGTH,
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """
        Args:
            dataset_dict: one image in Detectron2's standard form, each annotation with one polygon
                in `segmentation`, and with `text` and `ignore`. It stays as it is. Annotations may
                be missing as a whole. The image is the file `file_name`, or what `read_image`
                gives, if there is such an entry (see `load_image`).

        Returns:
            The dictionary without `annotations` and `read_image`, and with
            - `image`: (3, H, W) uint8 tensor;
            - `height`, `width`: size of the image as read, in pixels;
            - `instances`: `Instances` of size (H, W) with `gt_boxes` (N, 4), `gt_classes` (N,)
              int64 zeros, `gt_masks` `Polygons`, `gt_texts` (N, max_length + 1) int64 as
              `Vocabulary.encode` gives them, all padding where `gt_readable` is false,
              `gt_ignore` (N,) bool, don't-care, `gt_readable` (N,) bool, cared for and a word
              that the recognition branch can learn, and `gt_sides` (N, 14, 2) float32, the upper
              and lower side of each word as `dld_d2.structures.sides` finds them in the
              annotation, x and y as fractions of W and H, uncut, and 0 where `gt_ignore`;
            - `texts`, in testing only: list of N transcriptions.

        Raises:
            OSError: naming the file, if the image cannot be read.
            ValueError: naming the file, for an annotation that has not exactly one polygon.
            AnnotationError: naming the file, for an image that is too thin to be resized.
            detectron2.data.detection_utils.SizeMismatchError: if the image has another size than
                the dictionary says.
        """
        result = {k: v for k, v in dataset_dict.items() if k not in _CONSUMED}
        image = load_image(dataset_dict, self.image_format)
        detection_utils.check_image_size(result, image)

        annotations = dataset_dict.get("annotations", [])
        polygons = [_only_polygon(a, dataset_dict["file_name"]) for a in annotations]
        aug_input = TextAugInput(image, polygons, [not a["ignore"] for a in annotations])
        try:
            self.augmentations(aug_input)
        except TooThinError as error:
            raise AnnotationError(f"{dataset_dict['file_name']}: {error}") from None

        texts = [annotations[i]["text"] for i in aug_input.indices]
        result["image"] = image_to_tensor(aug_input.image)
        result["instances"] = self._instances(aug_input, texts)
        if not self.is_train:
            result["texts"] = texts
        return result

    def _instances(self, aug_input: TextAugInput, texts: Sequence[str]) -> Instances:
        ignore = ~aug_input.cares | (aug_input.visible < self.min_visible)
        can_encode = [self.vocabulary.can_encode(text, self.max_length) for text in texts]
        readable = ~ignore & np.array(can_encode, dtype=bool)
        encoded = np.full((len(texts), self.max_length + 1), Vocabulary.PADDING, dtype=np.int64)
        for row in np.flatnonzero(readable):
            encoded[row] = self.vocabulary.encode(texts[row], self.max_length)

        height, width = aug_input.image.shape[:2]
        sides = np.where(ignore[:, None, None], 0, aug_input.sides / (width, height))

        instances = Instances((height, width))
        instances.gt_masks = Polygons.from_arrays(aug_input.polygons)
        instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        instances.gt_classes = torch.zeros(len(texts), dtype=torch.int64)
        instances.gt_texts = torch.from_numpy(encoded)
        instances.gt_ignore = torch.from_numpy(ignore)
        instances.gt_readable = torch.from_numpy(readable)
        instances.gt_sides = torch.from_numpy(sides.astype(np.float32))
        return instances


def load_image(dataset_dict: dict[str, Any], image_format: str) -> np.ndarray:
    """The image that a dictionary describes, as (H, W, 3) uint8.

    Args:
        dataset_dict: with `file_name`, or, for images that are in no file, with `read_image`: a
            function that takes the order of the channels and returns the array.
        image_format: "BGR" or "RGB".

    Raises:
        OSError: as `read_image`.
    """
    if "read_image" in dataset_dict:
        return dataset_dict["read_image"](image_format)
    return read_image(dataset_dict["file_name"], image_format)


def image_to_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 array, of any strides, to a contiguous (3, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _only_polygon(annotation: dict[str, Any], file_name: str) -> np.ndarray:
    segmentation = annotation["segmentation"]
    if len(segmentation) != 1:
        raise ValueError(
            f"{file_name}: a text instance needs exactly one polygon in its segmentation, "
            f"{annotation['text']!r} has {len(segmentation)}"
        )
    return np.asarray(segmentation[0], dtype=np.float64).reshape(-1, 2)
