"""What commands show: results on standard output, all else on standard error."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track
from rich.table import Table

__all__ = ["console", "messages", "progress", "table"]

T = TypeVar("T")
# What is printed holds names of files and words that were read: text, and never markup.
_PLAIN = {"soft_wrap": True, "highlight": False, "markup": False, "emoji": False}
console = Console(**_PLAIN)
messages = Console(stderr=True, **_PLAIN)


def progress(items: Iterable[T], title: str, total: int | None = None) -> Iterable[T]:
    """The items, with a bar on standard error while they are gone through.

    Args:
        items: to go through.
        title: of the bar.
        total: their number, if they do not tell it.
    """
    return track(items, title, total=total, console=messages, transient=True)


def table(title: str, *columns: str, words: Collection[str] = ()) -> Table:
    """An empty table of figures, which are aligned on the right.

    Args:
        title: above it.
        columns: their names.
        words: those of the columns that hold words, which are aligned on the left.
    """
    empty = Table(title=title, title_justify="left")
    for name in columns:
        empty.add_column(name, justify="left" if name in words else "right", no_wrap=True)
    return empty
