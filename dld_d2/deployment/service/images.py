"""Images that strangers send."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from dld_d2.data.images import as_bgr
from dld_d2.deployment.service.limits import RequestError
from dld_d2.structures.errors import one_line

__all__ = ["FORMATS", "check", "decode"]

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
"""Those of Pillow's that are decoded. Others are rare in photographs, and some of them run another
program (EPS) or follow what the file says to other places."""


def check(body: bytes, max_pixels: int) -> None:
    """Refuse what its first bytes show to be none or too large; no pixel is decoded.

    Args:
        body: the content of an image file.
        max_pixels: width times height, at most.

    Raises:
        RequestError: of status 400 for an empty body, 413 for too many pixels, 415 for what is no
            image of a known format, and 422 for a header that is damaged.
    """
    if not body:
        raise RequestError(400, "the body is empty; send the bytes of an image file")
    with _opened(body, max_pixels) as image:
        width, height = image.size
    if width * height > max_pixels:
        raise RequestError(
            413, f"the image has {width} x {height} pixels, more than {max_pixels} altogether"
        )


def decode(body: bytes, max_pixels: int) -> np.ndarray:
    """The image of a request with which `check` found nothing wrong.

    Returns:
        (H, W, 3) uint8 in BGR, see `dld_d2.data.images.as_bgr`.

    Raises:
        RequestError: of status 422 for an image that is damaged.
    """
    with _opened(body, max_pixels) as image:
        try:
            return as_bgr(image)
        except OSError as error:
            raise RequestError(422, one_line(error, 300)) from None


def _opened(body: bytes, max_pixels: int) -> Image.Image:
    try:
        return Image.open(io.BytesIO(body), formats=FORMATS)
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise RequestError(415, f"the body is no image of a known format: {known}") from None
    except Image.DecompressionBombError:
        raise RequestError(413, f"the image has more than {max_pixels} pixels") from None
    except Exception as error:  # headers that are damaged make decoders raise anything
        raise RequestError(422, f"the image is damaged: {one_line(error, 200)}") from None
