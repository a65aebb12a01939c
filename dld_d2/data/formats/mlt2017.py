"""ICDAR2017 MLT (RRC challenge 8), multi-lingual: quadrilaterals with a script.

`gt_NAME.txt` for image `NAME.jpg`, UTF-8, one word per line:

    606,313,699,313,699,334,606,334,Latin,Theatre

All after the ninth comma is the transcription, commas included; `###` is don't-care.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from dld_d2.data.formats.registry import FORMATS
from dld_d2.data.formats.text_lines import numbers, read_word_files
from dld_d2.data.records import ImageRecord
from dld_d2.data.report import AnnotationError, AnnotationReport
from dld_d2.structures.word import DONT_CARE

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
def mlt2017(
    image_root: str,
    annotations: str,
    report: AnnotationReport,
    *,
    scripts: Sequence[str] | None = None,
) -> Iterator[ImageRecord]:
    """Read a folder of MLT2017 ground truth.

    Args:
        image_root, annotations, report: as any reader.
        scripts: such as `["Latin"]`: words in other scripts become don't-care regions, and images
            without a word that is left and legible are no part of the set. None takes all.

    Raises:
        AnnotationError: for a script that does not exist.
    """
    if scripts is None:
        return read_word_files(image_root, annotations, report, _parse_line)
    unknown = [script for script in scripts if script not in SCRIPTS]
    if isinstance(scripts, str) or unknown or not scripts:
        raise AnnotationError(
            f"option scripts: {scripts!r} is no list of some of {', '.join(SCRIPTS)}"
        )
    records = read_word_files(
        image_root, annotations, report, partial(_parse_line, scripts=frozenset(scripts))
    )
    return (record for record in records if not record.ignore.all())


def _parse_line(line: str, scripts: frozenset[str] = frozenset(SCRIPTS)) -> tuple[list[float], str]:
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
    return numbers(fields[:8]), fields[9].strip() if script in scripts else DONT_CARE
