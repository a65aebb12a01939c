"""Total-Text: polygons, as MATLAB files or in text form.

`poly_gt_imgN.mat` for image `imgN.jpg` holds a cell array `polygt` (in other editions `gt`) with
the columns 'x:', x coordinates, 'y:', y coordinates, transcription and orientation;
`poly_gt_imgN.txt` the same as

    x: [[115 503 494 115]], y: [[322 346 426 404]], ornt: [u'm'], transcriptions: [u'nauGHTY']

where long lists of coordinates continue on the next line. `#` as transcription or orientation is
don't-care.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator

import numpy as np

from dld_d2.data.formats.file_pairs import pair_files
from dld_d2.data.formats.matlab import load_variables
from dld_d2.data.formats.registry import FORMATS
from dld_d2.data.formats.text_lines import is_readable, numbers, read_lines
from dld_d2.data.records import ImageRecord, RawWord, make_record
from dld_d2.data.report import AnnotationError, AnnotationReport, shortened

__all__ = ["totaltext"]

# A word of thirty points has some 400 characters; the time `_ENTRY` takes grows with the square.
_MAX_ENTRY = 20_000
_HASH = "#"  # the set's mark for don't-care
_ENTRY = re.compile(
    r"x:\s*\[\[(?P<x>[^\]]*)\]\]\s*,\s*y:\s*\[\[(?P<y>[^\]]*)\]\]\s*,"
    r"\s*ornt:\s*(?P<orientation>\[.*\])\s*,\s*transcriptions:\s*(?P<text>\[.*\])"
)


@FORMATS.register()
def totaltext(image_root: str, annotations: str, report: AnnotationReport) -> Iterator[ImageRecord]:
    """Read a folder of Total-Text ground truth."""
    pairs = pair_files(
        image_root,
        annotations,
        report,
        prefixes=("poly_gt_", "gt_"),
        suffixes=(".mat", ".txt"),
    )
    report.expected = len(pairs)
    for image, path in pairs:
        if not is_readable(path, report):
            continue
        words = _read_text(path, report)
        if os.path.splitext(path)[1].lower() == ".mat":
            try:
                rows = _load_rows(path)
            except AnnotationError as error:
                report.bad(path, "unreadable annotation", str(error))
                continue
            words = _read_rows(path, rows, report)
        record = make_record(image_root, image, words, report, where=path)
        if record is not None:
            yield record


def _load_rows(path: str) -> np.ndarray:
    """The cell array of a MATLAB file, one row per word."""
    variables = load_variables(path, ("polygt", "gt"))
    if not variables:
        raise AnnotationError(
            "has no variable 'polygt' or 'gt'; the polygon ground truth is needed, not the "
            "rectangles or masks"
        )
    return next(iter(variables.values()))


def _read_rows(path: str, rows: np.ndarray, report: AnnotationReport) -> Iterator[RawWord]:
    for number, row in enumerate(rows, start=1):
        where = f"{path}, word {number}"
        if len(row) < 5 or _string(row[0]) != "x:" or _string(row[2]) != "y:":
            report.bad(where, "malformed row", "expected the columns 'x:', x, 'y:', y, text")
            continue
        try:
            x, y = (np.asarray(row[i], dtype=np.float64).ravel() for i in (1, 3))
        except (TypeError, ValueError):
            report.bad(where, "malformed row", "the coordinates are no numbers")
            continue
        # An empty cell stands for text that nobody could read.
        text = _string(row[4]) or _HASH
        orientation = _string(row[5]) if len(row) > 5 else ""
        yield from _word(x, y, text, orientation, where, report)


def _string(cell: np.ndarray) -> str:
    """Text of a cell, "" for an empty one."""
    return "".join(str(part) for part in np.ravel(cell)).strip()


def _read_text(path: str, report: AnnotationReport) -> Iterator[RawWord]:
    for number, entry in _entries(path, report):
        where = f"{path}:{number}"
        try:
            if len(entry) > _MAX_ENTRY:
                raise ValueError(f"it has {len(entry)} characters, more than {_MAX_ENTRY}")
            match = _ENTRY.fullmatch(entry)
            if match is None:
                raise ValueError(
                    "expected x: [[...]], y: [[...]], ornt: [...], transcriptions: [...]"
                )
            x, y = (np.array(numbers(match[axis].replace(",", " ").split())) for axis in ("x", "y"))
            text = _literal(match["text"]) or _HASH
            orientation = _literal(match["orientation"])
        except ValueError as error:
            report.bad(
                where, "malformed line", f"{error}; correct the entry {shortened(entry, 400)!r}"
            )
            continue
        yield from _word(x, y, text, orientation, where, report)


def _entries(path: str, report: AnnotationReport) -> Iterator[tuple[int, str]]:
    """Entries, each on one line, with the number of their first line."""
    start, parts = 0, []
    for number, line in read_lines(path, report):
        if line.startswith("x:") and parts:
            yield start, " ".join(parts)
            parts = []
        if not parts:
            start = number
        parts.append(line)
    if parts:
        yield start, " ".join(parts)


def _literal(source: str) -> str:
    """The string in a Python list of at most one, "" if the list is empty."""
    try:
        values = ast.literal_eval(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # the last two: nested too deep
        values = None
    if not isinstance(values, list) or len(values) > 1:
        raise ValueError(f"{shortened(source, 100)} is not a list with one string")
    return str(values[0]).strip() if values else ""


def _word(
    x: np.ndarray,
    y: np.ndarray,
    text: str,
    orientation: str,
    where: str,
    report: AnnotationReport,
) -> Iterator[RawWord]:
    if len(x) != len(y):
        report.bad(where, "malformed polygon", f"{len(x)} x coordinates and {len(y)} y coordinates")
        return
    ignore = _HASH in (text, orientation)
    if ignore and len(x) < 3:
        # The published files mark some images that way; there is no region to care about or not.
        report.note("don't-care entries without a region")
        return
    yield RawWord(np.stack([x, y], axis=1), text, ignore, where)
