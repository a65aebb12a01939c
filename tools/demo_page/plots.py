"""The figures of the page as SVG."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import matplotlib.pyplot as plt
from html_page.svg import STYLE, WIDTH, svg
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from demo_page.scores import CurvePoint, Row

__all__ = ["plot_losses", "plot_pareto", "plot_scales"]

_MARKERS = ("o", "s", "D", "^")
_LOSS_COLOURS = {
    "total": "#222222",
    "detection": "#0072b2",
    "recognition": "#009e73",
    "distillation": "#d55e00",
    "scale selection": "#cc79a7",
}


def plot_pareto(
    rows: Sequence[Row], curve: Sequence[CurvePoint], fixed: Sequence[CurvePoint], student: Row
) -> bytes:
    """Accuracy against cost.

    Args:
        rows: the models, as points with intervals.
        curve: of the student with its cost bias.
        fixed: the student at one scale for all images.
        student: whose the two are.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 4.0))
        colour = student.model.colour
        label = student.model.label
        axes.plot(
            [point.cost for point in curve],
            [100 * point.e2e for point in curve],
            color=colour,
            linewidth=1.5,
            alpha=0.75,
            label=f"{label}, sliding its cost bias",
        )
        axes.plot(
            [point.cost for point in fixed],
            [100 * point.e2e for point in fixed],
            linestyle="none",
            marker="o",
            markersize=5,
            markerfacecolor="white",
            markeredgecolor=colour,
            label=f"{label}, one scale for all images",
        )
        for point in fixed:
            axes.annotate(
                f"{point.setting:g}",
                (point.cost, 100 * point.e2e),
                xytext=(5, -10),
                textcoords="offset points",
                fontsize=7,
                color="#666666",
            )
        for row, marker in zip(rows, _MARKERS, strict=True):
            score = 100 * row.e2e["none"]
            low, high = (100 * bound for bound in row.interval)
            axes.errorbar(
                row.published,
                score,
                # A percentile interval need not hold the score itself.
                yerr=[[max(0.0, score - low)], [max(0.0, high - score)]],
                color=row.model.colour,
                marker=marker,
                markersize=8,
                capsize=3,
                elinewidth=1,
                linestyle="none",
                label=row.model.label,
                zorder=3,
            )
        axes.set_xlim(left=0)
        axes.set_xlabel("GFLOPs per image (2$^{30}$ multiply-adds)")
        axes.set_ylabel("end-to-end hmean, no lexicon, %")
        # Order: models first. Below the axes, where it hides nothing.
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(
            handles[2:] + handles[:2], labels[2:] + labels[:2], loc="outside lower center", ncols=2
        )
        figure.set_layout_engine("constrained")
        return svg(figure)


def plot_scales(rows: Sequence[Row], scales: Sequence[float]) -> bytes:
    """Shares of the scales that the students chose, by word-size regime.

    Args:
        rows: of models that choose.
        scales: the candidates.
    """
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            len(rows), 1, figsize=(WIDTH, 0.7 + 1.75 * len(rows)), sharex=True, squeeze=False
        )
        shades = matplotlib.colormaps["viridis"].resampled(len(scales))
        for axes, row in zip(panels[:, 0], rows, strict=True):
            _draw_shares(axes, row, scales, [shades(i) for i in range(len(scales))])
        panels[-1, 0].set_xlabel("share of the scenes, %")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=len(scales),
            title="scale",
            title_fontsize=8,
            handlelength=1.2,
            columnspacing=1.2,
        )
        figure.set_layout_engine("constrained")
        return svg(figure)


def _draw_shares(axes: Axes, row: Row, scales: Sequence[float], shades: Sequence) -> None:
    regimes = {"all": tuple(s for r in row.regimes.values() for s in r.scales)}
    regimes |= {name: regime.scales for name, regime in row.regimes.items()}
    names = list(regimes)
    left = [0.0] * len(names)
    for scale, shade in zip(scales, shades, strict=True):
        shares = [100 * regimes[name].count(scale) / len(regimes[name]) for name in names]
        bars = axes.barh(names, shares, left=left, color=shade, label=f"{scale:g}", height=0.75)
        light = sum(weight * part for weight, part in zip((0.3, 0.6, 0.1), shade, strict=False))
        texts = [f"{share:.0f}" if share >= 7 else "" for share in shares]
        axes.bar_label(
            bars, texts, label_type="center", fontsize=7, color="black" if light > 0.5 else "white"
        )
        left = [start + share for start, share in zip(left, shares, strict=True)]
    axes.set_yticks(range(len(names)), [f"{name} ({len(regimes[name])})" for name in names])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.grid(visible=False)
    axes.set_title(row.model.label, fontsize=9, loc="left")


def plot_losses(losses: dict[str, list[float]]) -> bytes:
    """Losses over the iterations of a training, the total one by "total"."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 3.4))
        for name, values in losses.items():
            axes.plot(
                range(1, len(values) + 1),
                values,
                color=_LOSS_COLOURS[name],
                linewidth=2.2 if name == "total" else 1.3,
                marker=".",
                label=name,
            )
        axes.set_ylim(bottom=min(0.0, *(min(values) for values in losses.values())))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("iteration")
        axes.set_ylabel("loss")
        figure.legend(loc="outside lower center", ncols=len(losses), columnspacing=1.2)
        figure.set_layout_engine("constrained")
        return svg(figure)
