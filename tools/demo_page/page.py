"""The page: one HTML file that holds all it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from html_page.parts import image_html, stylesheet

from demo_page.fine_tune import FineTuning
from demo_page.gallery import Exhibit
from demo_page.gallery_html import exhibit_html
from demo_page.photographs import Photograph, photographs_html
from demo_page.scores import BOOTSTRAP, Row
from demo_page.tables import regime_table, score_table
from dld_d2.evaluation.bootstrap import spotting_difference
from dld_d2.synthetic import SceneConfig

__all__ = ["PageData", "build_page", "headline"]

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class PageData:
    """All that the page shows.

    Attributes:
        photographs: with what was read in them.
        rows: the models, the teacher first.
        student: of `rows`, the one of the gallery and of the curve.
        num_images, num_words: scored on.
        scales: candidates of the students.
        pareto, scale_shares: SVG.
        training: what fine-tuning gave, or why it failed.
        losses: SVG; None if it failed.
        exhibits: of the gallery.
        machine: what it ran on.
        versions: of the software.
        seconds: that everything took.
    """

    photographs: list[Photograph]
    rows: Sequence[Row]
    student: Row
    num_images: int
    num_words: int
    scales: Sequence[float]
    pareto: bytes
    scale_shares: bytes
    training: FineTuning | str
    losses: bytes | None
    exhibits: Sequence[Exhibit]
    machine: str
    versions: str
    seconds: float


def build_page(data: PageData) -> str:
    """HTML without script and without reference to anything outside it."""
    template = Template((_FOLDER / "page.html").read_text(encoding="utf-8"))
    parts = {
        "style": stylesheet(),
        "num_scales": str(len(data.scales)),
        "num_images": str(data.num_images),
        "num_words": str(data.num_words),
        "machine": escape(data.machine),
        "photographs": photographs_html(data.photographs),
        "tiles": _tiles(data),
        "summary": escape(" ".join(headline(row, data.rows[0]) for row in _choosing(data))),
        "table": score_table(data.rows),
        "bootstrap": str(BOOTSTRAP),
        "pareto": image_html(data.pareto, "svg+xml", _pareto_text(data)),
        "scales": image_html(data.scale_shares, "svg+xml", _scales_text(data)),
        "student": escape(data.student.model.label),
        "regimes": escape(_regimes()),
        "regime_table": regime_table(data.rows),
        "training": _training(data),
        "gallery": "\n".join(
            exhibit_html(exhibit, data.student.model.label) for exhibit in data.exhibits
        ),
        "minutes": f"{data.seconds / 60:.1f}",
        "versions": escape(data.versions),
    }
    return template.substitute(parts)


def headline(row: Row, teacher: Row) -> str:
    """One sentence on a student beside the teacher, whatever came out."""
    found = spotting_difference(row.counts, teacher.counts, BOOTSTRAP)
    change, low, high = (round(100 * value, 1) + 0.0 for value in found)  # and never -0.0
    return (
        f"{row.model.label} reads with an end-to-end hmean of {100 * row.e2e['none']:.1f} "
        f"({change:+.1f} points from the teacher's {100 * teacher.e2e['none']:.1f}, 95% interval "
        f"{low:+.1f} to {high:+.1f}), with {100 * row.whole / teacher.whole:.0f}% of its GFLOPs, "
        f"everything counted ({100 * row.published / teacher.published:.0f}% as the paper counts), "
        f"and in {row.milliseconds:.0f} ms per image instead of {teacher.milliseconds:.0f} "
        f"({teacher.milliseconds / row.milliseconds:.2f}×)."
    )


def _choosing(data: PageData) -> list[Row]:
    return [row for row in data.rows if row.model.weights != data.rows[0].model.weights]


def _tiles(data: PageData) -> str:
    row, teacher = data.student, data.rows[0]
    label = escape(row.model.label)
    tiles = [
        (
            f"{100 * row.e2e['none']:.1f}%",
            f"end-to-end hmean of {label}; teacher {100 * teacher.e2e['none']:.1f}%",
        ),
        (
            f"{100 * row.whole / teacher.whole:.0f}%",
            f"of the teacher&rsquo;s GFLOPs, everything counted ({row.whole:.2f} of "
            f"{teacher.whole:.2f}); {100 * row.published / teacher.published:.0f}% as the paper "
            "counts",
        ),
        (
            f"{teacher.milliseconds / row.milliseconds:.2f}&times;",
            f"the teacher&rsquo;s speed ({row.milliseconds:.0f} ms against "
            f"{teacher.milliseconds:.0f} ms per image)",
        ),
        (f"{row.mean_scale:.2f}", "mean scale of the sides that it chose"),
    ]
    return "\n".join(f"<li><strong>{big}</strong><span>{small}</span></li>" for big, small in tiles)


def _training(data: PageData) -> str:
    if isinstance(data.training, str) or data.losses is None:
        return f'<p class="problem">{escape(str(data.training))}</p>'
    training = data.training
    first, last, number = training.ends
    iterations = len(training.losses["total"])
    text = (
        f"{escape(data.student.model.label)} was distilled further for {iterations} iterations of "
        f"{training.batch} images, on {training.images} scenes in files, which were registered as "
        "anybody&rsquo;s own data are. The mean total loss of the "
        f"{'first and of the last' if number == 1 else f'first {number} and of the last {number}'} "
        f"iterations: {first:.2f} and {last:.2f}. In each iteration the selector draws the scales "
        "by chance, so that single values scatter. The models in the table did not learn from this."
    )
    alt = "Losses by iteration. " + " ".join(
        f"{name}: {', '.join(f'{value:.2f}' for value in values)}."
        for name, values in training.losses.items()
    )
    return (
        f'<div class="pair"><div><p>{text}</p><details open><summary>The command</summary>'
        f"<pre>{escape(training.command)}</pre></details></div>\n"
        f"<figure>{image_html(data.losses, 'svg+xml', alt)}</figure></div>"
    )


def _pareto_text(data: PageData) -> str:
    return "Accuracy against cost: " + "; ".join(
        f"{row.model.label} {100 * row.e2e['none']:.1f}% at {row.published:.2f} GFLOPs"
        for row in data.rows
    )


def _scales_text(data: PageData) -> str:
    return "Chosen scales. " + " ".join(
        f"{row.model.label}: "
        + ", ".join(
            f"{name} words on average {sum(regime.scales) / len(regime.scales):.2f}"
            for name, regime in row.regimes.items()
        )
        + "."
        for row in _choosing(data)
    )


def _regimes() -> str:
    def heights(populations: Sequence) -> str:
        return " and ".join("{:g} to {:g}".format(*p.letter_height) for p in populations)

    return ", ".join(
        f"{heights(regime.populations)} ({name})" for name, regime in SceneConfig().regimes.items()
    )
