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

from dld_d2.modeling.cost.multiply_adds import module_cost, on_meta
from dld_d2.modeling.cost.parts import CostTable, PartCost, Workload, average_table
from dld_d2.modeling.selection.policies import ScalePolicy
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.structures.sizes import scaled_size

__all__ = ["SpotterCost"]

Size = tuple[int, int]


class SpotterCost:
    """Measures a spotter, with what chooses its scale if that is given.

    The model is only looked at: nothing is computed with it, and its weights are not copied. A
    padded size is traced once, in a fraction of a second, and remembered.

    Args:
        spotter: what is measured.
        policy: what chooses its scale, looking at the full resolution.
    """

    def __init__(self, spotter: Spotter, policy: ScalePolicy | None = None) -> None:
        self._spotter = on_meta(spotter)
        self._policy = None if policy is None else on_meta(policy)
        self._per_image: dict[Size, list[PartCost]] = {}
        self._per_region: list[PartCost] | None = None
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
        """
        _check(height, width, scale)
        image = self._padded(scaled_size((height, width), scale)).tensor
        size = tuple(image.shape[-2:])
        if size not in self._per_image:
            self._per_image[size] = self._spotter.image_cost(image)
        if self._per_region is None:
            self._per_region = self._spotter.region_cost()
        if num_proposals is None:
            num_proposals = self._spotter.max_proposals
        parts = (
            *self._selector_part((height, width)),
            *self._per_image[size],
            *self._per_region,
        )
        return CostTable(parts, Workload(num_proposals, num_regions, num_characters), size)

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
        return self._spotter.batch([torch.empty(3, *size, device="meta")])

    def _selector_part(self, size: Size) -> list[PartCost]:
        if self._policy is None:
            return []
        images = self._padded(size)
        padded = tuple(images.tensor.shape[-2:])
        if padded not in self._selecting:
            self._selecting[padded] = module_cost(self._policy.logits, images)
        return [PartCost("resolution selector", per_image=self._selecting[padded], selects=True)]


def _check(height: int, width: int, scale: float) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"an image has at least 1 x 1 pixels, got {height} x {width}")
    if not 0 < scale <= 1:
        raise ValueError(f"a scale must be above 0 and at most 1, got {scale}")
