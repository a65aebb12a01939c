"""Datalist, the JSON form in which the authors of DLD publish the lists of all their sets.

    {"images/img19.jpg": {"height": 1280, "width": 960,
                          "content_ann": {"bboxes": [[145, 202, 322, 246, 480, 333, 449, 380]],
                                          "cares": [1],
                                          "texts": ["Chateau"]}}}

Keys are paths relative to the image folder. A box is x1, y1, ..., xn, yn, or x0, y0, x1, y1 of a
rectangle; `cares` 0, or the transcription `###`, is don't-care. `height`, `width`, `cares` and
`texts` may be left out: the image tells its size, all words count, nobody transcribed them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from dld_d2.data.formats.flat_points import pair_coordinates
from dld_d2.data.formats.json_file import load_object
from dld_d2.data.formats.registry import FORMATS
from dld_d2.data.records import ImageRecord, RawWord, make_record
from dld_d2.data.report import AnnotationReport
from dld_d2.structures.word import DONT_CARE

__all__ = ["datalist", "entry_words"]


@FORMATS.register()
def datalist(image_root: str, annotations: str, report: AnnotationReport) -> Iterator[ImageRecord]:
    """Read the JSON file."""
    content = load_object(annotations)
    report.expected = len(content)
    for file_name, entry in content.items():
        where = f"{annotations}, image {file_name!r}"
        words = entry_words(entry, report, where=where)
        if words is None:
            continue
        size = (entry.get("height"), entry.get("width"))
        record = make_record(
            image_root,
            file_name,
            words,
            report,
            where=where,
            size=size if None not in size else None,
        )
        if record is not None:
            yield record


def entry_words(entry: Any, report: AnnotationReport, *, where: str) -> Iterable[RawWord] | None:
    """The words of an image, as its entry in the file has them, not yet checked.

    Args:
        entry: what the file holds for the image.
        report: told of what is not of the format's form.
        where: file and key, for messages.

    Returns:
        The words, or None if the entry cannot be used (and the policy is to skip).
    """
    try:
        boxes, cares, texts = _fields(entry)
    except ValueError as error:
        report.bad(where, "malformed image", str(error))
        return None
    return _words(where, boxes, cares, texts, report)


def _fields(entry: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Boxes, cares and texts of an image, equally many."""
    content = entry.get("content_ann") if isinstance(entry, dict) else None
    if not isinstance(content, dict) or not isinstance(content.get("bboxes"), list):
        raise ValueError("has no 'content_ann' with a list 'bboxes'")
    boxes = content["bboxes"]
    cares = content.get("cares", [1] * len(boxes))
    texts = content.get("texts", [""] * len(boxes))
    for key, values in (("cares", cares), ("texts", texts)):
        if not isinstance(values, list) or len(values) != len(boxes):
            found = len(values) if isinstance(values, list) else type(values).__name__
            raise ValueError(f"has {len(boxes)} 'bboxes' but {key!r} is {found}; make them equal")
    return boxes, cares, texts


def _words(
    place: str, boxes: list[Any], cares: list[Any], texts: list[Any], report: AnnotationReport
) -> Iterator[RawWord]:
    for number, (box, care, text) in enumerate(zip(boxes, cares, texts, strict=True), start=1):
        where = f"{place}, word {number}"
        if care not in (0, 1) or not isinstance(text, str):
            report.bad(
                where,
                "malformed word",
                f"'cares' is {care!r} and 'texts' {text!r}; they should be 0 or 1, and a string",
            )
            continue
        try:
            points = pair_coordinates(box)
        except ValueError as error:
            report.bad(where, "malformed polygon", f"the box {error}")
            continue
        if len(points) == 2:
            (left, top), (right, bottom) = points
            points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        yield RawWord(points, text, care == 0 or text == DONT_CARE, where)
