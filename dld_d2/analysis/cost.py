"""What it costs to run a model: on average over a set, and at each scale.

Costs are multiply-adds as `dld_d2.modeling.cost.multiply_adds.module_cost` counts them. Sizes are
height and width of the network's input at full resolution before it is padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dld_d2.modeling.cost.parts import CostTable, Workload
from dld_d2.modeling.cost.scale_costs import ScaleCosts
from dld_d2.modeling.spotter_cost import SpotterCost

__all__ = ["measure_scale_costs"]

Size = tuple[int, int]


def measure_scale_costs(
    cost: SpotterCost,
    sizes: Sequence[Size],
    scales: Sequence[float],
    *,
    counts: str = "published",
    config: str = "",
    config_sha256: str = "",
    **kwargs: Any,
) -> ScaleCosts:
    """Mean cost of the spotter's forward pass at each scale.

    What a selector costs is not in it, since that is paid whatever it chooses.

    Args:
        cost: of the model.
        sizes: height and width of the network's input at full resolution, one per image.
        scales: in (0, 1].
        counts: "published", the parts in the paper's FLOPs column, or "whole", everything.
        config, config_sha256: of the model, to be remembered.
        **kwargs: the numbers that "whole" counts with, see `SpotterCost.table`.

    Raises:
        ValueError: for no images, no scales or invalid ones, and another `counts`.
    """

    def counted(table: CostTable) -> float:
        return table.published if counts == "published" else table.spotter

    full = cost.average(sizes, **kwargs)
    return ScaleCosts(
        scales=tuple(scales),
        cost=tuple(counted(cost.average(sizes, scale=scale, **kwargs)) for scale in scales),
        full_cost=counted(full),
        counts=counts,
        workload=full.workload if counts == "whole" else Workload(),
        num_images=len(sizes),
        config=config,
        config_sha256=config_sha256,
    )
