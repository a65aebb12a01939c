"""Read the words of single photographs with a trained model."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.modeling import build_model

import dld_d2.modeling  # noqa: F401 (registers the models)
from dld_d2.data.augmentation import build_augmentations
from dld_d2.data.mapper import image_to_tensor, read_image
from dld_d2.engine.checkpoint import SpotterCheckpointer

__all__ = ["TextSpotter", "Word"]


@dataclass(frozen=True, eq=False)
class Word:
    """A word found in an image.

    Attributes:
        polygon: (K, 2) float32, vertices (x, y) in pixels of the image; pixel (0, 0) covers
            [0, 1] x [0, 1].
        text: transcription.
        score: confidence of the transcription, in [0, 1].
        detection_score: confidence that there is text, in [0, 1].
    """

    polygon: np.ndarray
    text: str
    score: float
    detection_score: float


class TextSpotter:
    """Finds and transcribes the words of one image at a time.

        spotter = TextSpotter(setup_cfg("config.yaml", ["MODEL.WEIGHTS", "weights.pth"]))
        for word in spotter("photograph.jpg"):
            print(word.text)

    Attributes:
        model: the model in evaluation mode, on `cfg.MODEL.DEVICE`.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """
        Args:
            cfg: a whole configuration, as `dld_d2.engine.setup.setup_cfg` gives it. Weights come
                from `MODEL.WEIGHTS`, the size to which images are scaled from
                `INPUT.MIN_SIZE_TEST` and `INPUT.MAX_SIZE_TEST`.

        Raises:
            ValueError: if `MODEL.WEIGHTS` is empty or not weights of this model.
            FileNotFoundError: if there is no such file.
        """
        if not cfg.MODEL.WEIGHTS:
            raise ValueError(
                "MODEL.WEIGHTS is empty: name the file with the trained weights, in the config "
                "file or by the override `MODEL.WEIGHTS FILE`"
            )
        self._augmentations = T.AugmentationList(build_augmentations(cfg, is_train=False))
        self._image_format = cfg.INPUT.FORMAT
        self.model = build_model(cfg).eval()
        SpotterCheckpointer(self.model).load(cfg.MODEL.WEIGHTS)

    @torch.inference_mode()
    def __call__(self, image: str | os.PathLike[str] | np.ndarray) -> list[Word]:
        """Read an image.

        Args:
            image: a file, or a (H, W, 3) uint8 array in BGR.

        Returns:
            The words, in the model's order (most confident detection first).

        Raises:
            OSError: naming the file, if it cannot be read as an image.
            ValueError: for an array of another shape or type.
        """
        if not isinstance(image, np.ndarray):
            image = read_image(os.fspath(image), "BGR")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(
                f"an image must be a (H, W, 3) uint8 array in BGR, got {image.shape} {image.dtype}"
            )
        height, width = image.shape[:2]
        if self._image_format == "RGB":
            image = image[:, :, ::-1]
        aug_input = T.AugInput(image)
        self._augmentations(aug_input)
        inputs = {"image": image_to_tensor(aug_input.image), "height": height, "width": width}
        (output,) = self.model([inputs])
        return _words(output["instances"].to("cpu"))


def _words(instances) -> list[Word]:
    return [
        Word(np.asarray(polygon, dtype=np.float32).reshape(-1, 2), text, score, detection_score)
        for polygon, text, score, detection_score in zip(
            instances.pred_polygons,
            instances.pred_texts,
            instances.text_scores.tolist(),
            instances.scores.tolist(),
            strict=True,
        )
    ]
