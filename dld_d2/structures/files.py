"""Files that are given by name."""

from __future__ import annotations

import os
import stat

__all__ = ["refuse_special"]


def refuse_special(path: str | os.PathLike[str]) -> None:
    """Refuse what is there but no file, before it is opened: a named pipe would be waited for
    without end, and some devices give bytes without end. What is not there is left to the opening.

    Raises:
        OSError: naming it.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a named pipe or a device"
        raise OSError(f"{os.fsdecode(path)}: cannot be read: it is {kind}, not a file")
