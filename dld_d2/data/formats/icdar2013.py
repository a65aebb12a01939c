"""ICDAR2013 Focused Scene Text (RRC challenge 2): rectangles.

`gt_NAME.txt` for image `NAME.jpg`, one word per line, in one of the forms that the challenge's
site publishes:

    38, 43, 920, 215, "Tiredness"                       localisation, test part
    38 43 920 215 "Tiredness"                           localisation, training part
    38,43,920,43,920,215,38,215,Tiredness               end-to-end

A quoted transcription writes a double quote as \\" and a backslash as \\\\ .
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dld_d2.data.formats.icdar2015 import parse_quadrilateral
from dld_d2.data.formats.registry import FORMATS
from dld_d2.data.formats.text_lines import numbers, read_word_files
from dld_d2.data.records import ImageRecord
from dld_d2.data.report import AnnotationReport

__all__ = ["icdar2013"]

_FIELD = r"([^\s,\"]+)"
_COMMAS = re.compile(rf'{_FIELD}\s*,\s*{_FIELD}\s*,\s*{_FIELD}\s*,\s*{_FIELD}\s*,\s*"(.*)"')
_SPACES = re.compile(rf'{_FIELD}\s+{_FIELD}\s+{_FIELD}\s+{_FIELD}\s+"(.*)"')
_ESCAPE = re.compile(r'\\(["\\])')


@FORMATS.register()
def icdar2013(image_root: str, annotations: str, report: AnnotationReport) -> Iterator[ImageRecord]:
    """Read a folder of ICDAR2013 ground truth."""
    return read_word_files(image_root, annotations, report, _parse_line)


def _parse_line(line: str) -> tuple[list[float], str]:
    match = _COMMAS.fullmatch(line) or _SPACES.fullmatch(line)
    if match is None:
        if line.count(",") >= 8:
            return parse_quadrilateral(line)
        raise ValueError(
            'the line is neither x0, y0, x1, y1, "text" nor x0 y0 x1 y1 "text" nor eight '
            "coordinates and a transcription"
        )
    left, top, right, bottom = numbers(match.groups()[:4])
    if right < left or bottom < top:
        raise ValueError(f"the corner ({right:g}, {bottom:g}) is not right below the first")
    text = _ESCAPE.sub(r"\1", match.group(5))
    return [left, top, right, top, right, bottom, left, bottom], text
