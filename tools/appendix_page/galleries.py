"""Figures A1 to A4 and A7: images and words, chosen by rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from itertools import zip_longest

import numpy as np
from html_page.parts import scrolling

from appendix_page.evaluations import Evaluation
from appendix_page.item import Cell, Exhibit, Item, Missing
from appendix_page.pictures import crop_cell, image_cell, padded, reading_cell
from appendix_page.sheet import sheet
from appendix_page.study import Study
from dld_d2.analysis.appendix.choices import (
    draw_by_scale,
    draw_words,
    most_words,
    smaller_without_loss,
)
from dld_d2.analysis.appendix.outcomes import WordPair

__all__ = ["figure_a1", "figure_a2", "figure_a3", "figure_a4", "figure_a7"]

_PER_SCALE = 3
_COLOURS = (
    '<span class="key alike">Blue</span>: right. <span class="key differ">Orange</span>: misread; '
    "hatched: not found. Yellow: no word of the ground truth. Grey: don&rsquo;t care. Below are "
    "the words that only one of the two has right, with wrong characters in "
    '<span class="red">red</span> and a dot for each that is missing. Images are as coarse as they '
    "were seen."
)


def figure_a1(studies: Sequence[Study], seed: int) -> Item:
    """Images of each scale, by DRS-only, or by DLD where there is none."""
    chosen = {}
    for number, study in enumerate(studies):
        evaluation = study.drs_only or study.dld[0]
        chosen |= {(number, image): scale for image, scale in evaluation.scales.items()}
    drawn = draw_by_scale(chosen, _PER_SCALE, seed)
    totals = {scale: sum(s == scale for s in chosen.values()) for scale in drawn}
    exhibits = [
        Exhibit(
            f"Scale {scale:g}",
            f"{totals[scale]} of {len(chosen)} images",
            [
                image_cell(studies[number], image, f"{image}, scale {scale:g}")
                for number, image in images
            ],
            small=True,
        )
        for scale, images in drawn.items()
    ]
    label = (studies[0].drs_only or studies[0].dld[0]).label
    return Item(
        "figure_a1",
        "Figure A1: images by the scale that they got",
        f"Drawn at random from the images to which {label} gave each scale. Larger and fewer words "
        "should stand at small scales, small words at large ones.",
        "\n".join(exhibit.html() for exhibit in exhibits),
        {"figure_a1.jpg": _columns(exhibits, width=240)},
    )


def figure_a2(studies: Sequence[Study], most: int) -> Item | Missing:
    """What SKD-only reads at the low scale and vanilla does not."""
    title = "Figure A2: what distillation wins at one low scale"
    if any(study.vanilla_low is None or study.skd_only is None for study in studies):
        return Missing(title, "it needs an SKD-only model (--skd-only) and vanilla at a low scale")
    body, files = [], {}
    for study in studies:
        pairs = study.pairs(study.vanilla_low, study.skd_only)
        found = most_words(pairs, lambda pair: pair.right == (False, True), most)
        exhibits = [
            _pair_exhibit(study, (study.vanilla_low, study.skd_only), pairs, image)
            for image, _ in found
        ]
        _add(body, files, "figure_a2", study, exhibits)
    return Item(
        "figure_a2",
        title,
        "The images in which most words are wrong with vanilla at the low scale and right with "
        f"SKD-only there. {_COLOURS}",
        "\n".join(body),
        files,
    )


def figure_a3(studies: Sequence[Study], most: int) -> Item | Missing:
    """What DLD reads and SKD-only at one scale does not."""
    title = "Figure A3: what choosing wins over one low scale"
    if any(study.skd_only is None for study in studies):
        return Missing(title, "it needs an SKD-only model (--skd-only)")
    body, files = [], {}
    for study in studies:
        first, second = study.skd_only, study.dld[0]
        pairs = study.pairs(first, second)
        found = most_words(pairs, lambda pair: pair.right == (False, True), most)
        exhibits = [_pair_exhibit(study, (first, second), pairs, image) for image, _ in found]
        saved = smaller_without_loss(pairs, second.scales, study.low)
        if saved is not None:
            exhibit = _pair_exhibit(study, (first, second), pairs, saved)
            note = "a smaller scale, and no word is lost; the one with most words right"
            exhibits.append(Exhibit(exhibit.title, note, exhibit.cells))
        _add(body, files, "figure_a3", study, exhibits)
    return Item(
        "figure_a3",
        title,
        "The images in which most words are wrong with SKD-only and right with DLD, and one that "
        f"DLD reads at a smaller scale without losing any. {_COLOURS}",
        "\n".join(body),
        files,
    )


def figure_a4(studies: Sequence[Study], most: int, seed: int) -> Item | Missing:
    """Words that the low scale loses, and what DLD makes of them."""
    title = "Figure A4: words that a low scale loses"
    if any(study.vanilla_low is None for study in studies):
        return Missing(title, "it needs vanilla at a low scale: a model, or --vanilla-low")
    body, files = [], {}
    for study in studies:
        pairs = study.pairs(study.vanilla, study.vanilla_low)
        chosen = {(p.image, p.index): p for p in study.pairs(study.vanilla, study.dld[0])}
        rows = []
        for pair in draw_words(pairs, most, seed):
            dld = chosen[pair.image, pair.index]
            cells = [
                crop_cell(study, study.vanilla, pair, second=False),
                crop_cell(study, study.vanilla_low, pair, second=True),
                crop_cell(study, study.dld[0], dld, second=True),
            ]
            rows.append((pair, cells))
        body.append(_heading(studies, study) + _crop_table(study, rows))
        if rows:
            shapes = [cell.picture.shape for _, cells in rows for cell in cells]
            size = np.max(shapes, axis=0)
            labels = [e.label for e in (study.vanilla, study.vanilla_low, study.dld[0])]
            grid = [
                [
                    replace(padded(cell, size), head=f"{label}, {cell.head}")
                    for label, cell in zip(labels, cells, strict=True)
                ]
                for _, cells in rows
            ]
            files[f"figure_a4_{study.name}.jpg"] = sheet(grid, width=320)
    return Item(
        "figure_a4",
        title,
        "Drawn at random among the words that vanilla reads at full size and not at the low "
        'scale, one of an image. Wrong characters are <span class="red">red</span>, a dot stands '
        "for one that is missing. The crops are as coarse as they were seen.",
        "\n".join(body),
        files,
    )


def figure_a7(
    studies: Sequence[Study], most: int, remedies: Sequence[dict[str, str]]
) -> Item | Missing:
    """Words that DLD loses in images that it reads below full size, or in parts.

    Args:
        studies, most: as elsewhere.
        remedies: for each study, image id -> what would have given it a larger scale.
    """
    body, files = [], {}
    for study, remedy in zip(studies, remedies, strict=True):
        first, second = study.vanilla, study.dld[0]
        pairs = study.pairs(first, second)
        if second.tells_scales:
            pairs = [pair for pair in pairs if second.scales[pair.image] < 1]
        found = most_words(pairs, _lost, most)
        exhibits = []
        for image, number in found:
            exhibit = _pair_exhibit(study, (first, second), pairs, image)
            heights = study.heights[image]
            note = (
                f"{number} word{'' if number == 1 else 's'} lost; words are {heights.min():.0f} to "
                f"{heights.max():.0f} pixels high at full size (ratio "
                f"{heights.max() / heights.min():.1f}){remedy.get(image, '')}"
            )
            exhibits.append(Exhibit(exhibit.title, note, exhibit.cells))
        _add(body, files, "figure_a7", study, exhibits)
    if studies[0].dld[0].tells_scales:
        title = "Figure A7: where the choice of scale went wrong"
        reading = (
            "The images with most words that vanilla reads at full size and DLD does not at the "
            "scale that it chose. Often a few small words stand beside large ones, and the large "
            "ones were heeded."
        )
    else:
        title = "Figure A7: where most is lost"
        reading = "The images with most words that vanilla reads and DLD does not."
    return Item(
        "figure_a7",
        title,
        f"{reading} {_COLOURS}",
        "\n".join(body),
        files,
    )


def _lost(pair: WordPair) -> bool:
    return pair.right == (True, False)


def _pair_exhibit(
    study: Study,
    evaluations: tuple[Evaluation, Evaluation],
    pairs: Sequence[WordPair],
    image: str,
) -> Exhibit:
    """One image under two settings, with the words that only one of them has right."""
    here = [pair for pair in pairs if pair.image == image]
    listed = [pair.index for pair in here if pair.right[0] != pair.right[1]]
    won = sum(pair.right == (False, True) for pair in here)
    cells = [reading_cell(study, evaluation, image, listed) for evaluation in evaluations]
    return Exhibit(image, f"{won} won, {sum(map(_lost, here))} lost", cells)


def _heading(studies: Sequence[Study], study: Study) -> str:
    return f'<h4 class="set">{escape(study.name)}</h4>\n' if len(studies) > 1 else ""


def _add(
    body: list[str], files: dict[str, bytes], key: str, study: Study, exhibits: list[Exhibit]
) -> None:
    """Put the exhibits of a set on the page, and on a sheet."""
    body.append(f'<h4 class="set">{escape(study.name)}</h4>')
    if not exhibits:
        body.append("<p>There is no such image.</p>")
        return
    body += [exhibit.html() for exhibit in exhibits]
    files[f"{key}_{study.name}.jpg"] = _columns(exhibits)


def _columns(exhibits: Sequence[Exhibit], width: int = 420) -> bytes:
    """A sheet with the pictures of each exhibit above each other."""
    cells: list[tuple[Cell | None, ...]] = list(zip_longest(*(e.cells for e in exhibits)))
    return sheet(cells, width)


def _crop_table(study: Study, rows: Sequence[tuple[WordPair, list[Cell]]]) -> str:
    if not rows:
        return "<p>There is no such word.</p>"
    labels = [e.label for e in (study.vanilla, study.vanilla_low, study.dld[0])]
    head = "".join(f'<th scope="col">{name}</th>' for name in map(escape, ("Written", *labels)))
    lines = [
        f'<tr><th scope="row">{escape(pair.text)}</th>'
        + "".join(f"<td>{cell.html(pair.text)}</td>" for cell in cells)
        + "</tr>"
        for pair, cells in rows
    ]
    table = (
        f'<table class="crops"><thead><tr>{head}</tr></thead>\n<tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table>"
    )
    return scrolling(table, f"Words of {study.name}")
