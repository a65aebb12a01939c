"""Which characters of a reading are wrong (Figure A4 of the DLD paper)."""

from __future__ import annotations

from rapidfuzz.distance import Levenshtein

__all__ = ["GAP", "Marked", "mark_reading"]

GAP = "\N{MIDDLE DOT}"
"""Stands where a character was left out."""

Marked = list[tuple[str, bool]]
"""Pieces of a text, each with whether it is wrong."""


def mark_reading(written: str, reading: str) -> Marked:
    """Align a reading with what is written, by the fewest edits; case does not matter.

    Returns:
        Pieces that join to the reading, but for a `GAP` for each character that it lacks, with
        whether they are wrong; neighbours differ in that.
    """
    operations = Levenshtein.editops(_folded(written), _folded(reading))
    wrong = {op.dest_pos for op in operations if op.tag != "delete"}
    gaps = [op.dest_pos for op in operations if op.tag == "delete"]
    marks: list[tuple[str, bool]] = []
    for position in range(len(reading) + 1):
        marks += [(GAP, True)] * gaps.count(position)
        marks += [(c, position in wrong) for c in reading[position : position + 1]]
    pieces: Marked = []
    for character, is_wrong in marks:
        if pieces and pieces[-1][1] == is_wrong:
            pieces[-1] = (pieces[-1][0] + character, is_wrong)
        else:
            pieces.append((character, is_wrong))
    return pieces


def _folded(text: str) -> str:
    """In upper case, where that keeps the number of characters."""
    return "".join(c.upper() if len(c.upper()) == 1 else c for c in text)
