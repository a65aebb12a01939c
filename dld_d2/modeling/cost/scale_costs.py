"""The cost of each candidate scale, as a file that training reads."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dld_d2.modeling.cost.parts import Workload

__all__ = ["COUNTS", "ScaleCosts", "power_law_cost", "read_cost_table"]

COUNTS = ("published", "whole")
_KIND = "dld_d2 scale costs"
_VERSION = 1
_UNIT = "multiply-adds"
_REMEDY = "write it again with tools/flops.py --write-cost-table"
# Costs are whole numbers up to rounding of their means; people may shorten them.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class ScaleCosts:
    """Mean cost of a spotter's forward pass at several scales.

    Attributes:
        scales: each in (0, 1], all different.
        cost: multiply-adds at each scale.
        full_cost: multiply-adds at full resolution.
        counts: "published" (backbone, FPN and RPN head) or "whole".
        workload: what "whole" counts with; all 0 for "published".
        num_images: that the mean is over.
        config: name of the model's configuration; "" if not known.
        config_sha256: of all its keys and values, as text; "" if not known.

    Raises:
        ValueError: for scales and costs that are none.
    """

    scales: tuple[float, ...]
    cost: tuple[float, ...]
    full_cost: float
    counts: str = "published"
    workload: Workload = field(default_factory=Workload)
    num_images: int = 1
    config: str = ""
    config_sha256: str = ""

    def __post_init__(self) -> None:
        if not self.scales:
            raise ValueError("scales is empty; at least one is needed")
        for scale in self.scales:
            if not 0 < scale <= 1:
                raise ValueError(f"scales must be above 0 and at most 1, got {scale}")
        if len(set(self.scales)) != len(self.scales):
            raise ValueError(f"scales has one twice: {list(self.scales)}")
        if len(self.cost) != len(self.scales):
            raise ValueError(f"there are {len(self.scales)} scales but {len(self.cost)} costs")
        for cost in (*self.cost, self.full_cost):
            if not (math.isfinite(cost) and cost > 0):
                raise ValueError(f"costs must be positive and finite, got {cost}")
        if self.counts not in COUNTS:
            raise ValueError(f"counts must be one of {', '.join(COUNTS)}, got {self.counts!r}")

    @property
    def relative(self) -> tuple[float, ...]:
        """Cost at each scale as a fraction of the cost at full resolution."""
        return tuple(cost / self.full_cost for cost in self.cost)

    def relative_at(self, scales: Sequence[float]) -> list[float]:
        """Relative costs of these scales, in their order.

        Raises:
            ValueError: naming a scale that was not measured.
        """
        known = dict(zip((round(s, 6) for s in self.scales), self.relative, strict=True))
        missing = [scale for scale in scales if round(scale, 6) not in known]
        if missing:
            raise ValueError(
                f"scale {missing[0]} was not measured, only {', '.join(map(str, self.scales))}; "
                "measure it with tools/flops.py --scales"
            )
        return [known[round(scale, 6)] for scale in scales]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file."""
        content = {
            "kind": _KIND,
            "version": _VERSION,
            "unit": _UNIT,
            **asdict(self),
            "relative": self.relative,
        }
        Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ScaleCosts:
        """Read what `save` wrote.

        Raises:
            ValueError: naming the file, what is wrong in it and the remedy.
            FileNotFoundError: likewise, if there is no such file.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"cost table {os.fspath(path)!r} does not exist; {_REMEDY}"
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{path}: cannot be read as JSON ({error}); {_REMEDY}") from None
        try:
            return _from_json(content)
        except ValueError as error:
            raise ValueError(f"{path}: {error}; {_REMEDY}") from None


def read_cost_table(path: str | os.PathLike[str], scales: Sequence[float]) -> list[float]:
    """Relative costs of these scales from a file that `ScaleCosts.save` wrote.

    Raises:
        ValueError: naming the file, if it is no such file or lacks one of the scales.
        FileNotFoundError: if there is no such file.
    """
    costs = ScaleCosts.load(path)
    try:
        return costs.relative_at(scales)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def power_law_cost(scales: Sequence[float], exponent: float = 1.5) -> list[float]:
    """T_i = s_i ** exponent: the released code's stand-in for measured costs."""
    return [scale**exponent for scale in scales]


def _from_json(content: Any) -> ScaleCosts:
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise ValueError("is no cost table")
    for key, expected in (("version", _VERSION), ("unit", _UNIT)):
        if content.get(key) != expected:
            raise ValueError(f"{key} is {content.get(key)!r}, expected {expected!r}")
    workload = _get(content, "workload", dict)
    costs = ScaleCosts(
        scales=_numbers(content, "scales"),
        cost=_numbers(content, "cost"),
        full_cost=_get(content, "full_cost", float),
        counts=_get(content, "counts", str),
        workload=Workload(*(_get(workload, name, int) for name in Workload.__dataclass_fields__)),
        num_images=_get(content, "num_images", int),
        config=_get(content, "config", str),
        config_sha256=_get(content, "config_sha256", str),
    )
    stated = _numbers(content, "relative")
    if len(stated) != len(costs.relative) or not all(
        math.isclose(a, b, rel_tol=_TOLERANCE) for a, b in zip(stated, costs.relative, strict=True)
    ):
        raise ValueError("relative is not cost divided by full_cost")
    return costs


def _numbers(content: dict, key: str) -> tuple[float, ...]:
    values = _get(content, key, list)
    return tuple(_checked(value, f"{key}[{i}]", float) for i, value in enumerate(values))


def _get(content: dict, key: str, kind: type) -> Any:
    if key not in content:
        raise ValueError(f"{key} is missing")
    return _checked(content[key], key, kind)


def _checked(value: Any, name: str, kind: type) -> Any:
    allowed = (int, float) if kind is float else (kind,)
    if type(value) not in allowed:
        raise ValueError(f"{name} is {value!r}, expected a {kind.__name__}")
    return value
