"""The paper's Table 8 in miniature: spotters of several kinds, each against itself alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from rich.table import Table

from table_reproduction.measured import (
    Measured,
    compare,
    detection_alone,
    scored,
    vanilla_at_cost,
)
from table_reproduction.rows import FIXED_SCALES, ROWS, TEACHER, TEXT_PERCEPTRON, Row
from table_reproduction.table import some_columns

__all__ = ["TABLES", "Table8", "table8_cells", "table8_effects", "table8_rich"]

_HEADER = (
    *("row", "detection", "regions read", "E2E none", "E2E strong", "E2E weak"),
    *("GFLOPs", "all parts", "ms", "mean scale"),
)
_SCORES = {"det": "detection", "e2e_none": "none", "e2e_strong": "strong", "e2e_weak": "weak"}
_BY_NAME = {row.name: row for row in ROWS}


@dataclass(frozen=True)
class Table8:
    """One spotter's part of the table.

    Attributes:
        network: what reads all images at one scale: the "teacher", or the "student" of the first
            gamma, without its selector.
        fixed: scale -> name of the row at that scale, the full resolution first.
        dld: gamma -> name of the student's row.
        own: name of the row of the first student's network at full resolution.
    """

    network: str
    fixed: Mapping[float, str]
    dld: Mapping[float, str]
    own: str

    @property
    def titles(self) -> dict[str, str]:
        """Name of a row -> its title, in the table's order."""
        titles = {name: f"{self.network} at {scale:g}" for scale, name in self.fixed.items()}
        titles |= {name: f"DLD, gamma {gamma:g}" for gamma, name in self.dld.items()}
        return titles | {self.own: titles.get(self.own, "student at 1")}

    @property
    def rows(self) -> list[Row]:
        return [_BY_NAME[name] for name in self.titles]


TABLES = {
    "mask_rcnn": Table8(
        "teacher",
        {1.0: TEACHER} | {s: "vanilla_l" if s == 0.5 else f"vanilla_{s:g}" for s in FIXED_SCALES},
        {0.1: "dld", 0.3: "dld_gamma0.3"},
        "dld_at_1",
    ),
    "text_perceptron": Table8(
        "student",
        {s: f"text_perceptron_{s:g}" for s in (1.0, *FIXED_SCALES)},
        {0.1: TEXT_PERCEPTRON, 0.3: f"{TEXT_PERCEPTRON}_gamma0.3"},
        "text_perceptron_1",
    ),
}
"""By what the spotter is called on the command line."""


def table8_cells(
    table: Table8, measured: Mapping[str, Measured], milliseconds: Mapping[str, float]
) -> tuple[tuple[str, ...], list[list[str]]]:
    """Header and cells of the rows that were measured: hmeans and the share of ground-truth regions
    that is read, in % with their 95% intervals; mean 2^30 multiply-adds of what the paper counts
    and of all parts; milliseconds per image; mean scale. What is not known is "-"."""
    lines = []
    for name, title in table.titles.items():
        if name not in measured:
            continue
        found = measured[name]
        detection, *read = (scored(_counts(found, score)) for score in _SCORES)
        lines.append(
            [
                title,
                *(_percent(score) for score in (detection, found.regions_read(), *read)),
                f"{found.published_cost.mean():.2f}",
                f"{found.cost.mean():.2f}",
                f"{milliseconds[name]:.0f}" if name in milliseconds else "-",
                f"{found.scale.mean():.2f}",
            ]
        )
    return _HEADER, lines


def table8_rich(header: tuple[str, ...], lines: list[list[str]]) -> list[Table]:
    """The columns in three tables, each of which fits a terminal of 80 characters."""
    return [
        some_columns("Finding, and reading of known regions, %", header, lines, (1, 2)),
        some_columns("End-to-end hmean, %", header, lines, (3, 4, 5), prefix="E2E "),
        some_columns("Cost: 2^30 multiply-adds, ms per image, scale", header, lines, (6, 7, 8, 9)),
    ]


def table8_effects(table: Table8, measured: Mapping[str, Measured]) -> list[str]:
    """Sentences that compare students with full resolution, with one scale for all images at equal
    cost, and with one another, each on the same images; of the rows that there are."""
    lines = []
    fixed = {name: measured[name] for name in table.fixed.values() if name in measured}
    first = next(iter(table.dld))
    for gamma, name in table.dld.items():
        if name not in measured:
            continue
        student = measured[name]
        full = {table.fixed[1.0]} | ({table.own} if gamma == first else set())
        for other in sorted(full & set(measured), reverse=True):
            lines.append(_over_full(gamma, student, measured[other], table.titles[other]))
        lines += _at_equal_cost(table, gamma, student, fixed)
    students = [(gamma, measured[n]) for gamma, n in table.dld.items() if n in measured]
    for (gamma, one), (higher, other) in pairwise(students):
        share = 100 * (other.cost.mean() / one.cost.mean() - 1)
        lines.append(
            f"DLD, gamma {higher:g}, over gamma {gamma:g}, for {share:+.1f}% of all multiply-adds: "
            + _differences(other, one)
        )
    return lines


def _over_full(gamma: float, student: Measured, full: Measured, title: str) -> str:
    whole = student.cost.mean() / full.cost.mean()
    published = student.published_cost.mean() / full.published_cost.mean()
    return (
        f"DLD, gamma {gamma:g}, over {title}, for {100 * whole:.0f}% of all multiply-adds "
        f"({100 * published:.0f}% as the paper counts): {_differences(student, full)}"
    )


def _at_equal_cost(
    table: Table8, gamma: float, student: Measured, fixed: Mapping[str, Measured]
) -> list[str]:
    """How a student reads beside the best mixture of two scales that costs as much, if there is
    one. Another mixture may be best with another lexicon."""
    cost = student.cost.mean()
    scales = {name: f"{scale:g}" for scale, name in table.fixed.items()}
    parts = []
    for score in [s for s in _SCORES if s != "det"]:
        same = vanilla_at_cost(fixed, cost, score)
        if same is not None:
            counts, low, high = same
            difference = _difference(student.counts[score], counts)
            parts.append(f"{_SCORES[score]} {difference} (of {scales[low]} and {scales[high]})")
    text = f"DLD, gamma {gamma:g}, over one scale for all images at its cost ({cost:.2f}): "
    return [text + ", ".join(parts)] if parts else []


def _differences(one: Measured, other: Measured) -> str:
    return ", ".join(
        f"{title} {_difference(_counts(one, score), _counts(other, score))}"
        for score, title in _SCORES.items()
    )


def _difference(one: np.ndarray, other: np.ndarray) -> str:
    value, low, high = (100 * v for v in compare(one, other))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def _counts(found: Measured, score: str) -> np.ndarray:
    return detection_alone(found.counts["e2e_none"]) if score == "det" else found.counts[score]


def _percent(score: tuple[float, float, float] | None) -> str:
    if score is None:
        return "-"
    value, low, high = (100 * v for v in score)
    return f"{value:.1f} ({low:.1f}-{high:.1f})"
