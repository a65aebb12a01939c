"""Files that end: what a named pipe or a device is not, although it can be opened and read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["check_regular_file"]


def check_regular_file(path: str | Path) -> None:
    """Refuse what cannot be read to its end: a reader of a pipe waits for a writer, for ever.

    Raises:
        FileNotFoundError: if there is nothing.
        OSError: naming the path, for a folder, a pipe, a socket or a device. The message is
            without an error number.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path}: is a folder, not a file")
    if not stat.S_ISREG(mode):
        raise OSError(f"{path}: is a pipe, socket or device, not a file")
