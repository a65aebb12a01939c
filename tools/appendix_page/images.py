"""Why images got their scales: how large their words are, and all of them as a list."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html import escape

import matplotlib.pyplot as plt
import numpy as np
from html_page.svg import STYLE, WIDTH, svg

from appendix_page.budget import Selection, larger_scale_biases
from appendix_page.evaluations import Evaluation
from appendix_page.item import Item, Table, figure_html
from appendix_page.study import Study
from dld_d2.analysis.appendix.scales import heights_by_scale

__all__ = ["heights", "image_list"]

_SHOWN = 50  # images on the page


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
    limits = [np.nan] * len(right) if selection is None else larger_scale_biases(study, selection)
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
                image,
                study.dld[0].at_scale(image).removeprefix("scale ") or "-",
                str(len(outcomes)),
                *([f"{v:.0f}" for v in np.quantile(tall, [0, 0.5, 1])] if len(tall) else 3 * [""]),
                *map(str, numbers),
                f"{limit:.3g}" if np.isfinite(limit) else "",
            ]
        )
    return rows


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
