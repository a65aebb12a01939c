"""Looking through a MATLAB file before SciPy makes arrays of it.

A file says itself how large its arrays are, and a few bytes of a compressed one become gigabytes.
What is checked here: that variables hold nothing but cells, text and numbers, that they hold as
much as they say, and that they do not inflate beyond measure. The form is that of MathWorks'
"MAT-File Format", version 5.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Collection, Iterator
from typing import BinaryIO, NamedTuple

__all__ = ["check_contents"]

MAX_INFLATION = 100
"""How much larger than compressed a variable may be: names of images that were numbered through
inflate 23 times, coordinates 1.5 times; the worst that zlib knows is 1000 times."""

ALWAYS_ALLOWED = 64 * 2**20
"""Bytes that a variable may have in any case."""

_MAX_DEPTH = 8  # of cells in cells: the published files have 2

_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15  # kinds of elements
_CELL, _TEXT, _NUMBERS = 1, 4, range(6, 16)  # kinds of arrays
_OTHERS = {2: "a struct", 3: "an object", 5: "a sparse matrix", 16: "a function", 17: "an object"}


def check_contents(path: str, names: Collection[str]) -> None:
    """Check the named variables of a file; others are left alone, as SciPy leaves them.

    Raises:
        ValueError: saying what no annotations hold. The caller names the file.
        NotImplementedError: for a file of version 7.3, which is another format.
    """
    with open(path, "rb") as file:
        header = file.read(_HEADER_BYTES)
        order = {b"IM": "<", b"MI": ">"}.get(header[126:])
        if len(header) < _HEADER_BYTES or order is None:
            raise ValueError("it has no header of version 5")
        if struct.unpack(order + "H", header[124:126])[0] == 0x0200:
            raise NotImplementedError("version 7.3")
        left = os.fstat(file.fileno()).st_size - _HEADER_BYTES
        while left >= 8:
            kind, size = struct.unpack(order + "II", file.read(8))
            left -= 8 + size
            if left < 0:
                raise ValueError("it is cut off")
            following = file.tell() + size
            if kind == _COMPRESSED:
                _check_variable(_inflated(file, size), order, names)
            elif kind == _MATRIX:
                tag = struct.pack(order + "II", kind, size)
                _check_variable(iter([tag + file.read(size)]), order, names)
            file.seek(following)


def _inflated(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The bytes of a compressed element, piece by piece."""
    limit = max(ALWAYS_ALLOWED, MAX_INFLATION * size)
    stream = zlib.decompressobj()
    done = 0
    while size and not stream.eof:
        piece = file.read(min(size, 2**16))
        size -= len(piece)
        while piece:
            try:
                inflated = stream.decompress(piece, 2**20)
            except zlib.error as error:
                raise ValueError(str(error)) from None
            done += len(inflated)
            if done > limit:
                raise ValueError(
                    f"a variable inflates to more than {limit} bytes, {MAX_INFLATION} times its "
                    "compressed size (a bomb?)"
                )
            yield inflated
            piece = stream.unconsumed_tail


def _check_variable(pieces: Iterator[bytes], order: str, names: Collection[str]) -> None:
    start = next(pieces, b"")
    if len(start) < 8:
        raise ValueError("a variable is cut off")
    if struct.unpack(order + "I", start[:4])[0] != _MATRIX:
        return
    # The name comes within the first bytes; the rest of an unwanted variable is never inflated.
    if _describe(memoryview(start)[8:], order).name in names:
        content = memoryview(b"".join([start, *pieces]))
        size = struct.unpack(order + "I", content[4:8])[0]
        if size > len(content) - 8:
            raise ValueError("a variable is cut off")
        _check_array(content[8 : 8 + size], order, 1)


class _Array(NamedTuple):
    """What an array says of itself."""

    kind: int
    elements: int
    name: str
    content: memoryview


def _describe(array: memoryview, order: str) -> _Array:
    flags, rest = _take(array, order)
    shape, rest = _take(rest, order)
    name, rest = _take(rest, order)
    if len(flags) < 4 or len(shape) < 8 or len(shape) % 4:
        raise ValueError("a variable has no shape")
    lengths = struct.unpack(f"{order}{len(shape) // 4}i", shape)
    if min(lengths) < 0:
        raise ValueError(f"an array has the shape {lengths}")
    kind = struct.unpack(order + "I", flags[:4])[0] & 0xFF
    return _Array(kind, math.prod(lengths), bytes(name).decode("latin-1"), rest)


def _take(data: memoryview, order: str) -> tuple[memoryview, memoryview]:
    """Content of the first element, and what comes after it."""
    if len(data) < 8:
        raise ValueError("an array is cut off")
    kind, size = struct.unpack(order + "II", data[:8])
    if kind >> 16:  # up to four bytes are packed into the tag itself
        size = kind >> 16
        content, after = data[4 : 4 + size], 8
    else:
        # Only matrices, which are padded within, follow one another without padding.
        content = data[8 : 8 + size]
        after = 8 + size if kind == _MATRIX else 8 + size + -size % 8
    if len(content) < size:
        raise ValueError("an array is cut off")
    return content, data[after:]


def _check_array(array: memoryview, order: str, depth: int) -> None:
    if not len(array):  # an empty cell
        return
    kind, elements, _, content = _describe(array, order)
    if kind == _CELL:
        if depth > _MAX_DEPTH:
            raise ValueError(f"it has cells in cells, more than {_MAX_DEPTH} deep")
        if elements > len(content) // 8:
            raise ValueError(f"it has a cell array of {elements} cells and not as many contents")
        for _ in range(elements):
            cell, content = _take(content, order)
            _check_array(cell, order, depth + 1)
    elif kind == _TEXT or kind in _NUMBERS:
        values, _ = _take(content, order)
        if elements > len(values):
            raise ValueError(f"it has an array of {elements} elements and {len(values)} bytes")
    else:
        what = _OTHERS.get(kind, f"an array of kind {kind}")
        raise ValueError(f"it has {what} where annotations are cells, text and numbers")
