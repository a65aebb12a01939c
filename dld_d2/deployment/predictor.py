"""Read the words of photographs with a trained model.

from dld_d2.deployment import TextSpotter
spotter = TextSpotter.from_file("student.pth")
words = spotter("photo.jpg")
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor

from dld_d2.analysis.image_costs import decoding_steps
from dld_d2.data.images import ImageLike
from dld_d2.deployment.image_reader import ImageReader, check_score_threshold
from dld_d2.deployment.model_file import load_spotter
from dld_d2.deployment.parts import Looks
from dld_d2.deployment.pretrained import DEFAULT, focus_file, weights_file
from dld_d2.deployment.result import SpottingResult, words_of
from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.modeling.cost.parts import CostTable, PartCost, Workload
from dld_d2.modeling.dynamic_spotter import DynamicSpotter, cost_of
from dld_d2.modeling.selection.policies import DynamicScale
from dld_d2.modeling.spotter_cost import SpotterCost
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.structures.word import Word

__all__ = ["ImageLike", "SpottingResult", "TextSpotter", "Word"]


class TextSpotter(ImageReader):
    """Finds and transcribes the words of images.

        spotter = TextSpotter.from_file("student.pth")
        for word in spotter("photograph.jpg"):
            print(word.text)

    Attributes:
        model: the model in evaluation mode, on `MODEL.DEVICE`.
    """

    out_of_memory = torch.cuda.OutOfMemoryError

    def __init__(
        self,
        cfg: CfgNode,
        *,
        cost_bias: float | None = None,
        tiles: int | str | None = None,
        focus: Looks | None = None,
        model: Spotter | DynamicSpotter | None = None,
    ) -> None:
        """
        Args:
            cfg: a whole configuration, as `dld_d2.engine.setup.setup_cfg` gives it. The size to
                which images are scaled comes from `INPUT.MIN_SIZE_TEST` and `INPUT.MAX_SIZE_TEST`.
            cost_bias: see the property; None leaves it as configured.
            tiles: see the property.
            focus: see the property.
            model: the configured model with its weights, if there is one; else it is built, with
                the weights `MODEL.WEIGHTS`.

        Raises:
            ValueError: if `MODEL.WEIGHTS` is empty or not weights of this model, and as
                `cost_bias`, `tiles` and `focus` do.
            FileNotFoundError: if there is no such file.
        """
        if model is None and not cfg.MODEL.WEIGHTS:
            raise ValueError(
                "MODEL.WEIGHTS is empty: name the file with the trained weights, in the config "
                "file or by the override `MODEL.WEIGHTS FILE`"
            )
        super().__init__(
            (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST), cfg.INPUT.FORMAT, tiles, focus
        )
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
        focus: Looks | None = None,
        opts: Sequence[str] = (),
    ) -> TextSpotter:
        """Load what tools/export_student.py made. Nothing but the file is needed.

        Args:
            path: the file.
            device: such as "cuda:1" or "cpu"; None for `MODEL.DEVICE` as trained, or the CPU where
                there is no GPU.
            cost_bias: see the property; None leaves it as exported.
            tiles: see the property.
            focus: see the property.
            opts: overrides of the configuration as alternating keys and values.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not such a file, for invalid overrides, and as `cost_bias`,
                `tiles` and `focus` do.
        """
        opts = [*opts, *(("MODEL.DEVICE", device) if device else ())]
        cfg, model = load_spotter(path, opts)
        return cls(cfg, cost_bias=cost_bias, tiles=tiles, focus=focus, model=model)

    @classmethod
    def pretrained(cls, name: str = DEFAULT, **kwargs: Any) -> TextSpotter:
        """Load one of the models that come with this package.

        Args:
            name: as `dld_d2.deployment.pretrained.names()` lists them, such as "tiny_dld"; the one
                that is meant for reading photographs if none is given. One that looks first does
                so by its `focus`, unless another one, None or `tiles` are given.
            kwargs: as for `from_file`.

        Raises:
            ValueError: if there is no such model, and as `from_file`.
        """
        file = focus_file(name)
        if file is not None and kwargs.get("tiles") is None and "focus" not in kwargs:
            # ONNX Runtime, which other models do without.
            from dld_d2.deployment.runtime.focus import Focus

            kwargs["focus"] = Focus(file)
        return cls.from_file(weights_file(name), **kwargs)

    @property
    def scales(self) -> tuple[float, ...]:
        return self.model.scales if isinstance(self.model, DynamicSpotter) else (1.0,)

    @property
    def score_threshold(self) -> float:
        return self._spotter.score_threshold

    @score_threshold.setter
    def score_threshold(self, value: float) -> None:
        self._spotter.score_threshold = check_score_threshold(value)

    @property
    def _spotter(self) -> Spotter:
        return self.model.spotter if isinstance(self.model, DynamicSpotter) else self.model

    def cost(self, result: SpottingResult) -> CostTable:
        """Multiply-adds that a result took, part by part, counting the selector and the words.

        The first image of a size takes a moment, about 0.1 s. Of an image that was read in tiles or
        chips it is the sum over these, which is all in the parts' `per_image`; where there is a
        `focus`, its look is a part of its own.
        """
        if self._cost is None:
            self._cost = cost_of(self.model)
        if not (result.tiles or result.focused):
            return self._table(result)
        tables = [self._table(tile.result) for tile in result.tiles]
        looked = result.focused and self.focus is not None
        looks = self.focus.multiply_adds(result.input_size) if looked else 0
        return _sum_of(tables, self._table(result), looks)

    def _table(self, result: SpottingResult) -> CostTable:
        """Of an image, or a part of one, that was read as a whole."""
        return self._cost.table(
            *result.input_size,
            num_regions=len(result),
            num_characters=decoding_steps([word.text for word in result]),
            scale=result.scale,
        )

    def _selector_policy(self) -> DynamicScale | None:
        policy = self.model.policy if isinstance(self.model, DynamicSpotter) else None
        return policy if isinstance(policy, DynamicScale) else None

    def _relative_cost(self) -> np.ndarray:
        return self.model.relative_cost.cpu().numpy()

    @torch.inference_mode()
    def _spot(self, inputs: list[dict[str, Any]]) -> list[SpottingResult]:
        outputs = self.model(
            [
                {"image": _tensor(item), "height": item["height"], "width": item["width"]}
                for item in inputs
            ]
        )
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
        images, _ = self.model.spotter.preprocess([{"image": _tensor(item)} for item in inputs])
        return list(self._policy().logits(images).float().cpu())


def _tensor(item: dict[str, Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(item["image"]))


def _sum_of(tables: Sequence[CostTable], form: CostTable, looks: float) -> CostTable:
    """The sum of tables of the same parts, those of `form`, and a look before them, if any."""
    parts = [
        PartCost(
            part.name,
            per_image=sum(table.parts[i].total(table.workload) for table in tables),
            published=part.published,
            selects=part.selects,
        )
        for i, part in enumerate(form.parts)
    ]
    if looks:
        parts.append(PartCost("focus", per_image=looks, selects=True))
    return CostTable(tuple(parts), Workload())
