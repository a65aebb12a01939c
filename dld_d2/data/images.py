"""From whatever holds an image to an array of 8-bit colours: files, what they hold as bytes, Pillow
images, and arrays of other depths and channels."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from dld_d2.structures.files import refuse_special
from dld_d2.structures.pixels import (
    from_16_bits,
    gray_to_bgr,
    on_white,
    pillow_to_bgr,
    upright_size,
)

__all__ = ["ImageLike", "as_bgr", "describe_image", "read_image", "reduced_bgr"]

ImageLike = str | os.PathLike | np.ndarray | Image.Image | bytes | bytearray | memoryview
"""What `as_bgr` takes."""

_ENCODED = bytes | bytearray | memoryview

LeastSize = Callable[[tuple[int, int]], tuple[int, int] | None]
"""From an image's height and width to the least that serve; None if all of its pixels do."""


def read_image(file_name: str | os.PathLike[str], image_format: str) -> np.ndarray:
    """Read an image file as `as_bgr` does.

    Args:
        file_name: the file.
        image_format: order of the channels, "BGR" or "RGB".

    Returns:
        (H, W, 3) uint8.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: naming the file, if it is not an image, is damaged, or no file at all but a folder,
            a named pipe or a device.
        ValueError: for another order.
    """
    if image_format not in ("BGR", "RGB"):
        raise ValueError(f"the order of an image's channels is BGR or RGB, not {image_format!r}")
    image, _ = _read(file_name, None)
    return image if image_format == "BGR" else image[:, :, ::-1]


def _read(
    file_name: str | os.PathLike[str], least: LeastSize | None
) -> tuple[np.ndarray, tuple[int, int]]:
    name = os.fsdecode(file_name)
    refuse_special(name)
    try:
        file = _open(name)
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: there is no such image file") from None
    except Exception as error:
        raise _unreadable(name, error) from error
    with file:
        return _decode(file, name, least)


def _open(name: str) -> BinaryIO:
    if "://" not in name:
        return open(name, "rb")
    # Detectron2 takes a second to load, which reading without it shall not pay.
    from detectron2.utils.file_io import PathManager

    return PathManager.open(name, "rb")


def as_bgr(image: ImageLike) -> np.ndarray:
    """An image as (H, W, 3) uint8 in BGR.

    Args:
        image: one of
            - a file name;
            - what such a file holds, as bytes;
            - a Pillow image of any mode;
            - an array (H, W, 3) in BGR, (H, W, 4) in BGRA, (H, W) or (H, W, 1) in gray, of uint8 or
              uint16.

    Files, bytes and Pillow images are turned upright as their EXIF data say; of several frames or
    pages the first is taken. 16 bits are scaled such that 65535 becomes 255. What is transparent
    shows white. Pillow's modes I and F (32 bits) do not tell their range: it is taken to end at 255
    or 65535, for F also at 1, the first of these that holds all values; values that are negative or
    beyond are stretched from the least to the greatest.

    Returns:
        The array; it may be the given one, or share its memory.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: naming the file, for what cannot be read as an image.
        ValueError: naming type, shape and dtype, for all else.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(image, "BGR")
    if isinstance(image, _ENCODED):
        return _decode(io.BytesIO(image), describe_image(image))[0]
    if isinstance(image, Image.Image):
        try:
            return pillow_to_bgr(image)
        except Exception as error:  # it may be a file that is decoded only now
            raise _unreadable(describe_image(image), error) from error
    if not isinstance(image, np.ndarray):
        raise ValueError(
            "an image must be a file name, an array, a Pillow image, or the bytes of a file; got "
            f"{describe_image(image)}"
        )
    return _array_to_bgr(image)


def reduced_bgr(image: ImageLike, least: LeastSize) -> tuple[np.ndarray, tuple[int, int]]:
    """As `as_bgr`, but what is in JPEG's format, as a file or its bytes, may have fewer pixels.

    JPEG's blocks can be decoded at a half, a quarter or an eighth of the size in a fraction of the
    time; the smallest of these that serves is taken.

    Args:
        image: see `as_bgr`.
        least: gets the image's height and width.

    Returns:
        (h, w, 3) uint8 in BGR; and height and width of all of the image.

    Raises:
        OSError, ValueError: as `as_bgr`.
    """
    if isinstance(image, str | os.PathLike):
        return _read(image, least)
    if isinstance(image, _ENCODED):
        return _decode(io.BytesIO(image), describe_image(image), least)
    array = as_bgr(image)
    return array, array.shape[:2]


def describe_image(image: Any) -> str:
    """What was given in place of an image, for messages: never what it holds.

    Args:
        image: anything.

    Returns:
        The name of a file; of all else the type with its shape and dtype, length, or mode and size,
        where it has them.
    """
    if isinstance(image, str | os.PathLike):
        return os.fsdecode(image)
    kind = type(image).__name__
    if isinstance(image, Image.Image):
        return f"{kind} of mode {image.mode}, {image.width} x {image.height}"
    if hasattr(image, "shape") and hasattr(image, "dtype"):
        return f"{kind} of shape {tuple(image.shape)} and dtype {image.dtype}"
    if isinstance(image, list | tuple | _ENCODED):
        return f"{kind} of length {len(image)}"
    return kind


def _decode(
    file: BinaryIO, name: str, least: LeastSize | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """The image in an open file, perhaps reduced, and the size of all of it.

    Raises:
        OSError: with the name, if there is none.
    """
    try:
        with Image.open(file) as image:
            size = upright_size(image)
            if least is not None and (wanted := least(size)) is not None:
                turned = size != image.size[::-1]
                # Only JPEG has drafts; all else stays as it is.
                image.draft(None, wanted if turned else wanted[::-1])
            return pillow_to_bgr(image), size
    except UnidentifiedImageError:  # its own message shows the open file
        error = ValueError("its format is none that Pillow knows")
        raise _unreadable(name, error) from None
    except Exception as error:  # decoders raise anything on damaged files, often without a name
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> OSError:
    hint = ""
    if isinstance(error, Image.DecompressionBombError):
        hint = "; if you trust it, raise PIL.Image.MAX_IMAGE_PIXELS"
    return OSError(f"{name}: cannot be read as an image ({error}{hint})")


def _array_to_bgr(array: np.ndarray) -> np.ndarray:
    channels = array.shape[2] if array.ndim == 3 else 1
    known_type = array.dtype.kind == "u" and array.dtype.itemsize <= 2
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or not known_type or not array.size:
        raise ValueError(
            "an image must be an array of shape (H, W, 3) in BGR, (H, W, 4) in BGRA, or (H, W) or "
            f"(H, W, 1) in gray, of uint8 or uint16; got {describe_image(array)}{_hint(array)}"
        )
    if array.dtype.itemsize == 2:
        array = from_16_bits(array)
    if channels == 4:
        return on_white(array)
    return array if channels == 3 else gray_to_bgr(array.reshape(array.shape[:2]))


def _hint(array: np.ndarray) -> str:
    if not array.size:
        return "; it has no pixels"
    if array.ndim == 4:
        return "; give one image at a time"
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        return "; the channels come last: array.transpose(1, 2, 0)"
    if array.dtype.kind in "fib":
        return "; scale its values to 0..255 and convert them: array.astype(numpy.uint8)"
    return ""
