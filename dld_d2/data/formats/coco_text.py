"""COCO-Text V2: one JSON file with polygons for images of COCO's train2014.

`imgs` maps an image's id to its `file_name`, `width`, `height` and `set`, `imgToAnns` to the ids of
its annotations, `anns` an annotation's id to its `mask` (x1, y1, ..., xn, yn), `utf8_string` and
`legibility`. Illegible text is don't-care.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dld_d2.data.formats.flat_points import pair_coordinates
from dld_d2.data.formats.json_file import load_object
from dld_d2.data.formats.registry import FORMATS
from dld_d2.data.records import ImageRecord, RawWord, make_record
from dld_d2.data.report import AnnotationError, AnnotationReport

__all__ = ["coco_text"]


@FORMATS.register()
def coco_text(
    image_root: str, annotations: str, report: AnnotationReport, split: str | None = None
) -> Iterator[ImageRecord]:
    """Read the JSON file.

    Args:
        split: "train" or "val", the part of the set; None reads all images.
    """
    content = load_object(annotations)
    for key in ("imgs", "anns", "imgToAnns"):
        if not isinstance(content.get(key), dict):
            raise AnnotationError(
                f"{annotations}: has no object {key!r}; is it the file of COCO-Text V2?"
            )
    images, words = content["imgs"], content["anns"]
    for key, image in images.items():
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str):
            raise AnnotationError(f"{annotations}, image {key}: has no 'file_name'")
    chosen = {key: image for key, image in images.items() if split in (None, image.get("set"))}
    if not chosen:
        sets = sorted({str(image.get("set")) for image in images.values()})
        raise AnnotationError(f"{annotations}: no image is in set {split!r}; sets are {sets}")
    report.expected = len(chosen)
    for key, image in chosen.items():
        where = f"{annotations}, image {key}"
        ids = content["imgToAnns"].get(key, [])
        if not isinstance(ids, list):
            report.bad(where, "malformed image", "its entry in 'imgToAnns' is no list")
            continue
        record = make_record(
            image_root,
            image["file_name"],
            _words(annotations, words, ids, report),
            report,
            where=where,
            size=(image["height"], image["width"]) if {"height", "width"} <= set(image) else None,
        )
        if record is not None:
            yield record


def _words(
    path: str, words: dict[str, Any], ids: list[Any], report: AnnotationReport
) -> Iterator[RawWord]:
    for number in ids:
        where = f"{path}, annotation {number}"
        word = words.get(str(number))
        if not isinstance(word, dict):
            report.bad(where, "missing annotation", "'imgToAnns' names it, 'anns' lacks it")
            continue
        text, legibility = word.get("utf8_string", ""), word.get("legibility")
        if not isinstance(text, str) or legibility not in ("legible", "illegible"):
            report.bad(
                where,
                "malformed annotation",
                f"'utf8_string' is {text!r} and 'legibility' {legibility!r}; they should be a "
                "string, and 'legible' or 'illegible'",
            )
            continue
        try:
            points = pair_coordinates(word.get("mask"))
        except ValueError as error:
            report.bad(where, "malformed polygon", f"'mask' {error}")
            continue
        yield RawWord(points, text, legibility == "illegible", where)
