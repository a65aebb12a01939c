"""Size of an image as it will be read, from its header."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from PIL import Image

from dld_d2.structures.files import refuse_special
from dld_d2.structures.pixels import upright_size

__all__ = ["IMAGE_SUFFIXES", "read_image_size"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"})

_PNG_METADATA = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt"})


def read_image_size(path: str | Path) -> tuple[int, int]:
    """Height and width in pixels, after the EXIF orientation that `read_image` applies.

    No pixel is decoded (but for PNG files with metadata, where Pillow needs to).

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it is no image that Pillow knows, or no file at all but a folder, a named pipe
            or a device.
    """
    refuse_special(path)
    with Image.open(path) as image:
        # Pillow decodes a whole PNG before it can say that there is no EXIF data after the pixels.
        if image.format == "PNG" and not _has_png_metadata(path):
            return image.height, image.width
        return upright_size(image)


def _has_png_metadata(path: str | Path) -> bool:
    """Whether a PNG file has a chunk that may carry an orientation."""
    with open(path, "rb") as file:
        file.seek(8)  # signature
        while len(header := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", header)
            if kind in _PNG_METADATA:
                return True
            file.seek(length + 4, os.SEEK_CUR)  # data and checksum
    return False
