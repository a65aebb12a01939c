"""ICDAR2015 Incidental Scene Text (RRC challenge 4): quadrilaterals.

`gt_NAME.txt` for image `NAME.jpg`, UTF-8 with a byte-order mark, one word per line:

    377,117,463,117,465,130,378,130,Genaxis Theatre

All after the eighth comma is the transcription, commas included; `###` is don't-care.
"""

from __future__ import annotations

from collections.abc import Iterator

from dld_d2.data.formats.registry import FORMATS
from dld_d2.data.formats.text_lines import numbers, read_word_files
from dld_d2.data.records import ImageRecord
from dld_d2.data.report import AnnotationReport

__all__ = ["icdar2015", "parse_quadrilateral"]


@FORMATS.register()
def icdar2015(image_root: str, annotations: str, report: AnnotationReport) -> Iterator[ImageRecord]:
    """Read a folder of ICDAR2015 ground truth."""
    return read_word_files(image_root, annotations, report, parse_quadrilateral)


def parse_quadrilateral(line: str) -> tuple[list[float], str]:
    """Eight coordinates and the transcription of a line x1,y1,x2,y2,x3,y3,x4,y4,text.

    Raises:
        ValueError: if the line is not of that form.
    """
    fields = line.split(",", 8)
    if len(fields) < 9:
        raise ValueError(
            f"expected eight coordinates and a transcription, found {len(fields)} fields"
        )
    return numbers(fields[:8]), fields[8].strip()
