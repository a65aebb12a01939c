"""The page: one HTML file that holds all it shows, and a file for each item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from html_page.parts import stylesheet

from appendix_page.item import Item, Missing, Table

__all__ = ["PageData", "Section", "build_page", "write_files"]

_TEMPLATE = Path(__file__).parent / "page.html"


@dataclass(frozen=True)
class Section:
    """Items that answer one question."""

    title: str
    items: Sequence[Item | Missing]


@dataclass(frozen=True)
class PageData:
    """All that the page shows.

    Attributes:
        summary: sentences.
        tiles: (figure, what it is).
        settings: (setting, what it is).
        scores: of all settings.
        sections: in order.
        versions: of the software.
    """

    summary: str
    tiles: Sequence[tuple[str, str]]
    settings: Sequence[tuple[str, str]]
    scores: Table
    sections: Sequence[Section]
    versions: str


def build_page(data: PageData) -> str:
    """HTML without script and without reference to anything outside it."""
    missing = [i for section in data.sections for i in section.items if isinstance(i, Missing)]
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=stylesheet(),
        summary=escape(data.summary),
        tiles="\n".join(
            f"<li><strong>{escape(big)}</strong><span>{escape(small)}</span></li>"
            for big, small in data.tiles
        ),
        settings="\n".join(
            f"<li><strong>{escape(name)}</strong>: {escape(text)}</li>"
            for name, text in data.settings
        ),
        missing=_missing(missing),
        scores=data.scores.html("Scores of all settings"),
        sections="\n".join(map(_section, data.sections)),
        versions=escape(data.versions),
    )


def write_files(sections: Sequence[Section], folder: Path) -> list[str]:
    """Write the files of all items.

    Returns:
        Their names.
    """
    names = []
    for section in sections:
        for item in section.items:
            if isinstance(item, Item):
                for name, content in item.files.items():
                    (folder / name.replace("/", "_")).write_bytes(content)
                    names.append(name)
    return names


def _missing(items: Sequence[Missing]) -> str:
    if not items:
        return ""
    lines = "\n".join(f"<li>{escape(i.title)}: {escape(i.why)}.</li>" for i in items)
    return f'<div class="problem"><p>Left out:</p><ul>\n{lines}\n</ul></div>'


def _section(section: Section) -> str:
    items = [item for item in section.items if isinstance(item, Item)]
    if not items:
        return ""
    return (
        f"<section>\n<h2>{escape(section.title)}</h2>\n"
        + "\n".join(map(_item, items))
        + ("\n</section>")
    )


def _item(item: Item) -> str:
    return (
        f'<div class="item" id="{item.key}">\n<h3>{escape(item.title)}</h3>\n'
        f'<p class="lead">{item.reading}</p>\n{item.body}\n</div>'
    )
