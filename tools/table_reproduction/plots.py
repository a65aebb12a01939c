"""The experiment as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from table_reproduction.measured import Measured
from table_reproduction.rows import ROWS, TEACHER

__all__ = ["write_plots"]

_CASE = "e2e_none"
_REGIMES = ("large", "medium", "mixed", "small")
_STYLE = {
    "skd_only": ("SKD-only", "#0072b2", "s"),
    "drs_only": ("DRS-only", "#e69f00", "^"),
    "drs_only_gamma0.3": ("DRS-only", "#e69f00", "^"),
    "dld": ("DLD", "#d55e00", "o"),
    "dld_gamma0.3": ("DLD", "#d55e00", "o"),
}
_GAMMAS = {
    0.1: "dld",
    0.2: "dld_gamma0.2",
    0.3: "dld_gamma0.3",
    0.4: "dld_gamma0.4",
    0.5: "dld_gamma0.5",
}


def write_plots(measured: Mapping[str, Measured], folder: Path) -> list[Path]:
    """Write those plots for which there are rows.

    Args:
        measured: by row.
        folder: gets pareto.png, scales.png and gamma.png.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    choosing = [name for name in _STYLE if name in measured and name != "skd_only"]
    if TEACHER in measured:
        written.append(_save(_pareto, measured, folder / "pareto.png", (6.4, 4.4)))
    if choosing:
        chosen = {name: measured[name] for name in choosing}
        written.append(_save(_scales, chosen, folder / "scales.png", (2.6 * len(choosing), 3.4)))
    swept = {gamma: measured[name] for gamma, name in _GAMMAS.items() if name in measured}
    if len(swept) > 2:
        written.append(_save(_sweep, swept, folder / "gamma.png", (6.4, 3.4)))
    return written


def _save(draw, data, path: Path, size: tuple[float, float]) -> Path:
    figure = plt.figure(figsize=size, layout="constrained")
    draw(figure, data)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


def _pareto(figure, measured: Mapping[str, Measured]) -> None:
    axes = figure.subplots()
    vanilla = [m for name, m in measured.items() if name.startswith("vanilla")]
    vanilla.sort(key=lambda m: m.cost.mean())
    _points(axes, vanilla, "vanilla at fixed scales", "#555555", "o", line="-")
    for label in ("SKD-only", "DRS-only", "DLD"):
        names = [name for name, style in _STYLE.items() if style[0] == label and name in measured]
        if names:
            _, color, marker = _STYLE[names[0]]
            _points(axes, [measured[n] for n in names], label, color, marker, line="--")
    axes.set_xlabel("mean cost per image, $2^{30}$ multiply-adds of all parts")
    axes.set_ylabel("end-to-end hmean, no lexicon, %")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend()


def _points(
    axes: Axes, points: list[Measured], label: str, color: str, marker: str, line: str
) -> None:
    points = sorted(points, key=lambda m: m.cost.mean())
    x = [m.cost.mean() for m in points]
    y = np.array([100 * m.hmean(_CASE) for m in points])
    ends = 100 * np.array([m.interval(_CASE) for m in points]).T
    axes.errorbar(
        x,
        y,
        yerr=np.abs(ends - y),
        label=label,
        color=color,
        marker=marker,
        ls=line,
        capsize=2,
        lw=1,
    )


def _scales(figure, measured: Mapping[str, Measured]) -> None:
    titles = {row.name: row.title for row in ROWS}
    scales = sorted({s for m in measured.values() for s in m.scale.tolist()})
    colors = plt.get_cmap("viridis")(np.linspace(0.1, 0.95, len(scales)))
    all_axes = figure.subplots(1, len(measured), sharey=True, squeeze=False)[0]
    for axes, (name, found) in zip(all_axes, measured.items(), strict=True):
        regimes = [regime for regime in _REGIMES if regime in found.regime]
        bottom = np.zeros(len(regimes))
        for scale, color in zip(scales, colors, strict=True):
            share = np.array([(found.scale[found.regime == r] == scale).mean() for r in regimes])
            axes.bar(regimes, 100 * share, bottom=bottom, color=color, label=f"{scale:g}")
            bottom += 100 * share
        axes.set_title(titles[name], fontsize=9)
        axes.tick_params(labelsize=8)
    all_axes[0].set_ylabel("share of images, %")
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, title="scale", loc="outside right center")


def _sweep(figure, swept: Mapping[float, Measured]) -> None:
    left, right = figure.subplots(1, 2)
    gammas = list(swept)
    known = set(next(iter(swept.values())).regime.tolist())
    colors = dict(zip((*_REGIMES, None), ("C0", "C1", "C2", "C3", "black"), strict=True))
    for regime in (*(name for name in _REGIMES if name in known), None):
        means = [
            (m.scale if regime is None else m.scale[m.regime == regime]).mean()
            for m in swept.values()
        ]
        left.plot(gammas, means, marker="o", color=colors[regime], label=regime or "all images")
    left.set_ylabel("mean scale")
    left.legend(fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    y = np.array([100 * m.hmean(_CASE) for m in swept.values()])
    ends = 100 * np.array([m.interval(_CASE) for m in swept.values()]).T
    right.errorbar(gammas, y, yerr=np.abs(ends - y), marker="o", color="#d55e00", capsize=2)
    right.set_ylabel("end-to-end hmean, no lexicon, %")
    for axes in (left, right):
        axes.set_xlabel("gamma")
        axes.grid(alpha=0.3)
