"""Scenes of the gallery as HTML."""

from __future__ import annotations

from html import escape

from html_page.parts import image_html, scrolling

from demo_page.gallery import Disagreement, Exhibit
from demo_page.measure import Reading
from dld_d2.evaluation import DONT_CARE

__all__ = ["exhibit_html", "picture_html"]

_OPEN_UP_TO = 6


def exhibit_html(exhibit: Exhibit, student: str) -> str:
    """An article: pictures, chosen scale, and the list of disagreements.

    Args:
        exhibit: the scene.
        student: label of the student.
    """
    scale = exhibit.student.scale
    chips = [f"{student} chose scale {scale:g}"]
    chips += [f"{label} chose {other:g}" for label, other in exhibit.other_scales.items()]
    chip_row = "".join(f'<span class="chip">{escape(chip)}</span>' for chip in chips)
    teacher_picture, student_picture = (
        picture_html(picture, reading, who)
        for picture, reading, who in zip(
            exhibit.pictures,
            (exhibit.teacher, exhibit.student),
            ("Teacher", student),
            strict=True,
        )
    )
    return (
        f"<article>\n<h3>{escape(exhibit.scene.image_id)}</h3>\n"
        f'<p class="note">{escape(exhibit.why)}</p>\n'
        f"<p>{chip_row}</p>\n"
        f'<div class="pair">\n{teacher_picture}\n{student_picture}\n</div>\n'
        f"{_disagreements(exhibit, student)}\n</article>"
    )


def picture_html(picture: bytes, reading: Reading, who: str) -> str:
    """A figure: JPEG with the words drawn, and what reading them took."""
    texts = ", ".join(word.text for word in reading.words) or "nothing"
    caption = (
        f"{who}, scale {reading.scale:g}: {reading.published:.2f} GFLOPs, "
        f"{1000 * reading.seconds:.0f} ms"
    )
    return (
        f"<figure>{image_html(picture, 'jpeg', f'{who} reads: {texts}')}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _disagreements(exhibit: Exhibit, student: str) -> str:
    comparison = exhibit.comparison
    number = len(comparison.disagreements)
    alike = f"{comparison.alike} word{'' if comparison.alike == 1 else 's'} read alike"
    if not number:
        return f"<p>No disagreement; {alike}.</p>"
    rows = "\n".join(
        f'<tr><th scope="row">{_written(item)}</th>{_cell(item, item.teacher)}'
        f"{_cell(item, item.student)}</tr>"
        for item in comparison.disagreements
    )
    is_open = " open" if number <= _OPEN_UP_TO else ""
    plural = "" if number == 1 else "s"
    table = (
        '<table><thead><tr><th scope="col">Written</th><th scope="col">Teacher</th>'
        f'<th scope="col">{escape(student)}</th></tr></thead>\n<tbody>\n{rows}\n</tbody></table>'
    )
    return (
        f"<details{is_open}><summary>{number} disagreement{plural}; {alike}</summary>\n"
        f"{scrolling(table, f'Disagreements on {exhibit.scene.image_id}')}</details>"
    )


def _written(item: Disagreement) -> str:
    if item.written is None:
        return '<span class="none">no word</span>'
    if item.written == DONT_CARE:
        return '<span class="none">don&rsquo;t care</span>'
    return escape(item.written)


def _cell(item: Disagreement, reading: str | None) -> str:
    right = item.is_right(reading)
    mark = {True: ("right", "&#10003; "), False: ("wrong", "&#10007; "), None: ("", "")}[right]
    text = '<span class="none">not found</span>' if reading is None else escape(reading)
    if reading == "":
        text = '<span class="none">read as nothing</span>'
    verdict = {True: "right: ", False: "wrong: ", None: ""}[right]
    hidden = f'<span class="hidden">{verdict}</span>' if verdict else ""
    return f'<td class="{mark[0]}">{hidden}<span aria-hidden="true">{mark[1]}</span>{text}</td>'
