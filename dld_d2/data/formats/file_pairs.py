"""Which annotation file belongs to which image, for formats with one file per image."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from dld_d2.data.image_size import IMAGE_SUFFIXES
from dld_d2.data.records import image_id
from dld_d2.data.report import AnnotationError, AnnotationReport

__all__ = ["FilePair", "pair_files", "visible_files"]


class FilePair(NamedTuple):
    """An image and its annotation file.

    Attributes:
        image: path relative to the image folder.
        annotation: path of the annotation file.
    """

    image: str
    annotation: str


def pair_files(
    image_root: str,
    annotations: str,
    report: AnnotationReport,
    *,
    prefixes: Sequence[str],
    suffixes: Sequence[str] = (".txt",),
) -> list[FilePair]:
    """Pair the images of a folder with the annotation files of another, by name.

    An annotation file is named like its image with one of `prefixes` in front and one of
    `suffixes` instead of the image's extension. Sub-folders correspond. Hidden files do not count.

    Returns:
        Pairs in natural order ("img_2" before "img_10"). `report` is told of images and
        annotation files that have no counterpart, or more than one.
    """
    for what, folder in (("images", image_root), ("annotations", annotations)):
        if not os.path.isdir(folder):
            raise AnnotationError(f"{folder}: the {what} of this format are a folder of files")
    images: dict[str, str] = {}
    for path in visible_files(image_root, IMAGE_SUFFIXES):
        other = images.setdefault(image_id(path), path)
        if other != path:
            report.bad(
                os.path.join(image_root, path),
                "duplicate image",
                f"{other} has the same name but for the extension; rename one of them",
            )
    files: dict[str, str] = {}
    for path in visible_files(annotations, suffixes):
        full = os.path.join(annotations, path)
        name = _image_name(image_id(path), images, prefixes)
        if name is None:
            pattern = " or ".join(f"{prefix}<image name>" for prefix in prefixes)
            report.bad(
                full,
                "annotation without image",
                f"no image in {image_root} belongs to this file, which should be named {pattern}; "
                "add the image or move the file elsewhere",
            )
        elif name in files:
            report.bad(
                full,
                "duplicate annotation",
                f"{files[name]} annotates the same image; keep one of them",
            )
        else:
            files[name] = full
    for name in (name for name in images if name not in files):
        path = os.path.join(image_root, images[name])
        expected = f"{prefixes[0]}{os.path.basename(name)}{suffixes[0]}"
        report.bad(
            path,
            "image without annotation",
            f"{annotations} has no {expected} for this image; add it (an empty file if the image "
            "has no words) or remove the image",
        )
    return [FilePair(images[name], files[name]) for name in images if name in files]


def visible_files(folder: str, suffixes: Sequence[str] | frozenset[str]) -> list[str]:
    """Relative paths of the files with these suffixes in a folder and its sub-folders, in natural
    order. Hidden ones, whose names begin with a dot, do not count, nor does what is in them."""
    found = []
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not _leads_back(os.path.join(root, name))
        ]
        found += [
            os.path.relpath(os.path.join(root, name), folder)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes
        ]
    return sorted(found, key=_natural)


def _leads_back(path: str) -> bool:
    """Whether a folder is a link to one that it lies in, which would be walked without end."""
    if not os.path.islink(path):
        return False
    target = os.path.realpath(path)
    return os.path.commonpath([target, os.path.realpath(os.path.dirname(path))]) == target


def _natural(path: str) -> tuple[list[str | int], str]:
    parts = re.split(r"(\d+)", path)
    # Odd places hold the numbers, so that text is only compared with text.
    return [int(part) if i % 2 else part.lower() for i, part in enumerate(parts)], path


def _image_name(stem: str, images: dict[str, str], prefixes: Sequence[str]) -> str | None:
    folder, base = os.path.split(stem)
    for prefix in prefixes:
        name = os.path.join(folder, base[len(prefix) :])
        if base.startswith(prefix) and name in images:
            return name
    return None
