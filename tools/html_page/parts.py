"""Parts of pages that are one file: no script, and no reference to anything outside."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

import cv2
import numpy as np

__all__ = ["image_html", "jpeg", "scrolling", "stylesheet"]

_JPEG_QUALITY = 85


def stylesheet() -> str:
    """CSS of all pages."""
    return (Path(__file__).parent / "page.css").read_text(encoding="utf-8").strip()


def image_html(content: bytes, kind: str, alt: str) -> str:
    """An image that is in the page itself.

    Args:
        content: of the image file.
        kind: "jpeg", "png" or "svg+xml".
        alt: what it shows, for those who do not see it.
    """
    encoded = base64.b64encode(content).decode("ascii")
    return f'<img src="data:image/{kind};base64,{encoded}" alt="{escape(alt)}">'


def jpeg(picture: np.ndarray) -> bytes:
    """(H, W, 3) uint8 BGR as a JPEG file."""
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()


def scrolling(table: str, label: str) -> str:
    """A table that scrolls by itself where the page is too narrow for it.

    Args:
        table: HTML.
        label: what it is, for those who do not see it.
    """
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">{table}</div>'
    )
