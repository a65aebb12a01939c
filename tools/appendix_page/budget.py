"""Which images got which scale, why, and what budget would change it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from html_page.svg import STYLE, WIDTH, svg

from appendix_page.evaluations import Evaluation
from appendix_page.item import Item, Missing, Table, figure_html
from appendix_page.study import Study
from dld_d2.analysis.appendix.scales import bias_of_larger_scale, heights_by_scale
from dld_d2.deployment.budget import choose_cost_bias
from dld_d2.modeling.selection.selector import select

__all__ = ["Selection", "budget", "heights", "image_list", "remedies"]

_POINTS = 60  # of a curve
_TARGETS = 7  # of its table
_SHOWN = 50  # images on the page


@dataclass(frozen=True, eq=False)
class Selection:
    """How a student chooses.

    Attributes:
        scales: the k candidates.
        relative_cost: (k,) float32, the full resolution's being 1.
        cost_bias: that it was evaluated with.
    """

    scales: Sequence[float]
    relative_cost: torch.Tensor
    cost_bias: float


def heights(studies: Sequence[Study]) -> Item:
    """Word heights by chosen scale."""
    body, files = [], {}
    for study in studies:
        evaluation = study.dld[0]
        found = heights_by_scale(evaluation.scales, study.heights)
        smallest = heights_by_scale(
            evaluation.scales,
            {image: h[h == h.min(initial=np.inf)][:1] for image, h in study.heights.items()},
        )
        plot = _plot_heights(found, smallest, evaluation)
        medians = ", ".join(
            f"{scale:g}: {np.median(h):.0f} pixels" for scale, h in found.items() if len(h)
        )
        body.append(
            figure_html(
                plot,
                f"Heights of words by scale, {study.name}. Medians: {medians}",
                f"{study.name}, {evaluation.label}. Bars: all words that count. Dots: the smallest "
                "word of each image.",
            )
        )
        files[f"heights_{study.name}.svg"] = plot
    return Item(
        "heights",
        "Why: how large the words are at each scale",
        "Heights of words in pixels of the full resolution. Where the selector heeds the words, "
        "the bars move to the left as the scale rises; small words, or dots far to the left, in "
        "the row of a small scale are those that it overlooked.",
        f'<div class="pair">{"".join(body)}</div>',
        files,
    )


def budget(studies: Sequence[Study], selection: Selection | None) -> Item | Missing:
    """Cost and scales over the cost bias."""
    title = "What budget would change it"
    if selection is None:
        return Missing(title, "it needs the model of the first --dld, to run its selector")
    body, files = [], {}
    for study in studies:
        logits = torch.from_numpy(study.logits)
        curve = _curve(logits, selection)
        plot = _plot_budget(curve, selection)
        table = _budget_table(logits, selection)
        caption = (
            f"{study.name}. Areas: images at each scale. Line: mean cost of the passes, full "
            f"resolution being 100%. Dashed: the bias it was evaluated with."
        )
        body.append(figure_html(plot, f"Cost over the cost bias, {study.name}", caption))
        body.append(f"<div>{table.html(f'Cost biases for {study.name}')}</div>")
        files[f"budget_{study.name}.svg"] = plot
        files[f"budget_{study.name}.md"] = table.markdown()
    return Item(
        "budget",
        title,
        "The cost bias is the one number that makes a trained student cheaper (above its present "
        "value) or more careful (below it), without training. Take the bias of the row whose cost "
        "suits you, on images of yours that are not scored, as <code>tools/choose_cost_bias.py"
        "</code> does, and evaluate again: what is read then, this curve does not tell. The table "
        "has the share of the images in % at each scale.",
        f'<div class="pair">{"".join(body)}</div>',
        files,
    )


def remedies(study: Study, selection: Selection | None) -> dict[str, str]:
    """Image id -> half a sentence on the bias at which it gets a larger scale."""
    if selection is None:
        return {}
    limits = _limits(study, selection)
    return {
        image: f"; a cost bias below {limit:.2g} (now {selection.cost_bias:g}) gives it a larger "
        "scale"
        for image, limit in zip(study.image_ids, limits, strict=True)
        if np.isfinite(limit)
    }


def image_list(studies: Sequence[Study], selection: Selection | None) -> Item:
    """All images: scale, words, and who reads them."""
    header = ["image", "scale", "words", "smallest", "median", "largest"]
    header += ["vanilla right", "DLD right", "lost", "won", "bias of larger scale"]
    body, files = [], {}
    for study in studies:
        rows = _image_rows(study, selection)
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([header, *rows])
        files[f"images_{study.name}.csv"] = stream.getvalue().encode()
        shown = sorted(rows, key=lambda row: -int(row[8]))[:_SHOWN]
        table = Table(header, shown)
        body.append(
            f"<details><summary>{escape(study.name)}: {len(shown)} of {len(rows)} images, most "
            f"words lost first</summary>\n{table.html(f'Images of {study.name}')}</details>"
        )
    return Item(
        "images",
        "All images",
        "Scale, number of words that count, their heights in pixels of the full resolution, words "
        "that vanilla and DLD have right, words lost and won, and the cost bias below which the "
        "image gets a larger scale. The file has all images.",
        "\n".join(body),
        files,
    )


def _image_rows(study: Study, selection: Selection | None) -> list[list[str]]:
    right: dict[str, list[tuple[bool, bool]]] = {image: [] for image in study.image_ids}
    for pair in study.pairs(study.vanilla, study.dld[0]):
        right[pair.image].append(pair.right)
    limits = [np.nan] * len(right) if selection is None else _limits(study, selection)
    rows = []
    for (image, outcomes), limit in zip(right.items(), limits, strict=True):
        tall = study.heights[image]
        numbers = [
            sum(first for first, _ in outcomes),
            sum(second for _, second in outcomes),
            outcomes.count((True, False)),
            outcomes.count((False, True)),
        ]
        rows.append(
            [
                *(image, f"{study.dld[0].scales[image]:g}", str(len(outcomes))),
                *([f"{v:.0f}" for v in np.quantile(tall, [0, 0.5, 1])] if len(tall) else 3 * [""]),
                *map(str, numbers),
                f"{limit:.3g}" if np.isfinite(limit) else "",
            ]
        )
    return rows


def _limits(study: Study, selection: Selection) -> np.ndarray:
    places = [list(selection.scales).index(study.dld[0].scales[i]) for i in study.image_ids]
    return bias_of_larger_scale(study.logits, selection.relative_cost.numpy(), np.array(places))


def _curve(logits: torch.Tensor, selection: Selection) -> tuple[np.ndarray, ...]:
    """Biases, mean costs, and (points, k) shares."""
    ends = [_of_cost(logits, selection, cost) for cost in _reach(selection)]
    low, high = sorted([*(bias for bias, _ in ends), selection.cost_bias])[::2]
    room = 0.05 * max(high - low, 1.0)
    biases = np.linspace(low - room, high + room, _POINTS)
    choices = [select(logits, float(bias), selection.relative_cost) for bias in biases]
    costs = np.array([selection.relative_cost[choice].mean().item() for choice in choices])
    shares = [
        torch.bincount(choice, minlength=len(selection.scales)).numpy() / len(logits)
        for choice in choices
    ]
    return biases, costs, np.stack(shares)


def _budget_table(logits: torch.Tensor, selection: Selection) -> Table:
    rows = []
    for cost in np.linspace(*_reach(selection), _TARGETS):
        found = choose_cost_bias(logits, selection.relative_cost, float(cost))
        shares = [f"{100 * share:.0f}" for share in found.shares]
        rows.append([f"{100 * found.mean_cost:.0f}%", f"{found.cost_bias:.3g}", *shares])
    choice = select(logits, selection.cost_bias, selection.relative_cost)
    mean = selection.relative_cost[choice].mean().item()
    shares = torch.bincount(choice, minlength=len(selection.scales)) / len(logits)
    now = [f"{100 * share:.0f}" for share in shares.tolist()]
    rows.append([f"{100 * mean:.0f}% (now)", f"{selection.cost_bias:.3g}", *now])
    header = ["mean cost", "cost bias", *(f"{s:g}" for s in selection.scales)]
    return Table(header, rows)


def _reach(selection: Selection) -> tuple[float, float]:
    return selection.relative_cost.min().item(), selection.relative_cost.max().item()


def _of_cost(logits: torch.Tensor, selection: Selection, cost: float) -> tuple[float, float]:
    found = choose_cost_bias(logits, selection.relative_cost, cost)
    return found.cost_bias, found.mean_cost


def _plot_heights(
    found: dict[float, np.ndarray], smallest: dict[float, np.ndarray], evaluation: Evaluation
) -> bytes:
    tall = np.concatenate(list(found.values()))
    edges = np.geomspace(max(tall.min(initial=1e3), 1), max(tall.max(initial=2), 2) * 1.001, 25)
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            len(found), 1, figsize=(WIDTH, 0.6 + 0.75 * len(found)), sharex=True, squeeze=False
        )
        for axes, (scale, h) in zip(panels[:, 0], found.items(), strict=True):
            axes.hist(h, bins=edges, color="#56b4e9")
            number = sum(s == scale for s in evaluation.scales.values())
            axes.set_ylabel(f"{scale:g}\n({number})", rotation=0, ha="right", va="center")
            height = axes.get_ylim()[1]
            axes.plot(
                smallest[scale],
                np.full(len(smallest[scale]), -0.12 * height),
                ".",
                color="#d55e00",
                markersize=4,
                alpha=0.5,
                clip_on=False,
            )
            axes.set_ylim(-0.2 * height, height)
            axes.set_yticks([])
        axes.set_xscale("log")
        ticks = [t for t in (4, 8, 16, 32, 64, 128, 256, 512) if edges[0] <= t <= edges[-1]]
        axes.set_xticks(ticks, [str(t) for t in ticks])
        axes.minorticks_off()
        axes.set_xlabel("height of a word, pixels (left: scale, and images)")
        figure.set_layout_engine("constrained")
        return svg(figure)


def _plot_budget(curve: tuple[np.ndarray, ...], selection: Selection) -> bytes:
    biases, costs, shares = curve
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 3.4))
        shades = matplotlib.colormaps["viridis"].resampled(len(selection.scales))
        colours = [shades(i) for i in range(len(selection.scales))]
        labels = [f"{scale:g}" for scale in selection.scales]
        axes.stackplot(biases, 100 * shares.T, colors=colours, labels=labels, alpha=0.55)
        axes.plot(biases, 100 * costs, color="#222222", linewidth=2, label="cost")
        axes.axvline(selection.cost_bias, color="#d55e00", linestyle="--")
        axes.set_xlim(biases[0], biases[-1])
        axes.set_ylim(0, 100)
        axes.set_xlabel("cost bias")
        axes.set_ylabel("images, and mean cost, %")
        figure.legend(
            loc="outside lower center", ncols=len(labels) + 1, columnspacing=1.0, handlelength=1.2
        )
        figure.set_layout_engine("constrained")
        return svg(figure)
