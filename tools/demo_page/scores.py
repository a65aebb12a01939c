"""From readings to the figures of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from demo_page.measure import Model, Reading, Scene, Sweep, by_regime
from dld_d2.deployment.budget import choose_cost_bias
from dld_d2.evaluation import ImageLexicons, Lexicon, Report, evaluate
from dld_d2.evaluation.protocol import Counts, rates
from dld_d2.modeling.selection.selector import select
from dld_d2.structures.word import Word

__all__ = ["CurvePoint", "RegimeRow", "Row", "fixed_scales", "hmean", "score", "slide", "table_row"]

BOOTSTRAP = 1000


@dataclass(frozen=True)
class RegimeRow:
    """A model on the scenes of one word-size regime.

    Attributes:
        e2e: end-to-end hmean without lexicon.
        scales: that the scenes were read at.
    """

    e2e: float
    scales: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """A model's figures. Scores are fractions of 1, costs in 2^30 multiply-adds per image.

    Attributes:
        model: whose.
        mean_scale: of the scenes' sides.
        published, whole: mean cost as the paper counts, and of everything.
        milliseconds: median per image.
        det: hmean of detection.
        e2e, ws: hmean of end-to-end and of word spotting, by lexicon.
        interval: of `e2e["none"]`, 95%, by the bootstrap over images.
        regimes: by name.
        counts: (I, 5), of each image, end-to-end without lexicon, as `spotting_difference` takes
            them.
    """

    model: Model
    mean_scale: float
    published: float
    whole: float
    milliseconds: float
    det: float
    e2e: dict[str, float]
    ws: dict[str, float]
    interval: tuple[float, float]
    regimes: dict[str, RegimeRow]
    counts: np.ndarray = field(compare=False)


@dataclass(frozen=True)
class CurvePoint:
    """Mean cost (2^30 multiply-adds, as the paper counts) and end-to-end hmean of a student.

    Attributes:
        setting: the cost bias, or the scale, that gives them.
    """

    cost: float
    e2e: float
    setting: float


def score(
    scenes: Sequence[Scene],
    readings: Sequence[Reading],
    lexicons: Mapping[str, Lexicon | ImageLexicons | None] | None = None,
    *,
    bootstrap: int = 0,
) -> Report:
    """By the ICDAR protocol; without lexicons, as "none" alone."""
    truth = {scene.image_id: scene.truth for scene in scenes}
    found = {
        scene.image_id: [Word(word.polygon, word.text) for word in reading.words]
        for scene, reading in zip(scenes, readings, strict=True)
    }
    return evaluate(truth, found, lexicons=lexicons, bootstrap=bootstrap)


def table_row(
    model: Model,
    scenes: Sequence[Scene],
    readings: Sequence[Reading],
    lexicons: Mapping[str, Lexicon | ImageLexicons | None],
) -> Row:
    """Score a model with all lexicons, one of which is "none"."""
    report = score(scenes, readings, lexicons, bootstrap=BOOTSTRAP)
    plain = report.case("end_to_end", "none")
    low, high = plain.intervals["spot_hmean"]
    regimes = {
        regime: RegimeRow(hmean(plain.image_counts[at]), tuple(readings[i].scale for i in at))
        for regime, at in by_regime(scenes).items()
    }
    return Row(
        model,
        float(np.mean([reading.scale for reading in readings])),
        float(np.mean([reading.published for reading in readings])),
        float(np.mean([reading.whole for reading in readings])),
        1000 * float(np.median([reading.seconds for reading in readings])),
        plain.detection.hmean,
        {name: report.case("end_to_end", name).spotting.hmean for name in lexicons},
        {name: report.case("word_spotting", name).spotting.hmean for name in lexicons},
        (low, high),
        regimes,
        plain.image_counts,
    )


def hmean(counts: np.ndarray) -> float:
    """Of finding and reading, over the rows of (I, 5) counts as `Case.image_counts` has them."""
    total = Counts(*counts.sum(axis=0))
    return float(rates(total.num_correct, total.num_gt_care, total.num_det_care).hmean)


def fixed_scales(scenes: Sequence[Scene], sweep: Sweep) -> list[CurvePoint]:
    """The student at one scale for all scenes, scale by scale."""
    return [
        CurvePoint(
            float(np.mean([reading.published for reading in readings])),
            hmean(_image_counts(scenes, readings)),
            scale,
        )
        for scale, readings in zip(sweep.scales, sweep.readings, strict=True)
    ]


def slide(scenes: Sequence[Scene], sweep: Sweep, points: int = 25) -> list[CurvePoint]:
    """The student with its own choices, by cost biases from its cheapest to its dearest scale.

    Returns:
        Points of increasing cost, each once.
    """
    counts = np.stack([_image_counts(scenes, readings) for readings in sweep.readings])
    costs = np.array([[reading.published for reading in row] for row in sweep.readings])
    low, high = sweep.relative_cost.min().item(), sweep.relative_cost.max().item()
    rows = np.arange(len(scenes))
    found: dict[float, CurvePoint] = {}
    for target in np.linspace(low, high, points):
        bias = choose_cost_bias(sweep.logits, sweep.relative_cost, float(target)).cost_bias
        choice = select(sweep.logits, bias, sweep.relative_cost).numpy()
        cost = float(costs[choice, rows].mean())
        found.setdefault(cost, CurvePoint(cost, hmean(counts[choice, rows]), bias))
    return [found[cost] for cost in sorted(found)]


def _image_counts(scenes: Sequence[Scene], readings: Sequence[Reading]) -> np.ndarray:
    return score(scenes, readings).case("end_to_end", "none").image_counts
