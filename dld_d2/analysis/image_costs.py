"""What an evaluated model looked at, and what that cost, image by image and on average."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from dld_d2.modeling.cost.parts import PAPER_UNIT
from dld_d2.modeling.dynamic_spotter import DynamicSpotter, cost_of
from dld_d2.modeling.spotter_cost import SpotterCost
from dld_d2.modeling.spotters.contract import Spotter

__all__ = ["SeenImage", "decoding_steps", "image_costs", "mean_costs"]

# Tracing takes a moment per size, and a training evaluates its model on the same sizes many times.
_measured: MutableMapping[Spotter | DynamicSpotter, SpotterCost] = WeakKeyDictionary()


class SeenImage(NamedTuple):
    """What a model did with an image.

    Attributes:
        size: height and width of the network's input at full resolution before padding; None if
            not known.
        scale: that the model chose; None if it chooses none.
        relative_cost: of that scale, the full resolution's being 1; None likewise.
        num_words: found.
        num_steps: of decoding, see `decoding_steps`.
    """

    size: tuple[int, int] | None
    scale: float | None
    relative_cost: float | None
    num_words: int
    num_steps: int


def decoding_steps(texts: Sequence[str]) -> int:
    """Steps of reading an image's words, which are decoded together until the last has ended."""
    return max(map(len, texts), default=-1) + 1


def image_costs(
    images: Mapping[str, SeenImage], model: Spotter | DynamicSpotter | None
) -> dict[str, dict]:
    """What to report of each image, ready for JSON.

    Args:
        images: by name.
        model: what has seen them, if its multiply-adds are wanted.

    Returns:
        By name `scale` and `relative_cost` where the model chose; and in units of
        2^30 multiply-adds, where the model is given, `cost_published` (backbone, FPN and RPN
        head at the padded size, as the paper's FLOPs column counts), `cost_released` (that and the
        selector, as the authors' code counts) and `cost_whole` (everything, with the selector, and
        the heads for the words found). Each image counts as if it came
        alone, with the padding of its own size.
    """
    cost = None
    if model is not None:
        if model not in _measured:
            _measured[model] = cost_of(model)
        cost = _measured[model]
    return {name: _report(image, cost) for name, image in images.items()}


def _report(image: SeenImage, cost: SpotterCost | None) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if image.scale is not None:
        row |= {"scale": image.scale, "relative_cost": image.relative_cost}
    if cost is not None and image.size is not None:
        table = cost.table(
            *image.size,
            num_regions=image.num_words,
            num_characters=image.num_steps,
            scale=1.0 if image.scale is None else image.scale,
        )
        row["cost_published"] = table.published / PAPER_UNIT
        row["cost_released"] = table.released / PAPER_UNIT
        row["cost_whole"] = table.total / PAPER_UNIT
    return row


def mean_costs(rows: Iterable[Mapping[str, Any]], scales: Sequence[float] = ()) -> dict[str, float]:
    """Averages over images.

    Args:
        rows: what `image_costs` gives.
        scales: the candidates, so that those which no image got appear too.

    Returns:
        `mean_scale`, `mean_relative_cost`, `share_scale_<scale>`, `cost_published`,
        `cost_released` and `cost_whole`, those that all rows have.
    """
    rows = list(rows)
    metrics = {}

    def add(key: str, name: str) -> None:
        if rows and all(key in row for row in rows):
            metrics[name] = sum(float(row[key]) for row in rows) / len(rows)

    add("scale", "mean_scale")
    add("relative_cost", "mean_relative_cost")
    if "mean_scale" in metrics:
        chosen = [row["scale"] for row in rows]
        for scale in sorted({*scales, *chosen}):
            metrics[f"share_scale_{scale:g}"] = chosen.count(scale) / len(rows)
    add("cost_published", "cost_published")
    add("cost_released", "cost_released")
    add("cost_whole", "cost_whole")
    return metrics
