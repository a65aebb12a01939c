"""The one place where errors of use end a command, with a line on standard error and status 2."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

from dld_d2.commands.console import messages

__all__ = ["UsageError", "ends_in_one_line"]

P = ParamSpec("P")


class UsageError(ValueError):
    """Nothing can be done as asked; the message says why and what to do."""


def ends_in_one_line(*kinds: type[Exception]) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Let a command's main function tell errors of use in one line, and return 2.

    All other errors are bugs, such as a TypeError, and keep their traceback.

    Args:
        kinds: that are errors of use: if none are given ValueError, which `UsageError`,
            `ConfigError` and `AnnotationError` are, and OSError.
    """
    kinds = kinds or (ValueError, OSError)

    def decorate(main: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(main)
        def decorated(*args: P.args, **kwargs: P.kwargs) -> int:
            try:
                return main(*args, **kwargs)
            except kinds as error:
                messages.print(f"error: {error}", style="red")
                return 2

        return decorated

    return decorate
