"""Errors of use, which a user can mend, and the one place where they end a command.

Every command has its main function decorated with `ends_in_one_line`: what a user can mend becomes
a line on standard error and exit status 2. All else is a bug and keeps its traceback.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

__all__ = [
    "ConfigError",
    "DamagedFileError",
    "UsageError",
    "WeightsError",
    "ends_in_one_line",
    "is_error_of_use",
    "one_line",
]

P = ParamSpec("P")

_PACKAGE = Path(__file__).resolve().parents[1]
# Whose ValueErrors are written for users: the package's and those of the tools in its repository.
_OURS = (_PACKAGE, _PACKAGE.parent / "tools")

_LONGEST = 2000  # characters of a line

# Of several processes that fail alike the first one tells, and who started them ends the others.
_OTHERS_WAIT = 3.0  # seconds


class UsageError(ValueError):
    """Nothing can be done as asked; the message says why and what to do.

    What reads data, weights or a configuration raises errors that derive from it.
    """


class ConfigError(UsageError):
    """A configuration that cannot be used. The message names the file or key, and the remedy."""


class WeightsError(ConfigError):
    """A file of weights, or an exported model, that cannot be used. The message names the file."""


class DamagedFileError(WeightsError):
    """A file that is not, or not as a whole, what was once written."""


def is_error_of_use(error: BaseException) -> bool:
    """Whether a user can mend it.

    That are `UsageError`, with all that derives from it; OSError, which the system raises of files
    and disks; FloatingPointError, by which a training that diverged stops; a ValueError that this
    project raises itself, since those say what was given wrong; and text that is no Unicode or no
    JSON. A ValueError that comes from a library out of our code's depths is a bug.
    """
    if isinstance(error, UsageError | OSError | FloatingPointError | UnicodeError):
        return True
    # json.JSONDecodeError, without loading the module
    if not isinstance(error, ValueError) or type(error).__name__ == "JSONDecodeError":
        return isinstance(error, ValueError)
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    file = Path(trace.tb_frame.f_code.co_filename).resolve()
    return any(file.is_relative_to(folder) for folder in _OURS)


def ends_in_one_line(
    *kinds: type[Exception],
) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Let a command's main function tell errors of use in one line, and return 2.

    Ctrl-C is told likewise, with status 130, and a reader of the output that went away, as `head`
    does, not at all. All other errors are bugs and keep their traceback.

    Args:
        kinds: of errors that are errors of use as well, beside those of `is_error_of_use`.
    """

    def decorate(main: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(main)
        def decorated(*args: P.args, **kwargs: P.kwargs) -> int:
            try:
                return main(*args, **kwargs)
            except KeyboardInterrupt:
                _tell("stopped by the keyboard")
                return 130
            except BrokenPipeError:
                # Python would try once more to write what is left, at its end.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 1
            except Exception as error:
                if not (isinstance(error, kinds) or is_error_of_use(error)):
                    raise
                if int(os.environ.get("RANK", 0)) > 0:  # torchrun's
                    time.sleep(_OTHERS_WAIT)
                _tell(f"error: {one_line(error)}")
                return 2

        return decorated

    return decorate


def one_line(error: BaseException, limit: int = _LONGEST) -> str:
    """The message of an error as one line of about `limit` characters at most."""
    text = " ".join(filter(None, map(str.strip, str(error).splitlines()))) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]} ..."


def _tell(line: str) -> None:
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        line = f"\x1b[31m{line}\x1b[0m"
    # File names need not be Unicode.
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)
