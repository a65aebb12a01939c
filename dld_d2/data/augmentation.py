"""Augmentations for training a text spotter, as Detectron2 `Augmentation`s."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T

from dld_d2.structures.sizes import check_not_too_thin

__all__ = [
    "RandomColorJitter",
    "RandomCropKeepingInstances",
    "ResizeShortestEdge",
    "build_augmentations",
    "varies",
]

# Luma of ITU-R BT.601, red, green, blue.
_LUMA = (0.299, 0.587, 0.114)


class RandomCropKeepingInstances(T.Augmentation):
    """Crop at random without cutting through any instance, don't-care ones included.

    A window of random size is laid around a random instance that is cared for (anywhere, if there
    is none) and then grown until its border crosses no instance's box. So each crop has at least
    one such instance, if the image has any. The window can grow into the whole image, where text
    is dense; then another is tried.
    """

    def __init__(self, min_size: float, attempts: int = 10) -> None:
        """
        Args:
            min_size: smallest width and height of the window before it grows, as fractions of the
                image's, in (0, 1].
            attempts: windows to try before the image stays whole.
        """
        super().__init__()
        if not 0 < min_size <= 1:
            raise ValueError(f"min_size must be in (0, 1], got {min_size}")
        self.min_size = min_size
        self.attempts = attempts

    def get_transform(self, image: np.ndarray, boxes: np.ndarray, cares: np.ndarray) -> T.Transform:
        """
        Args:
            image: (H, W, C).
            boxes: (N, 4) float, x0, y0, x1, y1 in pixels, of all instances.
            cares: (N,) bool, False for don't-care instances.
        """
        height, width = image.shape[:2]
        size = np.array([width, height])
        low = np.clip(boxes[:, :2], 0, size)
        high = np.clip(boxes[:, 2:], 0, size)
        cared = np.flatnonzero(cares)
        for _ in range(self.attempts):
            start, stop = self._window(size, low, high, cared)
            start, stop = _grow(start, stop, low, high)
            if (stop - start < size).any():
                return T.CropTransform(*start.tolist(), *(stop - start).tolist(), width, height)
        return T.NoOpTransform()

    def _window(
        self, size: np.ndarray, low: np.ndarray, high: np.ndarray, cared: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        extent = np.ceil(self._rand_range(self.min_size, 1, 2) * size)
        first, last = np.zeros(2), size - extent
        if len(cared):
            anchor = cared[int(self._rand_range(len(cared)))]
            extent = np.maximum(extent, np.ceil(high[anchor]) - np.floor(low[anchor]))
            first = np.maximum(np.ceil(high[anchor]) - extent, 0)
            last = np.minimum(np.floor(low[anchor]), size - extent)
        start = np.floor(first + self._rand_range(size=2) * (last + 1 - first)).astype(np.int64)
        return start, start + extent.astype(np.int64)


def _grow(
    start: np.ndarray, stop: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest window of whole pixels around [start, stop] whose border crosses no box."""
    while True:
        meets = ((low < stop) & (high > start)).all(axis=1)
        within = ((low >= start) & (high <= stop)).all(axis=1)
        cut = meets & ~within
        if not cut.any():
            return start, stop
        start = np.minimum(start, np.floor(low[cut].min(axis=0))).astype(np.int64)
        stop = np.maximum(stop, np.ceil(high[cut].max(axis=0))).astype(np.int64)


class RandomColorJitter(T.Augmentation):
    """Change brightness, contrast and saturation at random.

    Brightness adds one number of grey levels to all pixels; contrast blends with the image's mean
    grey; saturation blends each pixel with its own grey. All three are linear, so they run as one
    pass over the image.
    """

    def __init__(
        self, brightness: float, contrast: float, saturation: float, image_format: str = "BGR"
    ) -> None:
        """
        Args:
            brightness: largest change in grey levels out of 255.
            contrast: factors are drawn from [1 - contrast, 1 + contrast].
            saturation: likewise.
            image_format: order of the channels, "BGR" or "RGB".
        """
        super().__init__()
        _check_image_format(image_format)
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.image_format = image_format

    def get_transform(self, image: np.ndarray) -> T.Transform:
        shift = self._rand_range(-self.brightness, self.brightness)
        contrast, saturation = 1 + self._rand_range(-1, 1, 2) * (self.contrast, self.saturation)
        luma = np.array(_LUMA if self.image_format == "RGB" else _LUMA[::-1])
        mean_grey = luma @ cv2.mean(image)[:3]
        grey = np.tile(luma, (3, 1))
        matrix = contrast * (saturation * np.eye(3) + (1 - saturation) * grey)
        offset = np.full((3, 1), shift + (1 - contrast) * mean_grey)
        # OpenCV rounds and saturates to uint8.
        return T.ColorTransform(partial(cv2.transform, m=np.hstack([matrix, offset])))


class ResizeShortestEdge(T.ResizeShortestEdge):
    """Detectron2's, but it says so where nothing of an image would be left."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """
        Raises:
            TooThinError: if nothing would.
        """
        transform = super().get_transform(image)
        if isinstance(transform, T.ResizeTransform):
            check_not_too_thin(image.shape[:2], (transform.new_h, transform.new_w))
        return transform


def build_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """The paper's augmentations in its order (crop, scale, rotation, colour), or test-time scaling.

    Args:
        cfg: keys under `INPUT.AUG`, and `INPUT.MAX_SIZE_TRAIN`, in training; `INPUT.MIN_SIZE_TEST`
            and `INPUT.MAX_SIZE_TEST` in testing (`MIN_SIZE_TEST: 0` leaves images as they are).

    Raises:
        ValueError: naming the key, for a value out of its range.
    """
    _check_image_format(cfg.INPUT.FORMAT)
    if not is_train:
        return [ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)]
    aug = cfg.INPUT.AUG
    _check_augmentation_keys(aug)
    short_sides = [round(aug.BASE_SHORT_SIDE * factor) for factor in aug.SCALE_RANGE]
    rotation = T.RandomRotation((-aug.ROTATION, aug.ROTATION), expand=True)
    color = RandomColorJitter(aug.BRIGHTNESS, aug.CONTRAST, aug.SATURATION, cfg.INPUT.FORMAT)
    return [
        _Chance(RandomCropKeepingInstances(aug.CROP_MIN_SIZE), aug.CROP_PROB),
        ResizeShortestEdge(short_sides, cfg.INPUT.MAX_SIZE_TRAIN),
        _Chance(rotation, aug.ROTATION_PROB),
        _Chance(color, aug.COLOR_PROB),
    ]


def varies(cfg: CfgNode) -> bool:
    """Whether a training image differs from one time to the next."""
    aug = cfg.INPUT.AUG
    chances = aug.CROP_PROB, aug.ROTATION_PROB, aug.COLOR_PROB
    return any(chances) or aug.SCALE_RANGE[0] != aug.SCALE_RANGE[1]


class _Chance(T.RandomApply):
    """Detectron2's `RandomApply`, with a description for the log."""

    def __repr__(self) -> str:
        return f"{self.aug} with chance {self.prob}"

    __str__ = __repr__


def _check_augmentation_keys(aug: CfgNode) -> None:
    scales = tuple(aug.SCALE_RANGE)
    ranges = {
        "SCALE_RANGE": len(scales) == 2 and 0 < scales[0] <= scales[1],
        "BASE_SHORT_SIDE": aug.BASE_SHORT_SIDE > 0,
        "CROP_MIN_SIZE": 0 < aug.CROP_MIN_SIZE <= 1,
        "ROTATION": 0 <= aug.ROTATION <= 180,
        "BRIGHTNESS": 0 <= aug.BRIGHTNESS <= 255,
        "CONTRAST": 0 <= aug.CONTRAST <= 1,
        "SATURATION": 0 <= aug.SATURATION <= 1,
        **{f"{k}_PROB": 0 <= aug[f"{k}_PROB"] <= 1 for k in ("CROP", "ROTATION", "COLOR")},
    }
    for key, fits in ranges.items():
        if not fits:
            raise ValueError(f"INPUT.AUG.{key} is out of its range: {aug[key]}")


def _check_image_format(image_format: str) -> None:
    if image_format not in ("BGR", "RGB"):
        raise ValueError(f'INPUT.FORMAT must be "BGR" or "RGB", got {image_format!r}')
