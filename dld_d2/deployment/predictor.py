"""Read the words of photographs with a trained model.

from dld_d2.deployment import TextSpotter
spotter = TextSpotter.from_file("student.pth")
words = spotter("photo.jpg")
"""

from __future__ import annotations

import os
from collections import deque
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
from dld_d2.data.augmentation import TooThinError, build_augmentations
from dld_d2.data.images import ImageLike, as_bgr, describe_image
from dld_d2.data.mapper import image_to_tensor
from dld_d2.deployment.batches import check_several, run_in_batches
from dld_d2.deployment.budget import Budget, choose_cost_bias
from dld_d2.deployment.model_file import load_spotter
from dld_d2.deployment.pretrained import DEFAULT, weights_file
from dld_d2.deployment.result import SpottingResult, Tile, words_of
from dld_d2.deployment.scale_prior import check_scale_prior
from dld_d2.deployment.tiles import Box, check_tiles, merge_tiles, tile_boxes, tile_side
from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.modeling.cost.parts import CostTable, PartCost, Workload
from dld_d2.modeling.dynamic_spotter import DynamicSpotter, cost_of
from dld_d2.modeling.selection.policies import DynamicScale
from dld_d2.modeling.spotter_cost import SpotterCost
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.structures.word import Word

__all__ = ["ImageLike", "SpottingResult", "TextSpotter", "Word"]


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
        tiles: int | str | None = None,
        model: Spotter | DynamicSpotter | None = None,
    ) -> None:
        """
        Args:
            cfg: a whole configuration, as `dld_d2.engine.setup.setup_cfg` gives it. The size to
                which images are scaled comes from `INPUT.MIN_SIZE_TEST` and `INPUT.MAX_SIZE_TEST`.
            cost_bias: see the property; None leaves it as configured.
            tiles: see the property.
            model: the configured model with its weights, if there is one; else it is built, with
                the weights `MODEL.WEIGHTS`.

        Raises:
            ValueError: if `MODEL.WEIGHTS` is empty or not weights of this model, and as `cost_bias`
                and `tiles` do.
            FileNotFoundError: if there is no such file.
        """
        if model is None and not cfg.MODEL.WEIGHTS:
            raise ValueError(
                "MODEL.WEIGHTS is empty: name the file with the trained weights, in the config "
                "file or by the override `MODEL.WEIGHTS FILE`"
            )
        self.tiles = tiles
        self._augmentations = T.AugmentationList(build_augmentations(cfg, is_train=False))
        self._sizes = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
        self._image_format = cfg.INPUT.FORMAT
        if model is None:
            model = build_model(cfg)
            SpotterCheckpointer(model).load_exactly(cfg.MODEL.WEIGHTS, checkpointables=[])
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
        tiles: int | str | None = None,
        opts: Sequence[str] = (),
    ) -> TextSpotter:
        """Load what tools/export_student.py made. Nothing but the file is needed.

        Args:
            path: the file.
            device: such as "cuda:1" or "cpu"; None for `MODEL.DEVICE` as trained, or the CPU where
                there is no GPU.
            cost_bias: see the property; None leaves it as exported.
            tiles: see the property.
            opts: overrides of the configuration as alternating keys and values.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not such a file, for invalid overrides, and as `cost_bias` and
                `tiles` do.
        """
        opts = [*opts, *(("MODEL.DEVICE", device) if device else ())]
        cfg, model = load_spotter(path, opts)
        return cls(cfg, cost_bias=cost_bias, tiles=tiles, model=model)

    @classmethod
    def pretrained(cls, name: str = DEFAULT, **kwargs: Any) -> TextSpotter:
        """Load one of the models that come with this package.

        Args:
            name: as `dld_d2.deployment.pretrained.names()` lists them, such as "tiny_dld"; the one
                that is meant for reading photographs if none is given.
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
    def score_threshold(self) -> float:
        """The least detection score of words that are found, in [0, 1]; as configured until set."""
        return self._spotter.score_threshold

    @score_threshold.setter
    def score_threshold(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"a detection score is in [0, 1], and so is its threshold: {value}")
        self._spotter.score_threshold = float(value)

    @property
    def _spotter(self) -> Spotter:
        return self.model.spotter if isinstance(self.model, DynamicSpotter) else self.model

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

    @property
    def scale_prior(self) -> np.ndarray | None:
        """What is known of the scales before an image is looked at, (k,) float32: added to the
        selector's logits, so that they are log probabilities but for a constant. None for nothing.

        Raises:
            ValueError: if the model does not choose scales by a selector, or on setting another
                number of values, or such as are not finite.
        """
        return self._policy().prior

    @scale_prior.setter
    def scale_prior(self, value: np.ndarray | None) -> None:
        self._policy().prior = check_scale_prior(value, len(self.scales))

    @property
    def tiles(self) -> int | str | None:
        """Whether large images are read in tiles.

        - None: every image is read as a whole, scaled to the configured size.
        - "auto": images that would be read at less than half their size are also cut into tiles
          that are read at half of it or more.
        - a number: images that are longer than that are also cut into tiles of that side, in
          pixels.

        Tiles overlap by a quarter of their side, and each is read like an image of its own, at a
        scale of its own. The image is read as a whole, too, for words that are larger than a tile.
        Of what several of them found one is kept, and pieces of words, at the border of a tile,
        only where nothing else was found. All that multiplies the cost.

        Raises:
            ValueError: on setting what is none of the three; a side is at least 64.
        """
        return self._tiles

    @tiles.setter
    def tiles(self, value: int | str | None) -> None:
        self._tiles = check_tiles(value)

    def __call__(self, image: ImageLike) -> SpottingResult:
        """Read an image.

        Args:
            image: a file, what it holds as bytes, a Pillow image, or an array of uint8 or uint16:
                (H, W, 3) in BGR, (H, W, 4) in BGRA, (H, W) or (H, W, 1) in gray. See
                `dld_d2.data.images.as_bgr` for what becomes of them.

        Raises:
            OSError: naming the file, if it cannot be read as an image.
            ValueError: for an array of another shape or type, for anything else, and for an image
                that is so long and thin that nothing is left of its short side.
            TypeError: for several images.
        """
        if isinstance(image, list | tuple):
            raise TypeError(
                f"one image is read at a time, got a {describe_image(image)}; `predict_many` reads "
                "several"
            )
        boxes: deque[list[Box]] = deque()
        results = [result for item in self._inputs([image], boxes) for result in self._spot([item])]
        return _together(boxes.pop(), results)

    def predict_many(
        self, images: Iterable[ImageLike], batch_size: int = 8
    ) -> Iterator[SpottingResult | Exception]:
        """Read images in batches of similar sizes; those of equal scale run together.

        Args:
            images: each as `__call__` takes it; they are read as results are asked for.
            batch_size: images, or tiles of them, that run at once, at most.

        Yields:
            For each image in order its result, or, for one that cannot be read, is no image, or
            does not fit into the device's memory even alone, the OSError, ValueError or MemoryError
            that says so. What a word at an image's border is read as may depend, by the padding, on
            the other images of its batch.

        Raises:
            ValueError: for a batch size below 1.
            TypeError: for a single image.
        """
        check_several(images)
        boxes: deque[list[Box]] = deque()
        inputs = self._inputs(iter(images), boxes, keep_errors=True)
        return _all_together(boxes, run_in_batches(self._spot, _or_raise, inputs, batch_size))

    def scale_logits(
        self, images: Iterable[ImageLike], batch_size: int = 8
    ) -> Iterator[Tensor | Exception]:
        """What the selector thinks of each image's scales, without a cost bias; nothing is read.

        Images are looked at as a whole, whatever `tiles` is.

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
        """Set `cost_bias` such that these images, read as a whole, together cost what is wanted.

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

        The first image of a size takes a moment, about 0.1 s. Of an image that was read in tiles it
        is the sum over these, which is all in the parts' `per_image`.
        """
        if self._cost is None:
            self._cost = cost_of(self.model)
        if result.tiles:
            return _sum_of([self.cost(tile.result) for tile in result.tiles])
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

    def _inputs(
        self, images: Iterable[ImageLike], boxes: deque[list[Box]], *, keep_errors: bool = False
    ) -> Iterator[dict[str, Any] | Exception]:
        """What the model takes for each image: one item, or more if it is read in tiles.

        Args:
            images: as `__call__` takes them.
            boxes: gets, for each image, what part of it each item is.
            keep_errors: put an exception in the place of an image that cannot be read.
        """
        for image in images:
            try:
                name, array = describe_image(image), as_bgr(image)
            except (OSError, ValueError) as error:
                if not keep_errors:
                    raise
                boxes.append([(0, 0, 0, 0)])
                yield error
                continue
            height, width = array.shape[:2]
            parts = [(0, 0, width, height)]
            side = tile_side(height, width, self.tiles, *self._sizes)
            if side is not None:
                parts += tile_boxes(height, width, side)
            boxes.append(parts)
            for x0, y0, x1, y1 in parts:
                try:
                    item = self._input(array[y0:y1, x0:x1], name)
                except TooThinError as error:
                    if not keep_errors:
                        raise
                    item = error
                yield item

    def _prepare(self, image: ImageLike) -> dict[str, Any]:
        return self._input(as_bgr(image), describe_image(image))

    def _input(self, image: np.ndarray, name: str) -> dict[str, Any]:
        """What the model takes for an image in BGR, and "name" for messages."""
        height, width = image.shape[:2]
        if self._image_format == "RGB":
            image = image[:, :, ::-1]
        aug_input = T.AugInput(image)
        try:
            self._augmentations(aug_input)
        except TooThinError as error:
            raise TooThinError(f"{name}: {error}") from None
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


def _or_raise(item: dict[str, Any] | Exception) -> dict[str, Any]:
    if isinstance(item, Exception):
        raise item
    return item


def _all_together(
    boxes: deque[list[Box]], results: Iterator[SpottingResult | Exception]
) -> Iterator[SpottingResult | Exception]:
    """One result for each image, of those of its parts; see `TextSpotter._inputs`."""
    found: list[SpottingResult | Exception] = []
    for result in results:
        found.append(result)
        if len(found) == len(boxes[0]):
            error = next((item for item in found if isinstance(item, Exception)), None)
            yield error or _together(boxes[0], found)
            boxes.popleft()
            found = []


def _together(boxes: Sequence[Box], results: Sequence[SpottingResult]) -> SpottingResult:
    """The result of an image: the first is of all of it, the others are of its tiles."""
    if len(results) == 1:
        return results[0]
    return merge_tiles(
        results[0].image_size, [Tile(*pair) for pair in zip(boxes, results, strict=True)]
    )


def _sum_of(tables: Sequence[CostTable]) -> CostTable:
    parts = (
        PartCost(
            part.name,
            per_image=sum(table.parts[i].total(table.workload) for table in tables),
            published=part.published,
            selects=part.selects,
        )
        for i, part in enumerate(tables[0].parts)
    )
    return CostTable(tuple(parts), Workload())
