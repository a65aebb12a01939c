"""Requests as strangers send them: photographs, and what is none."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

__all__ = ["HOSTILE", "Request", "Requests", "huge_png"]

_TOO_LARGE = 21_000_000  # bytes, above the service's default limit


class Request(NamedTuple):
    """
    Attributes:
        kind: a word for what it is.
        body: that is sent.
        expected: statuses that are right for it.
    """

    kind: str
    body: bytes
    expected: tuple[int, ...]


class Requests:
    """A stream of them.

    Args:
        files: photographs.
        draw: what is random.
        hostile: share of those that are no photographs.
    """

    def __init__(self, files: Sequence[str], draw: random.Random, hostile: float) -> None:
        self._files, self._draw, self._hostile = files, draw, hostile

    def next(self) -> Request:
        """The next one."""
        if self._draw.random() < self._hostile:
            return self._draw.choice(HOSTILE)(self._photograph(), self._draw)
        # 503 and 504 are what a service says that has too much to do.
        return Request("photograph", self._photograph(), (200, 503, 504))

    def _photograph(self) -> bytes:
        """A random part of one, at least a quarter of each side, as JPEG."""
        with Image.open(self._draw.choice(self._files)) as image:
            width, height = (round(side * self._draw.uniform(0.25, 1)) for side in image.size)
            x = self._draw.randint(0, image.width - width)
            y = self._draw.randint(0, image.height - height)
            stream = io.BytesIO()
            image.convert("RGB").crop((x, y, x + width, y + height)).save(stream, "JPEG")
        return stream.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A PNG file of few bytes that promises many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(10_000))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _noise(_: bytes, draw: random.Random) -> Request:
    return Request("no image", draw.randbytes(50_000), (415, 503))


def _cut_off(photograph: bytes, draw: random.Random) -> Request:
    # Half of it is past the header, which tells the format.
    return Request("cut off", photograph[: len(photograph) // 2], (422, 503, 504))


def _scrambled(photograph: bytes, draw: random.Random) -> Request:
    """Some bytes are others; decoders of JPEG make a picture of most of it."""
    body = bytearray(photograph)
    for _ in range(20):
        body[draw.randrange(2, len(body))] = draw.randrange(256)
    return Request("scrambled", bytes(body), (200, 413, 415, 422, 503, 504))


def _huge(_: bytes, draw: random.Random) -> Request:
    return Request("huge image", huge_png(100_000, draw.randint(90_000, 110_000)), (413, 503))


def _too_large(_: bytes, draw: random.Random) -> Request:
    return Request("large body", bytes(_TOO_LARGE), (413, 503))


def _empty(_: bytes, draw: random.Random) -> Request:
    return Request("empty", b"", (400, 503))


HOSTILE = (_noise, _cut_off, _scrambled, _huge, _too_large, _empty)
"""Functions that make one each, of a photograph and of what is random."""
