"""ICDAR2017 MLT (RRC challenge 8), multi-lingual: quadrilaterals with a script.

`gt_NAME.txt` for image `NAME.jpg`, UTF-8, one word per line:

    606,313,699,313,699,334,606,334,Latin,Theatre

All after the ninth comma is the transcription, commas included; `###` is don't-care.
"""

from __future__ import annotations

from collections.abc import Iterator

from dld_d2.data.formats.registry import FORMATS
from dld_d2.data.formats.text_lines import numbers, read_word_files
from dld_d2.data.records import ImageRecord
from dld_d2.data.report import AnnotationReport

__all__ = ["mlt2017"]

# Hindi came with the 2019 edition, in the same format.
SCRIPTS = (
    "Arabic",
    "Bangla",
    "Chinese",
    "Hindi",
    "Japanese",
    "Korean",
    "Latin",
    "Mixed",
    "None",
    "Symbols",
)


@FORMATS.register()
def mlt2017(image_root: str, annotations: str, report: AnnotationReport) -> Iterator[ImageRecord]:
    """Read a folder of MLT2017 ground truth."""
    return read_word_files(image_root, annotations, report, _parse_line)


def _parse_line(line: str) -> tuple[list[float], str]:
    fields = line.split(",", 9)
    if len(fields) < 10:
        raise ValueError(
            f"expected eight coordinates, a script and a transcription, found {len(fields)} fields"
        )
    script = fields[8].strip()
    if script not in SCRIPTS:
        raise ValueError(
            f"{script!r} is none of the scripts {', '.join(SCRIPTS)} (lines without a "
            "script are of format icdar2015)"
        )
    return numbers(fields[:8]), fields[9].strip()
