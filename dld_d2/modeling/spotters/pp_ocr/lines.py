"""Lines as the recogniser takes them, and the words that it reads in them.

Without PyTorch, for what reads by the exported networks alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["HEIGHT", "MAX_WIDTH", "PIXELS_PER_POSITION", "WIDTH_STEP", "LinePart", "parts_of_line"]

HEIGHT = 48
"""Of the words that are read, in pixels."""

WIDTH_STEP = 32
"""To multiples of which, in pixels, the widths of words are rounded."""

MAX_WIDTH = 1920
"""In pixels; longer lines are compressed."""

PIXELS_PER_POSITION = 8
"""Columns of a word for each position of the sequence that is read."""


class LinePart(NamedTuple):
    """A word of a line.

    Attributes:
        text: without spaces.
        start, stop: where it lies along the line, as fractions of it.
        score: mean probability of its characters.
    """

    text: str
    start: float
    stop: float
    score: float


def parts_of_line(
    classes: Sequence[int],
    columns: Sequence[float],
    probabilities: Sequence[float],
    characters: str,
    length: int,
) -> list[LinePart]:
    """The words of a line that was read, split at its spaces.

    A word ends half way between its last character and the space, which is where the gap begins if
    the space is as wide as a character. A line without spaces is one part, from 0 to 1.

    Args:
        classes: of the line's characters; what follows a negative one is padding.
        columns: positions of the characters' centres along the line.
        probabilities: of the characters.
        characters: of the vocabulary.
        length: positions of this line, without padding.
    """
    count = next((i for i, c in enumerate(classes) if c < 0), len(classes))
    text = "".join(characters[c] for c in classes[:count])
    parts, begin = [], 0
    for end in [*(i for i, c in enumerate(text) if c == " "), count]:
        if end > begin:
            start = 0.0 if begin == 0 else (columns[begin - 1] + columns[begin]) / 2 / length
            stop = 1.0 if end == count else (columns[end - 1] + columns[end]) / 2 / length
            score = sum(probabilities[begin:end]) / (end - begin)
            parts.append(LinePart(text[begin:end], start, stop, score))
        begin = end + 1
    return parts
