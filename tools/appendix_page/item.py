"""What the page consists of: tables and figures, each with how to read it, or why it is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from html_page.parts import image_html, jpeg, scrolling
from table_reproduction.table import markdown

from dld_d2.analysis.appendix.characters import Marked

__all__ = ["Cell", "Exhibit", "Item", "Missing", "Table", "figure_html"]


@dataclass(frozen=True)
class Item:
    """A table or figure.

    Attributes:
        key: of its files and its anchor, such as "table_a1".
        title: above it.
        reading: how to read it, HTML.
        body: HTML.
        files: name -> content, without folder.
    """

    key: str
    title: str
    reading: str
    body: str
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Missing:
    """A table or figure that cannot be made.

    Attributes:
        title: of it.
        why: in one line, and what would help.
    """

    title: str
    why: str


@dataclass(frozen=True)
class Table:
    """Cells of text, the first of each row being its name."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def html(self, label: str) -> str:
        """A table that scrolls by itself; `label` says what it is."""
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.header)
        body = "\n".join(
            f'<tr><th scope="row">{escape(row[0])}</th>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in self.rows
        )
        table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
        return scrolling(table, label)

    def markdown(self) -> bytes:
        """As a file."""
        rows = [[cell.replace("|", "\\|") for cell in row] for row in self.rows]
        return (markdown(tuple(self.header), rows) + "\n").encode()


@dataclass(frozen=True, eq=False)
class Cell:
    """A picture with what is said below it.

    Attributes:
        picture: (H, W, 3) uint8 BGR.
        head: such as model and scale.
        readings: of single words, with what is wrong in them.
    """

    picture: np.ndarray
    head: str
    readings: Sequence[Marked] = ()

    def html(self, alt: str) -> str:
        """A figure."""
        words = "".join(f"<li>{_marked_html(reading)}</li>" for reading in self.readings)
        words = f'<ul class="words">{words}</ul>' if words else ""
        image = image_html(jpeg(self.picture), "jpeg", f"{alt}: {self.head}")
        return f"<figure>{image}<figcaption>{escape(self.head)}{words}</figcaption></figure>"


@dataclass(frozen=True, eq=False)
class Exhibit:
    """Pictures that belong together.

    Attributes:
        title: above them.
        note: why they are shown.
        cells: at least one.
        small: whether they are to be small, side by side.
    """

    title: str
    note: str
    cells: Sequence[Cell]
    small: bool = False

    def html(self) -> str:
        """An article."""
        cells = "\n".join(cell.html(self.title) for cell in self.cells)
        note = f'<p class="note">{escape(self.note)}</p>\n' if self.note else ""
        return (
            f"<article>\n<h4>{escape(self.title)}</h4>\n{note}"
            f'<div class="{"thumbnails" if self.small else "pair"}">\n{cells}\n</div>\n</article>'
        )


def figure_html(plot: bytes, alt: str, caption: str) -> str:
    """A plot, SVG, with a caption."""
    image = image_html(plot, "svg+xml", alt)
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _marked_html(reading: Marked) -> str:
    return "".join(
        f'<span class="red">{escape(text)}</span>' if wrong else escape(text)
        for text, wrong in reading
    )
