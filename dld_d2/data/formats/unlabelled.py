"""Photographs that nobody annotated: all images of a folder and its sub-folders.

There is no annotation file. A distillation lets its teacher read them (docs/distillation.md);
nothing else can learn from them, or be evaluated on them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from dld_d2.data.formats.file_pairs import visible_files
from dld_d2.data.formats.registry import FORMATS
from dld_d2.data.image_size import IMAGE_SUFFIXES
from dld_d2.data.records import ImageRecord, make_record
from dld_d2.data.report import AnnotationError, AnnotationReport

__all__ = ["unlabelled"]


@FORMATS.register()
def unlabelled(
    image_root: str, annotations: None, report: AnnotationReport
) -> Iterator[ImageRecord]:
    """List the images, in natural order; none of them has words."""
    if not os.path.isdir(image_root):
        raise AnnotationError(f"{image_root}: is no folder of images")
    files = visible_files(image_root, IMAGE_SUFFIXES)
    report.expected = len(files)
    for file_name in files:
        where = os.path.join(image_root, file_name)
        try:
            file_name.encode("utf-8")
        except UnicodeEncodeError:
            report.bad(f"{where!a}", "not Unicode", "the file's name is not UTF-8; rename it")
            continue
        record = make_record(image_root, file_name, [], report, where=where)
        if record is not None:
            yield record
