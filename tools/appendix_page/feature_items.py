"""Table A2 and Figures A5, A6: how far features move with the resolution."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from html_page.svg import STYLE, WIDTH, svg

from appendix_page.feature_study import FEATURES, FeatureStudy
from appendix_page.item import Item, Missing, Table, figure_html
from appendix_page.study import Study
from dld_d2.analysis.appendix.features import DISTANCES, mean_distances
from dld_d2.analysis.appendix.projection import distances_in_plane, project

__all__ = ["figure_a5_or_a6", "table_a2"]

_BLUE, _RED = "#0072b2", "#d55e00"
_COLUMNS = {
    "rms": "rms distance",
    "mean_square": "mean square",
    "mean_absolute": "mean absolute",
    "relative": "relative distance",
}
# The published figure, for each feature: number in the paper's appendix.
_FIGURES = {"roi": "a5", "context": "a6"}

Found = dict[str, FeatureStudy | str]
"""By feature, see `study_features`."""


def table_a2(studies: Sequence[Study], found: Sequence[Found] | str, low: float) -> Item | Missing:
    """Distances of features.

    Args:
        studies: data sets.
        found: for each its features; or why there are none.
        low: the low scale.
    """
    title = "Table A2: how far features move"
    if isinstance(found, str):
        return Missing(title, found)
    rows, reasons = [], []
    for study, features in zip(studies, found, strict=True):
        for name, result in features.items():
            if isinstance(result, str):
                reasons.append(f"{FEATURES[name]}: {result}")
                continue
            for pair, by_image in result.distances.items():
                words = sum(map(len, by_image))
                if not words:
                    continue
                means = mean_distances(by_image)
                cells = [f"{m.mean:.3f} ({m.low:.3f}-{m.high:.3f})" for m in means.values()]
                rows.append([f"{FEATURES[name]}: {pair}", study.name, str(words), *cells])
    if not rows:
        return Missing(title, "; ".join(reasons) or "no word of the data sets can be read")
    table = Table(["features", "data set", "words", *(_COLUMNS[name] for name in DISTANCES)], rows)
    left_out = f" Left out: {'; '.join(dict.fromkeys(reasons))}." if reasons else ""
    return Item(
        "table_a2",
        title,
        f"Features of ground-truth words at full resolution (high) and at {low:g} of it (low), "
        "with 95% intervals by the bootstrap over images. How large a layer&rsquo;s values are "
        "differs from model to model: compare models by the relative distance, which is 0 for "
        "equal features. What distillation is meant to make smaller is the second pair against "
        f"the first.{left_out}",
        table.html("Distances of features"),
        {"table_a2.md": table.markdown()},
    )


def figure_a5_or_a6(
    name: str, studies: Sequence[Study], found: Sequence[Found] | str, student: str
) -> Item | Missing:
    """Features of one kind in the plane.

    Args:
        name: "roi" or "context".
        studies, found: as for `table_a2`.
        student: label.
    """
    key = _FIGURES[name]
    title = f"Figure {key.upper()}: {FEATURES[name]} features in the plane"
    if isinstance(found, str):
        return Missing(title, found)
    body, files, reasons = [], {}, []
    for study, features in zip(studies, found, strict=True):
        result = features[name]
        if isinstance(result, str):
            reasons.append(result)
            continue
        if result.no_plane:
            reasons.append(result.no_plane)
            continue
        clouds = {who: np.array(rows) for who, rows in result.clouds.items()}
        if len(clouds.get(("vanilla", "high"), ())) < 2:
            reasons.append(f"{study.name} has fewer than two words that can be read")
            continue
        plot, told = _plot(clouds, student)
        body.append(figure_html(plot, f"{title}, {study.name}: {told}", f"{study.name}. {told}"))
        files[f"figure_{key}_{study.name}.svg"] = plot
    if not body:
        return Missing(title, "; ".join(dict.fromkeys(reasons)))
    return Item(
        f"figure_{key}",
        title,
        "A point for each word, by the first two principal components of all clouds together. "
        '<span style="color:#0072b2">Blue</span>: vanilla at full resolution, in both panels; '
        '<span style="color:#d55e00">red</span>: at the low one. Clouds may lie on one another '
        "while the two points of a word are far apart, so both distances are given, in units of "
        "the axes.",
        "\n".join(body),
        files,
    )


def _plot(clouds: dict[tuple[str, str], np.ndarray], student: str) -> tuple[bytes, str]:
    keys = [("vanilla", "high"), ("vanilla", "low")]
    titles = {("vanilla", "low"): "vanilla"}
    if ("student", "low") in clouds:
        keys.append(("student", "low"))
        titles["student", "low"] = student
    plane = project([clouds[key] for key in keys])
    points = dict(zip(keys, plane.clouds, strict=True))
    high = points["vanilla", "high"]
    everything = np.concatenate(plane.clouds)
    low_end, high_end = everything.min(axis=0), everything.max(axis=0)
    room = 0.04 * (high_end - low_end).max()
    ends = high_end - low_end + 2 * room
    panel = WIDTH / len(titles) - 0.5
    height = 0.9 + panel * min(2.0, max(0.4, ends[1] / max(ends[0], 1e-9)))
    told = []
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            1, len(titles), figsize=(WIDTH, height), sharex=True, sharey=True, squeeze=False
        )
        for axes, (key, title) in zip(panels[0], titles.items(), strict=True):
            for cloud, colour in ((high, _BLUE), (points[key], _RED)):
                axes.scatter(*cloud.T, s=5, color=colour, alpha=0.4, linewidths=0, rasterized=True)
            means, partners = distances_in_plane(high, points[key])
            told.append(f"{title}: means {means:.2f} apart, partners {partners:.2f} (median)")
            axes.set_title(title, fontsize=9)
            axes.set_xlim(low_end[0] - room, high_end[0] + room)
            axes.set_ylim(low_end[1] - room, high_end[1] + room)
            axes.set_aspect("equal")
            axes.set_xlabel(f"1st component ({plane.explained[0]:.0%})")
        panels[0, 0].set_ylabel(f"2nd component ({plane.explained[1]:.0%})")
        figure.set_layout_engine("constrained")
        return svg(figure), f"{len(high)} words. {'; '.join(told)}."
