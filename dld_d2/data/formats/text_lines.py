"""Annotation files with one word per line."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterator, Sequence

from dld_d2.data.formats.file_pairs import pair_files
from dld_d2.data.records import ImageRecord, RawWord, make_record
from dld_d2.data.report import AnnotationReport, shortened
from dld_d2.structures.files import check_regular_file
from dld_d2.structures.word import DONT_CARE

__all__ = ["is_readable", "numbers", "read_lines", "read_word_files"]

MAX_FILE_BYTES = 4 * 2**20
"""Of the annotation of one image; a hundred words take 5,000."""

# Takes a line, returns the flat coordinates x1, y1, ..., xn, yn and the transcription.
# Raises ValueError with a message for a line that is not of its form.
LineParser = Callable[[str], tuple[list[float], str]]


def read_word_files(
    image_root: str,
    annotations: str,
    report: AnnotationReport,
    parse: LineParser,
    prefixes: Sequence[str] = ("gt_",),
) -> Iterator[ImageRecord]:
    """Read a set with one annotation file per image, one word per line, `###` for don't-care."""
    pairs = pair_files(image_root, annotations, report, prefixes=prefixes)
    report.expected = len(pairs)
    for image, path in pairs:
        if not is_readable(path, report):
            continue
        words = _parse_words(path, parse, report)
        record = make_record(image_root, image, words, report, where=path)
        if record is not None:
            yield record


def _parse_words(path: str, parse: LineParser, report: AnnotationReport) -> Iterator[RawWord]:
    for number, line in read_lines(path, report):
        where = f"{path}:{number}"
        try:
            coordinates, text = parse(line)
        except ValueError as error:
            report.bad(
                where, "malformed line", f"{error}; correct the line {shortened(line, 400)!r}"
            )
            continue
        points = [coordinates[i : i + 2] for i in range(0, len(coordinates), 2)]
        yield RawWord(points, text, text == DONT_CARE, where)


def is_readable(path: str, report: AnnotationReport) -> bool:
    """Whether a path is a file that may be the annotation of one image; `report` is told if not."""
    try:
        check_regular_file(path)
    except OSError as error:
        report.bad(path, "unreadable annotation", f"cannot be read ({error})")
        return False
    size = os.path.getsize(path)
    if size > MAX_FILE_BYTES:
        report.bad(
            path,
            "unreadable annotation",
            f"has {size} bytes, more than {MAX_FILE_BYTES}; is it the annotation of one image?",
        )
        return False
    return True


def read_lines(path: str, report: AnnotationReport) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file that are not blank, with their numbers from 1.

    A byte-order mark is dropped, any line end is understood. A line that is not UTF-8 is bad.
    """
    with open(path, "rb") as file:
        content = file.read()
    content = content.removeprefix(codecs.BOM_UTF8)
    for number, raw in enumerate(content.split(b"\n"), start=1):
        try:
            line = raw.decode("utf-8").strip()
        except UnicodeDecodeError:
            report.bad(
                f"{path}:{number}", "not UTF-8", "the line is not UTF-8 text; convert the file"
            )
            continue
        if line:
            yield number, line


def numbers(fields: Sequence[str]) -> list[float]:
    """Coordinates written in decimal.

    Raises:
        ValueError: naming the field that is no number.
    """
    values = []
    for field in fields:
        try:
            value = float(field)
        except ValueError:
            value = None
        # Python's own notation of long numbers, 4_000, is no annotation's.
        if value is None or "_" in field:
            raise ValueError(f"{field.strip()!r} is not a number")
        values.append(value)
    return values
