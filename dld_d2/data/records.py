"""Annotations of one image, and the checks that all readers share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from dld_d2.data.geometry import clip_to_image, region_area
from dld_d2.data.image_size import read_image_size
from dld_d2.data.report import AnnotationReport
from dld_d2.structures.files import check_regular_file
from dld_d2.structures.limits import MAX_WORDS, check_polygon, check_text

__all__ = ["ImageRecord", "RawWord", "image_id", "make_record", "record_of_size"]


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """Checked annotations of one image.

    Attributes:
        file_name: path relative to the set's image folder, with "/" between folders.
        height, width: pixels.
        polygons: N arrays (K_i, 2) float32, K_i >= 3, vertices (x, y) in pixels within
            [0, width] x [0, height]; pixel (0, 0) covers [0, 1] x [0, 1].
        texts: N transcriptions; "" where nobody transcribed the word.
        ignore: (N,) bool, true for don't-care regions.
    """

    file_name: str
    height: int
    width: int
    polygons: Sequence[np.ndarray]
    texts: Sequence[str]
    ignore: np.ndarray

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ImageRecord):
            return NotImplemented
        return (
            (self.file_name, self.height, self.width)
            == (other.file_name, other.height, other.width)
            and list(self.texts) == list(other.texts)
            and np.array_equal(self.ignore, other.ignore)
            and len(self.polygons) == len(other.polygons)
            and all(map(np.array_equal, self.polygons, other.polygons))
        )


class RawWord(NamedTuple):
    """A word as a reader found it, not yet checked.

    Attributes:
        points: (K, 2) vertices (x, y) in pixels.
        text: transcription.
        ignore: whether the region is don't-care.
        where: file and line or key, for messages.
    """

    points: ArrayLike
    text: str
    ignore: bool
    where: str


def image_id(file_name: str) -> str:
    """Identifier of an image: its path within the image folder without the extension."""
    return os.path.splitext(file_name)[0]


def make_record(
    image_root: str | Path,
    file_name: str,
    words: Iterable[RawWord],
    report: AnnotationReport,
    *,
    where: str,
    size: tuple[int, int] | None = None,
) -> ImageRecord | None:
    """Check the annotations of an image and clip its polygons to it.

    Args:
        image_root: folder that `file_name` is relative to.
        words: what the reader found.
        report: told of everything that cannot be used.
        where: file and line or key that names the image, for messages.
        size: height and width as annotated, if the format tells. The image's own size counts.

    Returns:
        The record, or None if the image cannot be used (and the policy is to skip).

    Raises:
        AnnotationError: if something cannot be used and the policy is to raise.
    """
    actual = _image_size(os.path.join(image_root, file_name), report, where)
    if actual is None:
        return None
    if size is not None and tuple(size) != actual:
        report.bad(
            where,
            "size differs",
            f"the image {file_name} has height x width {actual[0]} x {actual[1]}, its annotation "
            f"says {size[0]} x {size[1]}; give the image that was annotated",
        )
        return None
    return record_of_size(file_name, *actual, words, report)


def record_of_size(
    file_name: str, height: int, width: int, words: Iterable[RawWord], report: AnnotationReport
) -> ImageRecord:
    """As `make_record`, for an image whose size in pixels is known; the image is not looked at."""
    polygons, texts, ignore = [], [], []
    for number, word in enumerate(words):
        if number == MAX_WORDS:
            report.bad(
                word.where,
                "too many words",
                f"an image has at most {MAX_WORDS}; are these the words of many images?",
            )
            break
        polygon = _checked_polygon(word, height, width, report)
        if polygon is None or not _is_text(word, report):
            continue
        polygons.append(polygon)
        texts.append(word.text)
        ignore.append(word.ignore)
    return ImageRecord(
        file_name.replace(os.sep, "/"), height, width, polygons, texts, np.array(ignore, dtype=bool)
    )


def _image_size(path: str, report: AnnotationReport, where: str) -> tuple[int, int] | None:
    try:
        check_regular_file(path)
        return read_image_size(path)
    except FileNotFoundError:
        report.bad(where, "missing image", f"the image {path} does not exist; put it there")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        report.bad(where, "unreadable image", f"the image {path} cannot be read ({error})")
    return None


def _checked_polygon(
    word: RawWord, height: int, width: int, report: AnnotationReport
) -> np.ndarray | None:
    """Vertices (K, 2) float32 within the image, or None where there is no usable region."""
    points = np.asarray(word.points, dtype=np.float64).reshape(-1, 2)
    if len(points) < 3:
        report.bad(
            word.where, "too few points", f"a polygon has at least 3 points, this {len(points)}"
        )
        return None
    if not np.isfinite(points).all():
        report.bad(
            word.where, "non-finite coordinate", "coordinates are finite numbers, not nan or inf"
        )
        return None
    try:
        check_polygon(points)
    except ValueError as error:
        report.bad(word.where, "beyond the limits", str(error))
        return None
    if region_area(points) == 0:
        report.bad(
            word.where, "zero area", f"the polygon has no area: {_coordinates(points)}; correct it"
        )
        return None
    if (points < 0).any() or (points > (width, height)).any():
        clipped = clip_to_image(points, height, width)
        if clipped is None or region_area(clipped) == 0:
            report.bad(
                word.where,
                "outside the image",
                f"the polygon lies outside its image of height x width {height} x {width}: "
                f"{_coordinates(points)}; correct it, or the image",
            )
            return None
        report.note("polygons clipped to the image")
        points = clipped
    return points.astype(np.float32)


def _is_text(word: RawWord, report: AnnotationReport) -> bool:
    try:
        check_text(word.text)
    except ValueError as error:
        report.bad(word.where, "beyond the limits", str(error))
        return False
    try:
        word.text.encode("utf-8")
    except UnicodeEncodeError:
        report.bad(
            word.where, "not Unicode", f"the transcription {word.text!a} has a lone surrogate"
        )
        return False
    return True


def _coordinates(points: np.ndarray) -> str:
    return " ".join(f"({x:g}, {y:g})" for x, y in points[:8]) + (" ..." if len(points) > 8 else "")
