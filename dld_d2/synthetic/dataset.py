"""Synthetic scenes as a data set that is drawn while it is used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from dld_d2.data.records import ImageRecord, image_id
from dld_d2.data.text_dataset import standard_annotations
from dld_d2.synthetic.config import SceneConfig
from dld_d2.synthetic.drawn import DrawnDataset
from dld_d2.synthetic.layout import SceneLayout, lay_out
from dld_d2.synthetic.scene import draw_scene

__all__ = ["SceneReader", "SyntheticDataset"]


@dataclass(frozen=True)
class SceneReader:
    """Draws one scene when it is called: what `read_image` of a dictionary holds."""

    config: SceneConfig
    seed: int
    index: int
    layout: SceneLayout

    def __call__(self, image_format: str) -> np.ndarray:
        """(H, W, 3) uint8.

        Args:
            image_format: order of the channels, "BGR" or "RGB".

        Raises:
            ValueError: for any other order.
        """
        if image_format not in ("BGR", "RGB"):
            raise ValueError(f"scenes come in BGR or RGB, not in {image_format!r}")
        image = draw_scene(self.config, self.seed, self.index, self.layout)
        return image if image_format == "BGR" else np.ascontiguousarray(image[:, :, ::-1])


class SyntheticDataset(DrawnDataset):
    """Map-style data set of scenes, each a function of the configuration, a seed and its index.

    Items are Detectron2's dictionaries as `TextDataset` gives them, with one more entry:
    `read_image`, a function that draws the picture when the mapper calls it with "BGR" or "RGB".
    `file_name` names no file. `image_id` is `PREFIX_00012_REGIME`: the last part tells how large
    the words are, see `SceneConfig.regimes`.
    """

    def __init__(
        self, length: int, seed: int, config: SceneConfig | None = None, prefix: str = "scene"
    ) -> None:
        """
        Args:
            length: number of scenes.
            seed: non-negative; scenes of different seeds are independent.
            config: what scenes look like; None for the default.
            prefix: first part of the images' ids.

        Raises:
            ValueError: for a length below 1 or a negative seed.
        """
        super().__init__(length, seed, prefix)
        self.config = SceneConfig() if config is None else config

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The dictionary of one scene, the caller's to change. Nothing is drawn yet.

        Raises:
            IndexError: if there is no such scene.
            AnnotationError: if a folder that the configuration names cannot be used.
        """
        index = self._checked(index)
        layout = lay_out(self.config, self.seed, index)
        record = self._record(index, layout)
        return {
            "file_name": record.file_name,
            "image_id": image_id(record.file_name),
            "height": record.height,
            "width": record.width,
            "annotations": standard_annotations(record),
            "read_image": SceneReader(self.config, self.seed, index, layout),
        }

    def record(self, index: int, suffix: str = ".png") -> ImageRecord:
        """The annotations of one scene, whose file is called `image_id` + `suffix`.

        Raises:
            IndexError: if there is no such scene.
        """
        index = self._checked(index)
        return self._record(index, lay_out(self.config, self.seed, index), suffix)

    def digest(self) -> str:
        """SHA-256 of all annotations: equal digests, equal words and polygons."""
        state = hashlib.sha256()
        for index in range(self.length):
            record = self.record(index)
            state.update(f"{image_id(record.file_name)} {record.height} {record.width}\n".encode())
            for polygon, text, ignore in zip(
                record.polygons, record.texts, record.ignore, strict=True
            ):
                numbers = " ".join(f"{value:.2f}" for value in polygon.ravel().tolist())
                state.update(f"{numbers} {int(ignore)} {text}\n".encode())
        return state.hexdigest()

    def _record(self, index: int, layout: SceneLayout, suffix: str = ".png") -> ImageRecord:
        return ImageRecord(
            f"{self.prefix}_{index:05d}_{layout.regime}{suffix}",
            self.config.height,
            self.config.width,
            [word.polygon for word in layout.words],
            [word.text for word in layout.words],
            np.array([word.ignore for word in layout.words], dtype=bool),
        )
