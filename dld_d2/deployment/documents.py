"""Documents of several pages: PDF and TIFF files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from math import sqrt
from pathlib import Path

import numpy as np
from PIL import Image

from dld_d2.data.images import as_bgr
from dld_d2.structures.errors import UsageError, one_line
from dld_d2.structures.files import require_file

__all__ = ["DPI", "MAX_PIXELS", "count_pages", "is_document", "read_pages"]

DPI = 200
"""At which pages of PDF files are drawn, pixels per inch: letters of 8 points become some 15 pixels
high."""

MAX_PIXELS = 40_000_000
"""Of a page; larger ones of PDF files (of more than some 31 inches each way) are drawn coarser."""

_POINTS = 72  # of PDF, per inch
_KIND = 254  # tag of TIFF, NewSubfileType
_COPY_OR_MASK = 0b101  # its bits for a page that is a smaller copy of another, or a mask


def is_document(file: str) -> bool:
    """Whether a file's name is that of a PDF or TIFF file."""
    return Path(file).suffix.lower() in (".pdf", ".tif", ".tiff")


def count_pages(file: str) -> int:
    """How many pages a document has; smaller copies in TIFF files do not count.

    Raises:
        OSError: naming the file, if there is none, or it is damaged or locked by a password.
        UsageError: for a PDF file, if pypdfium2 is not installed.
    """
    require_file(file)
    if _is_pdf(file):
        with closing(_open_pdf(file)) as pdf:
            return len(pdf)
    try:
        with Image.open(file) as image:
            return len(_frames(image))
    except Exception as error:  # decoders raise anything on damaged files
        raise _unreadable(file, error) from None


def read_pages(file: str) -> Iterator[np.ndarray | OSError]:
    """The pages of a document, one in memory at a time.

    Yields:
        For each of `count_pages` (H, W, 3) uint8 in BGR, or the error, naming file and page, if it
        is damaged or has too many pixels.

    Raises:
        OSError, UsageError: as `count_pages`.
    """
    return _pdf_pages(file) if _is_pdf(file) else _tiff_pages(file)


def _is_pdf(file: str) -> bool:
    return Path(file).suffix.lower() == ".pdf"


def _open_pdf(file: str):
    try:
        import pypdfium2
    except ImportError:
        raise UsageError(
            f"{file}: reading PDF files needs pypdfium2, which is not installed: "
            "pip install 'dld_d2[pdf]'"
        ) from None
    try:
        return pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        raise _unreadable(file, error) from None


def _pdf_pages(file: str) -> Iterator[np.ndarray | OSError]:
    with closing(_open_pdf(file)) as pdf:
        pdf.init_forms()  # else what was filled in is not drawn
        for i in range(len(pdf)):
            try:
                yield _drawn(pdf[i])
            except Exception as error:
                yield _unreadable(f"{file}, page {i + 1}", error)


def _drawn(page) -> np.ndarray:
    with closing(page):
        width, height = page.get_size()
        if not (width > 0 and height > 0):
            raise ValueError(f"it is {width:g} x {height:g} points large")
        scale = min(DPI / _POINTS, sqrt(MAX_PIXELS / (width * height)))
        with closing(page.render(scale=scale)) as bitmap:
            return as_bgr(bitmap.to_numpy().copy())


def _tiff_pages(file: str) -> Iterator[np.ndarray | OSError]:
    with Image.open(file) as image:
        for number, frame in enumerate(_frames(image), 1):
            try:
                image.seek(frame)
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise ValueError(f"it has {width} x {height} pixels, more than {MAX_PIXELS}")
                page = as_bgr(image)
            except Exception as error:
                page = _unreadable(f"{file}, page {number}", error)
            yield page


def _frames(image: Image.Image) -> list[int]:
    """Which frames of a TIFF file are pages."""
    frames = []
    for i in range(getattr(image, "n_frames", 1)):
        image.seek(i)
        if i == 0 or not image.tag_v2.get(_KIND, 0) & _COPY_OR_MASK:
            frames.append(i)
    return frames


def _unreadable(name: str, error: Exception) -> OSError:
    return OSError(f"{name}: cannot be read as a document ({one_line(error, 300)})")
