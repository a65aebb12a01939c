"""An image with its text instances, kept aligned through a chain of transforms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from detectron2.data.transforms import Transform

from dld_d2.data.geometry import clip_to_image, region_area
from dld_d2.structures.sides import POINTS_PER_SIDE, sides_of

__all__ = ["TextAugInput"]

# Parts that stick out of the image by no more than this are rounding (an image has a whole number
# of pixels, a rotated one does not), and their vertices are moved onto the border.
_ROUNDING = 0.5
# A cut instance of which less than this is left, in square pixels, is gone.
_MIN_AREA = 1.0


class TextAugInput:
    """What Detectron2's augmentations transform in place, for text instances.

    It takes the place of `detectron2.data.transforms.AugInput`. After every transform, polygons
    are cut at the border of the image and those that lie outside are dropped, so that an instance
    which a crop removed cannot come back when a later rotation enlarges the canvas.

    The upper and lower sides of words are found of the polygons as they are given, before any cut
    changes number and order of their vertices, and are never cut themselves.

    Attributes:
        image: (H, W, C) uint8.
        indices: (N,) int64, which of the instances given at first each row is.
        visible: (N,) float64, which part of the instance's area the transforms have left; 1 if
            none was cut. Cutting at the border of the untransformed image, which some data sets
            need, does not count.
    """

    def __init__(
        self, image: np.ndarray, polygons: Sequence[np.ndarray] = (), cares: Sequence[bool] = ()
    ) -> None:
        """
        Args:
            image: (H, W, C) uint8.
            polygons: (K_i, 2) arrays, K_i >= 3, vertices (x, y) in pixels; pixel (0, 0) covers
                [0, 1] x [0, 1].
            cares: one per polygon, False for don't-care regions.

        Raises:
            ValueError: if there are not as many `cares` as polygons.
        """
        if len(polygons) != len(cares):
            raise ValueError(f"{len(polygons)} polygons, but {len(cares)} flags in cares")
        self.image = image
        self.indices = np.arange(len(polygons))
        self.visible = np.ones(len(polygons))
        self._cares = np.asarray(cares, dtype=bool)
        # Of all instances given, those that are dropped later as well.
        self._sides = np.zeros((len(polygons), 2 * POINTS_PER_SIDE, 2))
        cared = np.flatnonzero(self._cares)
        self._sides[cared] = sides_of([polygons[i] for i in cared])
        self._set_polygons(polygons)
        self._cut_at_border()
        self.visible[:] = 1

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def polygons(self) -> list[np.ndarray]:
        """(K_i, 2) float64 vertices of each instance, in pixels of the present image."""
        return np.split(self._vertices, self._starts[1:]) if len(self) else []

    @property
    def boxes(self) -> np.ndarray:
        """(N, 4) float64 tight boxes x0, y0, x1, y1 (asked for by augmentations, by name)."""
        if not len(self):
            return np.zeros((0, 4))
        low = np.minimum.reduceat(self._vertices, self._starts)
        high = np.maximum.reduceat(self._vertices, self._starts)
        return np.concatenate([low, high], axis=1)

    @property
    def cares(self) -> np.ndarray:
        """(N,) bool, False for don't-care regions (asked for by augmentations, by name)."""
        return self._cares[self.indices]

    @property
    def sides(self) -> np.ndarray:
        """(N, 14, 2) float64 upper and lower sides, as `dld_d2.structures.sides` finds them, in
        pixels of the present image, of which they may stick out; of no meaning for don't-care
        regions."""
        return self._sides[self.indices]

    def transform(self, tfm: Transform) -> None:
        """Apply a Detectron2 transform to image, polygons and sides, in place.

        A mirrored word keeps its sides, which then run from right to left; so does its text.
        """
        self.image = tfm.apply_image(self.image)
        if len(self):
            self._vertices = np.asarray(tfm.apply_coords(self._vertices), dtype=np.float64)
            sides = np.asarray(tfm.apply_coords(self._sides.reshape(-1, 2)), dtype=np.float64)
            self._sides = sides.reshape(self._sides.shape)
            self._cut_at_border()

    def _set_polygons(self, polygons: Sequence[np.ndarray]) -> None:
        lengths = np.array([len(p) for p in polygons], dtype=np.int64)
        self._starts = np.cumsum(lengths) - lengths
        parts = [np.asarray(p, dtype=np.float64).reshape(-1, 2) for p in polygons]
        self._vertices = np.concatenate(parts) if parts else np.zeros((0, 2))

    def _keep(self, polygons: Sequence[np.ndarray], rows: np.ndarray) -> None:
        """Keep the instances `rows` (int or bool), whose polygons are these."""
        self._set_polygons(polygons)
        self.indices = self.indices[rows]
        self.visible = self.visible[rows]

    def _cut_at_border(self) -> None:
        if not len(self):
            return
        height, width = self.image.shape[:2]
        size = np.array([width, height])
        boxes = self.boxes
        low, high = boxes[:, :2], boxes[:, 2:]
        inside = ((high > 0) & (low < size)).all(axis=1)
        overhang = np.maximum(-low, high - size).max(axis=1)
        cut = inside & (overhang > _ROUNDING)
        if cut.any() or not inside.all():
            polygons = self.polygons
            for row in np.flatnonzero(cut):
                polygons[row], left = _cut(polygons[row], height, width)
                self.visible[row] *= left
                inside[row] = left > 0
            rows = np.flatnonzero(inside)
            self._keep([polygons[row] for row in rows], rows)
        np.clip(self._vertices, 0, size, out=self._vertices)


def _cut(polygon: np.ndarray, height: int, width: int) -> tuple[np.ndarray, float]:
    """The largest connected part of a polygon in an image, and its share of the whole area.

    The share is 0 when nothing worth keeping is left.
    """
    part = clip_to_image(polygon, height, width)
    left = 0.0 if part is None else region_area(part)
    if left < _MIN_AREA:
        return polygon, 0.0
    return part, left / region_area(polygon)
