"""MATLAB files, version 5, byte by byte: such as no program writes."""

import struct
import zlib

CELL, STRUCT, TEXT, NUMBERS = 1, 2, 4, 9


def element(kind, content):
    padding = b"" if kind == 14 else bytes(-len(content) % 8)
    return struct.pack("<II", kind, len(content)) + content + padding


def array(kind, shape, name, content):
    return element(
        14,
        element(6, struct.pack("<II", kind, 0))
        + element(5, struct.pack(f"<{len(shape)}i", *shape))
        + element(1, name.encode())
        + content,
    )


def write(path, *variables):
    path.parent.mkdir(exist_ok=True)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    path.write_bytes(header + b"".join(variables))
    return path


def bomb(name, megabytes):
    """A compressed variable of zeros, of a thousandth of its size."""
    size = megabytes * 2**20
    numbers = array(NUMBERS, (1, size), name, struct.pack("<II", 2, size))
    # Lengths as if the zeros, which are compressed piece by piece, had been there.
    start = struct.pack("<II", 14, len(numbers) - 8 + size) + numbers[8:]
    packer = zlib.compressobj(1)
    zeros = bytes(2**20)
    packed = [packer.compress(start), *(packer.compress(zeros) for _ in range(megabytes))]
    packed = b"".join([*packed, packer.flush()])
    return struct.pack("<II", 15, len(packed)) + packed
