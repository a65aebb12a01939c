"""What a student reads at each of its scales, and by any budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from html_page.svg import STYLE, WIDTH, svg

from appendix_page.budget import Selection
from appendix_page.evaluations import Evaluation, hmean
from appendix_page.item import Item, Table, figure_html
from appendix_page.study import Study
from dld_d2.deployment.budget import choose_cost_bias
from dld_d2.evaluation.protocol import Counts
from dld_d2.modeling.selection.selector import select

__all__ = ["accuracy", "needed_scales"]

_POINTS = 40  # of the curve
_RIGHT = Counts._fields.index("num_correct")


def accuracy(
    studies: Sequence[Study],
    selection: Selection,
    at_scales: Sequence[Mapping[float, Evaluation]],
) -> Item:
    """Accuracy over cost, and the scales that images needed.

    Args:
        studies: data sets.
        selection: of the student.
        at_scales: for each set, scale -> the student with all images at it.
    """
    body, files = [], {}
    for study, evaluations in zip(studies, at_scales, strict=True):
        counts = np.stack([evaluations[scale].counts for scale in selection.scales])
        plot = _plot(study, selection, counts)
        chosen = np.array([study.dld[0].scales[image] for image in study.image_ids])
        table = _confusion(selection.scales, chosen, needed_scales(counts[..., _RIGHT]))
        label = study.dld[0].label
        body.append(
            figure_html(
                plot,
                f"Accuracy over cost, {study.name}",
                f"{study.name}, {label}. Line: any cost bias. Hollow: one scale for all images. "
                "Filled: as it was evaluated.",
            )
        )
        body.append(f"<div>{table.html(f'Scales needed in {study.name}')}</div>")
        files[f"accuracy_{study.name}.svg"] = plot
        files[f"accuracy_{study.name}.md"] = table.markdown()
    return Item(
        "accuracy",
        "What any budget would read",
        "Every image was read at every scale. The table has the images by the scale that they got, "
        "and by the smallest one at which the student has as many words right as at any: right of "
        "the diagonal are images that got too small a scale, left of it those that cost more than "
        "they needed.",
        f'<div class="pair">{"".join(body)}</div>',
        files,
    )


def needed_scales(right: np.ndarray) -> np.ndarray:
    """The smallest scale at which as many words are right as at any.

    Args:
        right: (k, I), numbers of words, by ascending scale.

    Returns:
        (I,) places of the scales.
    """
    return right.argmax(axis=0)  # of equal ones the first


def _confusion(scales: Sequence[float], chosen: np.ndarray, needed: np.ndarray) -> Table:
    rows = []
    for scale in scales:
        here = needed[chosen == scale]
        numbers = [str(int(np.sum(here == place))) for place in range(len(scales))]
        rows.append([f"got {scale:g}", *numbers, str(len(here))])
    return Table(["needed", *(f"{scale:g}" for scale in scales), "all"], rows)


def _plot(study: Study, selection: Selection, counts: np.ndarray) -> bytes:
    logits, cost = torch.from_numpy(study.logits), selection.relative_cost
    images = np.arange(counts.shape[1])

    def point(choice: np.ndarray) -> tuple[float, float]:
        return 100 * float(cost[choice].mean()), 100 * hmean(counts[choice, images])

    curve = set()
    for target in np.linspace(cost.min().item(), cost.max().item(), _POINTS):
        bias = choose_cost_bias(logits, cost, float(target)).cost_bias
        curve.add(point(select(logits, bias, cost).numpy()))
    fixed = [point(np.full(len(images), place)) for place in range(len(cost))]
    places = [list(selection.scales).index(study.dld[0].scales[i]) for i in study.image_ids]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 3.4))
        axes.plot(*zip(*sorted(curve), strict=True), color="#0072b2", label="any cost bias")
        axes.plot(
            *zip(*fixed, strict=True),
            linestyle="none",
            marker="o",
            markerfacecolor="white",
            markeredgecolor="#0072b2",
            label="one scale for all",
        )
        for (x, y), scale in zip(fixed, selection.scales, strict=True):
            axes.annotate(
                f"{scale:g}", (x, y), xytext=(5, -10), textcoords="offset points", fontsize=7
            )
        axes.plot(*point(np.array(places)), "D", color="#d55e00", label="as evaluated")
        axes.axhline(100 * study.vanilla.hmean, color="#222222", linestyle=":", label="vanilla")
        axes.set_xlabel("mean cost, % of the full resolution's")
        axes.set_ylabel("end-to-end hmean, %")
        figure.legend(loc="outside lower center", ncols=4, columnspacing=1.0)
        figure.set_layout_engine("constrained")
        return svg(figure)
