"""Files that are at any moment either as they were before or whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["clear_parts", "write_whole"]


def write_whole(file: Path, content: bytes | Callable[[BinaryIO], Any]) -> None:
    """Write a file so that it is, at any moment, either as it was before or whole.

    It is written beside its name, as `.NAME.part`, and renamed. A process that is killed leaves
    that part; one that fails, as on a full disk, does not.

    Args:
        file: its directory is made if need be.
        content: its bytes, or a function that writes them to an open file.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("wb") as stream:
            if callable(content):
                content(stream)
            else:
                stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, file)
    except BaseException as error:
        part.unlink(missing_ok=True)
        cause = _of_the_disk(error)
        if cause is None:
            raise
        raise OSError(cause.errno, f"cannot be written: {cause.strerror}", str(file)) from None


def clear_parts(folder: str | Path) -> None:
    """Delete what killed processes left of files that they were writing."""
    for part in Path(folder).glob(".*.part"):
        part.unlink(missing_ok=True)


def _of_the_disk(error: BaseException | None) -> OSError | None:
    """What the operating system said. PyTorch's writer hides it behind an error of its own, which
    it raises while it handles this one."""
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, OSError) and error.errno is not None:
            return error
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None
