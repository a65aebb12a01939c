"""Small sets of images and annotations for tests of the data code."""

from pathlib import Path

from PIL import Image

from dld_d2.data import AnnotationReport, ImageRecord, read_records


def write_image(path: Path, width: int = 100, height: int = 80, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(path, **options)
    return path


def write_set(root: Path, image: str, annotation: str, content: str | bytes) -> Path:
    """One 100 x 80 image in `root/images`, one annotation file in `root/gt`; returns the latter."""
    write_image(root / "images" / image)
    path = root / "gt" / annotation
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def read(
    root: Path, format: str, annotations: str = "gt", on_bad: str = "raise", **options
) -> tuple[list[ImageRecord], AnnotationReport]:
    report = AnnotationReport(on_bad)
    records = read_records(format, root / "images", root / annotations, report, **options)
    return list(records), report
