"""Readers of annotation formats, by name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from fvcore.common.registry import Registry

from dld_d2.data.records import ImageRecord, image_id
from dld_d2.data.report import AnnotationError, AnnotationReport

__all__ = [
    "FORMATS",
    "UNLABELLED",
    "check_annotations",
    "check_options",
    "get_reader",
    "read_records",
]

UNLABELLED = "unlabelled"
"""The format of images that nobody annotated, the only one without a path of annotations."""

Reader = Callable[..., Iterator[ImageRecord]]

# Names of the readers that come with the package, each in the module of this name.
_BUILTIN = (
    "coco_text",
    "datalist",
    "icdar2013",
    "icdar2015",
    "mlt2017",
    "polygon",
    "synthtext",
    "totaltext",
    UNLABELLED,
)


class _Formats(Registry):
    """A registry that imports the built-in readers when they are first asked for."""

    def _do_register(self, name: str, obj: object) -> None:
        # A reader of a user's must not take the place of one that is just not imported yet.
        assert name not in _BUILTIN or obj.__module__ == _module(name), (
            f"{name!r} is a built-in annotation format; choose another name"
        )
        super()._do_register(name, obj)

    def get(self, name: str) -> Reader:
        if name in _BUILTIN:
            importlib.import_module(_module(name))
        return super().get(name)

    def __contains__(self, name: str) -> bool:
        return name in _BUILTIN or super().__contains__(name)

    def __iter__(self) -> Iterator[tuple[str, Reader]]:
        for name in _BUILTIN:
            self.get(name)
        return super().__iter__()

    def __repr__(self) -> str:
        return f"Registry of FORMATS: {', '.join(name for name, _ in self)}"

    __str__ = __repr__


def _module(name: str) -> str:
    return f"{__package__}.{name}"


FORMATS = _Formats("FORMATS")
FORMATS.__doc__ = """
Registry of annotation formats. A reader is a generator function

    reader(image_root: str, annotations: str, report: AnnotationReport, **options)

named like its format (`annotations` is None for "unlabelled" alone). It yields one `ImageRecord`
per image in a fixed order, made by `make_record`, sets `report.expected`, and tells `report.bad` of
what it cannot use. Its further keyword arguments are the options of `register_text_dataset`.
"""


def get_reader(format: str) -> Reader:
    """The reader of a format.

    Raises:
        ValueError: naming the known formats, if there is none.
    """
    if format not in FORMATS:
        known = ", ".join(sorted(name for name, _ in FORMATS))
        raise ValueError(f"unknown annotation format {format!r}; known are: {known}")
    return FORMATS.get(format)


def check_options(format: str, options: Mapping[str, object]) -> None:
    """Check that a format has these options.

    Raises:
        ValueError: naming the options it has, if not.
    """
    known = list(inspect.signature(get_reader(format)).parameters)[3:]
    unknown = sorted(set(options) - set(known))
    if unknown:
        has = f"it has: {', '.join(known)}" if known else "it has none"
        raise ValueError(f"format {format!r} has no option {', '.join(unknown)}; {has}")


def check_annotations(format: str, annotations: object) -> None:
    """Check that there is a path of annotations, None standing for none, where there must be one.

    Raises:
        ValueError: if not, or if the format has no use for one.
    """
    if format == UNLABELLED and annotations is not None:
        raise ValueError(
            f"format {UNLABELLED!r} is of images without annotations: leave annotations "
            f"({annotations}) out, or name their format"
        )
    if format != UNLABELLED and annotations is None:
        raise ValueError(
            f"format {format!r} needs annotations, a file or folder; only {UNLABELLED!r} has none"
        )


def read_records(
    format: str,
    image_root: str | Path,
    annotations: str | Path | None,
    report: AnnotationReport,
    **options: object,
) -> Iterator[ImageRecord]:
    """Read annotations of any registered format, image by image.

    Args:
        format: name of the format.
        image_root: folder of the images.
        annotations: file or folder, as the format has it; None for "unlabelled".
        report: told of what is left out or changed.
        options: options of the format.

    Raises:
        AnnotationError: for what cannot be used (if the report's policy is "raise"), if two images
            have one name, and if there is no image at all.
        ValueError: for an unknown format or option, and as `check_annotations`.
    """
    reader = get_reader(format)
    check_options(format, options)
    check_annotations(format, annotations)
    for what, path in (("image folder", image_root), ("annotations", annotations)):
        if path is not None and not Path(path).exists():
            raise AnnotationError(
                f"{path}: does not exist ({what}); put it there, as datasets/README.md tells, or "
                "correct the path"
            )
    source = image_root if annotations is None else annotations
    place = None if annotations is None else str(annotations)
    seen: dict[str, str] = {}
    for record in reader(str(image_root), place, report, **options):
        name = image_id(record.file_name)
        if name in seen:
            report.bad(
                f"{source}, image {record.file_name}",
                "duplicate image",
                f"{seen[name]} has the same name but for the extension; rename one of them"
                if seen[name] != record.file_name
                else "the image occurs twice; remove one of its entries",
            )
            continue
        seen[name] = record.file_name
        yield record
    if not seen and annotations is None:
        raise AnnotationError(
            f"{image_root}: no usable image ({len(report.skips)} left out) in it or its sub-folders"
        )
    if not seen:
        raise AnnotationError(
            f"{annotations}: no usable image ({len(report.skips)} left out); is {image_root} its "
            f"image folder and {format!r} its format?"
        )
