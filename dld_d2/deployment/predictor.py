"""Read the words of photographs with a trained model.

from dld_d2.deployment import TextSpotter
spotter = TextSpotter.from_file("student.pth")
words = spotter("photo.jpg")
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from torch import Tensor

from dld_d2.analysis.image_costs import decoding_steps
from dld_d2.data.augmentation import build_augmentations
from dld_d2.data.mapper import image_to_tensor, read_image
from dld_d2.deployment.batches import run_in_batches
from dld_d2.deployment.budget import Budget, choose_cost_bias
from dld_d2.deployment.model_file import load_spotter
from dld_d2.deployment.pretrained import weights_file
from dld_d2.deployment.result import SpottingResult, words_of
from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.modeling.cost.parts import CostTable
from dld_d2.modeling.dynamic_spotter import DynamicSpotter, cost_of
from dld_d2.modeling.selection.policies import DynamicScale
from dld_d2.modeling.spotter_cost import SpotterCost
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.structures.word import Word

__all__ = ["SpottingResult", "TextSpotter", "Word"]

ImageLike = str | os.PathLike[str] | np.ndarray


class TextSpotter:
    """Finds and transcribes the words of images.

        spotter = TextSpotter.from_file("student.pth")
        for word in spotter("photograph.jpg"):
            print(word.text)

    Attributes:
        model: the model in evaluation mode, on `MODEL.DEVICE`.
    """

    def __init__(
        self,
        cfg: CfgNode,
        *,
        cost_bias: float | None = None,
        model: Spotter | DynamicSpotter | None = None,
    ) -> None:
        """
        Args:
            cfg: a whole configuration, as `dld_d2.engine.setup.setup_cfg` gives it. The size to
                which images are scaled comes from `INPUT.MIN_SIZE_TEST` and `INPUT.MAX_SIZE_TEST`.
            cost_bias: see the property; None leaves it as configured.
            model: the configured model with its weights, if there is one; else it is built, with
                the weights `MODEL.WEIGHTS`.

        Raises:
            ValueError: if `MODEL.WEIGHTS` is empty or not weights of this model, and as `cost_bias`
                does.
            FileNotFoundError: if there is no such file.
        """
        if model is None and not cfg.MODEL.WEIGHTS:
            raise ValueError(
                "MODEL.WEIGHTS is empty: name the file with the trained weights, in the config "
                "file or by the override `MODEL.WEIGHTS FILE`"
            )
        self._augmentations = T.AugmentationList(build_augmentations(cfg, is_train=False))
        self._image_format = cfg.INPUT.FORMAT
        if model is None:
            model = build_model(cfg)
            SpotterCheckpointer(model).load(cfg.MODEL.WEIGHTS)
        self.model = model.eval()
        self._cost: SpotterCost | None = None
        if cost_bias is not None:
            self.cost_bias = cost_bias

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        device: str | None = None,
        cost_bias: float | None = None,
        opts: Sequence[str] = (),
    ) -> TextSpotter:
        """Load what tools/export_student.py made. Nothing but the file is needed.

        Args:
            path: the file.
            device: such as "cuda:1" or "cpu"; None for `MODEL.DEVICE` as trained, or the CPU where
                there is no GPU.
            cost_bias: see the property; None leaves it as exported.
            opts: overrides of the configuration as alternating keys and values.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not such a file, for invalid overrides, and as `cost_bias` does.
        """
        opts = [*opts, *(("MODEL.DEVICE", device) if device else ())]
        cfg, model = load_spotter(path, opts)
        return cls(cfg, cost_bias=cost_bias, model=model)

    @classmethod
    def pretrained(cls, name: str, **kwargs: Any) -> TextSpotter:
        """Load one of the small models that come with this package.

        Args:
            name: as `dld_d2.deployment.pretrained.names()` lists them, such as "tiny_dld".
            kwargs: as for `from_file`.

        Raises:
            ValueError: if there is no such model, and as `from_file`.
        """
        return cls.from_file(weights_file(name), **kwargs)

    @property
    def scales(self) -> tuple[float, ...]:
        """The candidate scales; 1 alone for a model that does not choose."""
        return self.model.scales if isinstance(self.model, DynamicSpotter) else (1.0,)

    @property
    def cost_bias(self) -> float:
        """How much cost weighs: this times a scale's relative cost is subtracted from its logit.

        Above 0 the spotter becomes cheaper, below 0 more accurate, than it was trained to be.

        Raises:
            ValueError: if the model does not choose scales by a selector, or on setting what is
                not a finite number.
        """
        return self._policy().cost_bias

    @cost_bias.setter
    def cost_bias(self, value: float) -> None:
        if not isfinite(value):
            raise ValueError(f"a cost bias must be a finite number, got {value}")
        self._policy().cost_bias = float(value)

    def __call__(self, image: ImageLike) -> SpottingResult:
        """Read an image.

        Args:
            image: a file, or a (H, W, 3) uint8 array in BGR.

        Raises:
            OSError: naming the file, if it cannot be read as an image.
            ValueError: for an array of another shape or type.
        """
        (result,) = self._spot([self._prepare(image)])
        return result

    def predict_many(
        self, images: Iterable[ImageLike], batch_size: int = 8
    ) -> Iterator[SpottingResult | Exception]:
        """Read images in batches of similar sizes; those of equal scale run together.

        Args:
            images: each as `__call__` takes it; they are read as results are asked for.
            batch_size: images that run at once, at most.

        Yields:
            For each image in order its result, or, for one that cannot be read, is no image, or
            does not fit into the device's memory even alone, the OSError, ValueError or MemoryError
            that says so. What a word at an image's border is read as may depend, by the padding, on
            the other images of its batch.

        Raises:
            ValueError: for a batch size below 1.
            TypeError: for a single file name.
        """
        return run_in_batches(self._spot, self._prepare, images, batch_size)

    def scale_logits(
        self, images: Iterable[ImageLike], batch_size: int = 8
    ) -> Iterator[Tensor | Exception]:
        """What the selector thinks of each image's scales, without a cost bias; nothing is read.

        Yields:
            For each image in order (k,) float32 on the CPU, or an exception, as `predict_many`.

        Raises:
            ValueError: if the model has no selector, and as `predict_many`.
        """
        self._policy()
        return run_in_batches(self._logits, self._prepare, images, batch_size)

    def set_target_cost(
        self, images: Iterable[ImageLike], target_cost: float, batch_size: int = 8
    ) -> Budget:
        """Set `cost_bias` such that these images together cost what is wanted.

        Args:
            images: such as those the spotter is meant for; not those it is scored on.
            target_cost: mean of the relative cost; the nearest that is not above it is taken.
            batch_size: images that the selector sees at once.

        Raises:
            ValueError: if no bias reaches the target; the message says what can be reached.
            OSError, ValueError: for the first image that cannot be read.
        """
        logits = []
        for item in self.scale_logits(images, batch_size):
            if isinstance(item, Exception):
                raise item
            logits.append(item)
        return self.set_target_cost_from_logits(logits, target_cost)

    def set_target_cost_from_logits(self, logits: Sequence[Tensor], target_cost: float) -> Budget:
        """As `set_target_cost`, for images of which `scale_logits` told the logits."""
        self._policy()
        stacked = torch.stack(list(logits)) if logits else torch.empty(0, len(self.scales))
        budget = choose_cost_bias(stacked, self.model.relative_cost.cpu(), target_cost)
        self.cost_bias = budget.cost_bias
        return budget

    def cost(self, result: SpottingResult) -> CostTable:
        """Multiply-adds that a result took, part by part, counting the selector and the words.

        The first image of a size takes a moment, about 0.1 s.
        """
        if self._cost is None:
            self._cost = cost_of(self.model)
        return self._cost.table(
            *result.input_size,
            num_regions=len(result),
            num_characters=decoding_steps([word.text for word in result]),
            scale=result.scale,
        )

    def _policy(self) -> DynamicScale:
        policy = self.model.policy if isinstance(self.model, DynamicSpotter) else None
        if not isinstance(policy, DynamicScale):
            raise ValueError(
                "this model has no resolution selector (it reads every image at one scale), so "
                "that neither a cost bias nor a target cost applies to it"
            )
        return policy

    def _prepare(self, image: ImageLike) -> dict[str, Any]:
        """What the model takes, and "name" for messages."""
        name = "the image"
        if isinstance(image, str | os.PathLike):
            name = os.fspath(image)
            image = read_image(name, "BGR")
        if not isinstance(image, np.ndarray):
            raise ValueError(f"an image must be a file name or an array, got {image!r}")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(
                f"an image must be a (H, W, 3) uint8 array in BGR, got {image.shape} {image.dtype}"
            )
        height, width = image.shape[:2]
        if self._image_format == "RGB":
            image = image[:, :, ::-1]
        aug_input = T.AugInput(image)
        self._augmentations(aug_input)
        image = image_to_tensor(aug_input.image)
        return {"image": image, "height": height, "width": width, "name": name}

    @torch.inference_mode()
    def _spot(self, inputs: list[dict[str, Any]]) -> list[SpottingResult]:
        keys = ("image", "height", "width")
        outputs = self.model([{key: item[key] for key in keys} for item in inputs])
        return [
            SpottingResult(
                words=words_of(output["instances"]),
                image_size=(item["height"], item["width"]),
                input_size=tuple(item["image"].shape[-2:]),
                scale=output.get("scale", 1.0),
                relative_cost=output.get("relative_cost", 1.0),
            )
            for item, output in zip(inputs, outputs, strict=True)
        ]

    @torch.inference_mode()
    def _logits(self, inputs: list[dict[str, Any]]) -> list[Tensor]:
        images, _ = self.model.spotter.preprocess([{"image": item["image"]} for item in inputs])
        return list(self._policy().logits(images).float().cpu())
