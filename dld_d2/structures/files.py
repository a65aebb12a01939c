"""Files that end: what a named pipe or a device is not, although it can be opened and read."""

from __future__ import annotations

import os
import stat

__all__ = ["check_regular_file", "refuse_special", "require_file"]


def check_regular_file(path: str | os.PathLike[str]) -> None:
    """Refuse what cannot be read to its end: a reader of a pipe waits for a writer, for ever.

    Raises:
        FileNotFoundError: if there is nothing.
        OSError: naming the path, for a folder, a pipe, a socket or a device. The message is
            without an error number.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{os.fsdecode(path)}: is a folder, not a file")
    if not stat.S_ISREG(mode):
        raise OSError(f"{os.fsdecode(path)}: is a pipe, socket or device, not a file")


def require_file(path: str | os.PathLike[str]) -> None:
    """As `check_regular_file`, with the path in front of every message.

    Raises:
        FileNotFoundError: if there is nothing.
        OSError: if it cannot be looked at, or is no file.
    """
    try:
        check_regular_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{os.fsdecode(path)}: there is no such file") from None
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(f"{os.fsdecode(path)}: {error.strerror}") from None


def refuse_special(path: str | os.PathLike[str]) -> None:
    """As `check_regular_file`, but what is not there, or cannot be looked at, is left to the
    opening: it may be an address.

    Raises:
        OSError: naming the path.
    """
    try:
        check_regular_file(path)
    except ValueError:  # no path at all
        return
    except OSError as error:
        if error.errno is None:
            raise
