"""Cost of a spotter at any input size and scale.

Sizes are those of the network's input before it is padded; each is traced as it is, so that
rounding and padding count exactly as they happen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.structures import ImageList
from torch import nn

from dld_d2.structures import scaled_size

from .cost_table import CostTable, PartCost, Workload, average_table
from .multiply_adds import module_cost, on_meta
from .spotter_parts import TracedSpotter, trace_spotter

__all__ = ["SpotterCost"]

Size = tuple[int, int]


class SpotterCost:
    """Measures a spotter, or a distiller's student together with its resolution selector.

    The model is only looked at: nothing is computed with it, and its weights are not copied. A
    padded size is traced once, in a fraction of a second, and remembered.

    Args:
        model: a spotter that `trace_spotter` knows, or a distiller, whose attributes are `student`,
            such a spotter, and `policy`, which chooses scales.
    """

    def __init__(self, model: nn.Module) -> None:
        policy = getattr(model, "policy", None)
        self._spotter = on_meta(getattr(model, "student", model))
        self._policy = None if policy is None else on_meta(policy)
        self._traced: dict[Size, TracedSpotter] = {}
        self._selecting: dict[Size, int] = {}

    def table(
        self,
        height: int,
        width: int,
        *,
        num_regions: int = 0,
        num_characters: int = 0,
        num_proposals: int | None = None,
        scale: float = 1.0,
    ) -> CostTable:
        """Cost of one image.

        Args:
            height, width: of the network's input at full resolution, before padding.
            num_regions: words that are found and read.
            num_characters: decoding steps per word, see `Workload`.
            num_proposals: None for as many as testing takes at most.
            scale: of the image that the spotter sees; what chooses it sees the full resolution.

        Raises:
            ValueError: for a size below 1 pixel, a scale outside (0, 1], a negative number.
            TypeError: for a spotter that `trace_spotter` does not know.
        """
        _check(height, width, scale)
        image = self._padded(scaled_size((height, width), scale)).tensor
        size = tuple(image.shape[-2:])
        if size not in self._traced:
            self._traced[size] = trace_spotter(self._spotter, image)
        traced = self._traced[size]
        if num_proposals is None:
            num_proposals = traced.max_proposals
        workload = Workload(num_proposals, num_regions, num_characters)
        return CostTable((*self._selector_part((height, width)), *traced.parts), workload, size)

    def average(self, sizes: Sequence[Size], **kwargs: Any) -> CostTable:
        """Mean over images of these full-resolution sizes; `**kwargs` as `table` takes them.

        Raises:
            ValueError: if there are no sizes, and as `table` does.
        """
        if not sizes:
            raise ValueError("there are no images to average the cost over")
        counts = Counter(tuple(size) for size in sizes)
        tables = [self.table(*size, **kwargs) for size in counts]
        return average_table(tables, list(counts.values()))

    def _padded(self, size: Size) -> ImageList:
        image = torch.empty(3, *size, device="meta")
        return self._spotter.preprocess([{"image": image}])[0]

    def _selector_part(self, size: Size) -> list[PartCost]:
        if self._policy is None:
            return []
        images = self._padded(size)
        padded = tuple(images.tensor.shape[-2:])
        if padded not in self._selecting:
            self._selecting[padded] = module_cost(self._policy.choose, images)
        return [PartCost("resolution selector", per_image=self._selecting[padded], selects=True)]


def _check(height: int, width: int, scale: float) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"an image has at least 1 x 1 pixels, got {height} x {width}")
    if not 0 < scale <= 1:
        raise ValueError(f"a scale must be above 0 and at most 1, got {scale}")
