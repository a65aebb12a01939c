"""SynthText in the Wild: `gt.mat` with quadrilaterals of words.

Cell arrays over images: `imnames` (path of the image), `wordBB` (2 x 4 x words, or 2 x 4 for a
single word: x and y of the corners), `txt` (blocks of text, whose words, separated by white space
and line ends, are the boxes' in order). Convert it once with `tools/prepare_dataset.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dld_d2.data.formats.matlab import load_variables
from dld_d2.data.formats.registry import FORMATS
from dld_d2.data.records import ImageRecord, RawWord, make_record
from dld_d2.data.report import AnnotationError, AnnotationReport

__all__ = ["synthtext"]

_VARIABLES = ("imnames", "wordBB", "txt")


@FORMATS.register()
def synthtext(image_root: str, annotations: str, report: AnnotationReport) -> Iterator[ImageRecord]:
    """Read `gt.mat`."""
    try:
        content = load_variables(annotations, _VARIABLES)
    except AnnotationError as error:
        raise AnnotationError(f"{annotations}: {error}") from None
    missing = [name for name in _VARIABLES if name not in content]
    if missing:
        raise AnnotationError(f"{annotations}: has no variable {', '.join(missing)}")
    names, boxes, texts = (content[name].ravel() for name in _VARIABLES)
    if not len(names) == len(boxes) == len(texts):
        raise AnnotationError(
            f"{annotations}: {len(names)} imnames, {len(boxes)} wordBB and {len(texts)} txt; they "
            "should be as many"
        )
    report.expected = len(names)
    for number, (name, box, text) in enumerate(zip(names, boxes, texts, strict=True), start=1):
        file_name = str(np.ravel(name)[0])
        where = f"{annotations}, image {number} ({file_name})"
        words = _words(box, text, where, report)
        if words is None:
            continue
        record = make_record(image_root, file_name, words, report, where=where)
        if record is not None:
            yield record


def _words(
    box: np.ndarray, text: np.ndarray, where: str, report: AnnotationReport
) -> list[RawWord] | None:
    """The words of an image, or None if boxes and texts do not belong together."""
    transcriptions = [word for block in np.ravel(text) for word in str(block).split()]
    if box.ndim == 2:
        box = box[:, :, None]
    if box.ndim != 3 or box.shape[:2] != (2, 4):
        report.bad(where, "malformed boxes", f"wordBB is {box.shape}, not 2 x 4 x words")
        return None
    if box.shape[2] != len(transcriptions):
        report.bad(
            where,
            "boxes and words differ",
            f"{box.shape[2]} boxes for {len(transcriptions)} words in txt; correct one of them",
        )
        return None
    return [
        RawWord(corners, word, False, f"{where}, word {i}")
        for i, (corners, word) in enumerate(
            zip(box.transpose(2, 1, 0), transcriptions, strict=True), start=1
        )
    ]
