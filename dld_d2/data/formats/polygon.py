"""Polygons of any number of vertices, as the curve-capable ICDAR evaluation has its ground truth.

`NAME.txt`, `gt_NAME.txt` or `poly_gt_NAME.txt` for image `NAME.jpg`, UTF-8, one word per line:

    157,663,311,643,502,676,621,728,583,813,460,758,291,733,160,746,JAMESON

The transcription holds no comma, unless all polygons of the set have the same number of vertices
and the option `points` tells it. `###` is don't-care.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from dld_d2.data.formats.registry import FORMATS
from dld_d2.data.formats.text_lines import numbers, read_word_files
from dld_d2.data.records import ImageRecord
from dld_d2.data.report import AnnotationReport

__all__ = ["polygon"]


@FORMATS.register()
def polygon(
    image_root: str, annotations: str, report: AnnotationReport, points: int | None = None
) -> Iterator[ImageRecord]:
    """Read a folder of polygon files.

    Args:
        points: number of vertices on every line; None takes it from the line.
    """
    return read_word_files(
        image_root,
        annotations,
        report,
        partial(_parse_line, points=points),
        prefixes=("", "gt_", "poly_gt_"),
    )


def _parse_line(line: str, points: int | None) -> tuple[list[float], str]:
    if points is not None:
        fields = line.split(",", 2 * points)
        if len(fields) != 2 * points + 1:
            raise ValueError(
                f"expected {points} points x,y and a transcription, found {len(fields)} fields"
            )
        return numbers(fields[:-1]), fields[-1].strip()
    fields = line.split(",")
    if len(fields) < 7 or len(fields) % 2 == 0:
        raise ValueError(
            "expected at least three points x,y and a transcription without commas (the format "
            f"datalist, or the option points, allows commas), found {len(fields)} fields"
        )
    return numbers(fields[:-1]), fields[-1].strip()
