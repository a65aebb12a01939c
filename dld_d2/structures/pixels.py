"""Colours of 8 bits from pictures of any depth and mode."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageCms

__all__ = ["from_16_bits", "gray_to_bgr", "on_white", "pillow_to_bgr", "upright_size"]

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED = frozenset({5, 6, 7, 8})  # orientations that swap width and height


def exif_orientation(image: Image.Image) -> int | None:
    """1 to 8, how an image is to be turned; None if it does not say or its EXIF data are malformed,
    and such an image is read as it is."""
    try:
        return image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # Pillow raises anything on malformed data
        return None


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width of an image as its EXIF data say that it stands."""
    width, height = image.size
    return (width, height) if exif_orientation(image) in _TURNED else (height, width)


def pillow_to_bgr(image: Image.Image) -> np.ndarray:
    """A Pillow image of any mode as (H, W, 3) uint8 in BGR, upright as its EXIF data say, without
    cutting off what is above 8 bits; `dld_d2.data.images.as_bgr` tells how each becomes 8 bits.

    Raises:
        ValueError: for values that are NaN or infinite. Pillow raises anything for a file that is
            decoded only now.
    """
    turn = _UPRIGHT.get(exif_orientation(image))
    if turn is not None:
        image = image.transpose(turn)
    # Pillow's own conversions cut off what is above 255.
    if image.mode in ("I", "F"):
        return gray_to_bgr(_without_range(np.asarray(image), fractions=image.mode == "F"))
    if image.mode.startswith("I;16"):
        return gray_to_bgr(from_16_bits(np.asarray(image)))
    # Nor does it convert these.
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return on_white(np.asarray(image.convert("RGBA"))[..., [2, 1, 0, 3]])
    return np.asarray(image.convert("RGB"))[:, :, ::-1]


def from_16_bits(array: np.ndarray) -> np.ndarray:
    """Values of 16 bits rounded to 8: 65535 is 255 times 257."""
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _without_range(values: np.ndarray, fractions: bool) -> np.ndarray:
    """Gray values whose range is not told, as uint8; see `dld_d2.data.images.as_bgr`."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("it holds values that are NaN or infinite")
    top = next((top for top in (1, 255, 65535)[not fractions :] if high <= top), None)
    if low < 0 or top is None:
        values, top = values - np.float64(low), max(high - low, 1e-300)
    return np.rint(values * (255 / top)).astype(np.uint8)


def gray_to_bgr(gray: np.ndarray) -> np.ndarray:
    """(H, W) as (H, W, 3)."""
    return np.repeat(gray[:, :, None], 3, axis=2)


def on_white(bgra: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8 in BGRA before white, as (H, W, 3)."""
    colours, alpha = bgra[..., :3].astype(np.uint16), bgra[..., 3:].astype(np.uint16)
    return ((colours * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
