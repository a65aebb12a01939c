"""What it costs to run a spotter: on an image, on average over a set, at each scale.

Costs are multiply-adds as `dld_d2.analysis.multiply_adds.module_cost` counts them. Sizes are
height and width of the network's input at full resolution before it is padded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from detectron2.data.transforms import ResizeShortestEdge
from torch import nn

from .cost_table import CostTable, Workload
from .scale_costs import ScaleCosts, read_cost_table

if TYPE_CHECKING:
    from .spotter_cost import SpotterCost

__all__ = [
    "average_cost",
    "full_resolution_sizes",
    "measure_cost",
    "measure_scale_costs",
    "read_cost_table",
    "scale_cost_table",
]

Size = tuple[int, int]


def full_resolution_sizes(
    image_sizes: Iterable[Size], short_side: int, max_size: int
) -> list[Size]:
    """Sizes of images after the resizing that testing does, before padding.

    Args:
        image_sizes: height and width of images in pixels.
        short_side: `INPUT.MIN_SIZE_TEST`; 0 leaves images as they are.
        max_size: `INPUT.MAX_SIZE_TEST`, which the long side does not exceed.
    """
    if short_side == 0:
        return [tuple(size) for size in image_sizes]
    return [
        ResizeShortestEdge.get_output_shape(*size, short_side, max_size) for size in image_sizes
    ]


def _spotter_cost(model: nn.Module | SpotterCost) -> SpotterCost:
    # A distiller measures its student when it is built, so that models import this module; it must
    # not import them in turn until it is used.
    from .spotter_cost import SpotterCost

    return model if isinstance(model, SpotterCost) else SpotterCost(model)


def measure_cost(
    model: nn.Module | SpotterCost,
    height: int,
    width: int,
    num_regions: int = 0,
    num_characters: int = 0,
    **kwargs: Any,
) -> CostTable:
    """Cost of one image, part by part; see `SpotterCost.table`.

    To measure a model more than once, make a `SpotterCost` of it, which remembers sizes.
    """
    return _spotter_cost(model).table(
        height, width, num_regions=num_regions, num_characters=num_characters, **kwargs
    )


def average_cost(model: nn.Module | SpotterCost, sizes: Sequence[Size], **kwargs: Any) -> CostTable:
    """Mean over images, part by part.

    Args:
        model: see `SpotterCost`.
        sizes: of the network's input; `full_resolution_sizes` makes them of images' sizes.
        **kwargs: see `SpotterCost.table`.
    """
    return _spotter_cost(model).average(sizes, **kwargs)


def measure_scale_costs(
    model: nn.Module | SpotterCost,
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
        model: see `SpotterCost`.
        sizes: height and width of the network's input at full resolution, one per image.
        scales: in (0, 1].
        counts: "published", the parts in the paper's FLOPs column, or "whole", everything.
        config, config_sha256: of the model, to be remembered.
        **kwargs: the numbers that "whole" counts with, see `SpotterCost.table`.

    Raises:
        ValueError: for no images, no scales or invalid ones, and another `counts`.
    """
    cost = _spotter_cost(model)

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


def scale_cost_table(
    model: nn.Module | SpotterCost, sizes: Sequence[Size], scales: Sequence[float], **kwargs: Any
) -> list[float]:
    """Mean cost of the forward pass at each scale as a fraction of full resolution's.

    These are the T_i of the paper's L_flops. Arguments as `measure_scale_costs` takes them.
    """
    return list(measure_scale_costs(model, sizes, scales, **kwargs).relative)
