"""What budget would change which scale an image gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from html_page.svg import STYLE, WIDTH, svg

from appendix_page.item import Item, Missing, Table, figure_html
from appendix_page.study import Study
from dld_d2.analysis.appendix.scales import bias_of_larger_scale
from dld_d2.deployment.budget import choose_cost_bias
from dld_d2.modeling.selection.selector import select

__all__ = ["Selection", "budget", "larger_scale_biases", "remedies"]

_POINTS = 60  # of a curve
_TARGETS = 7  # of its table


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
    limits = larger_scale_biases(study, selection)
    return {
        image: f"; a cost bias below {limit:.2g} (now {selection.cost_bias:g}) gives it a larger "
        "scale"
        for image, limit in zip(study.image_ids, limits, strict=True)
        if np.isfinite(limit)
    }


def larger_scale_biases(study: Study, selection: Selection) -> np.ndarray:
    """(N,) as `bias_of_larger_scale`, images in the order of `study.items`."""
    places = [list(selection.scales).index(study.dld[0].scales[i]) for i in study.image_ids]
    return bias_of_larger_scale(study.logits, selection.relative_cost.numpy(), np.array(places))


def _curve(logits: torch.Tensor, selection: Selection) -> tuple[np.ndarray, ...]:
    """Biases, mean costs, and (points, k) shares."""
    ends = [
        choose_cost_bias(logits, selection.relative_cost, cost).cost_bias
        for cost in _reach(selection)
    ]
    low, _, high = sorted([*ends, selection.cost_bias])
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
