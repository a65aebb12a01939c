"""Files that a configuration names: what is wrong with one is told at once, by its key.

The data of a training may take a minute to read, and its model to build. Nobody shall wait for that
to hear of a misspelt name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from dld_d2.engine.checkpoint import read_weights
from dld_d2.structures.errors import ConfigError, UsageError, one_line

__all__ = ["building", "check_weights", "told_by"]


@contextmanager
def told_by(key: str) -> Iterator[None]:
    """Within the context, an error of a file or value is told with the key that names it.

    Raises:
        UsageError: of the class that it had; a ConfigError in place of another ValueError or an
            OSError.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        message = one_line(error)
        if message.startswith(key):
            raise
        kind = type(error) if isinstance(error, UsageError) else ConfigError
        raise kind(f"{key}: {message}") from error


@contextmanager
def building() -> Iterator[None]:
    """Within the context a model is built, so that an error of a library's is one of the
    configuration.

    Raises:
        ConfigError: in place of a ValueError or AssertionError.
    """
    try:
        yield
    except UsageError:
        raise
    except (AssertionError, ValueError) as error:
        raise ConfigError(
            f"the model cannot be built as configured: {_with_its_line(error)}"
        ) from error


def check_weights(key: str, file: str) -> None:
    """Refuse what is no file of weights. What comes from an address is left to those who load it,
    and so is whether it is of the right model.

    Raises:
        ConfigError: naming key and file, with the reason.
    """
    with told_by(key):
        if "://" in file:
            return
        local = file.partition("?")[0]  # after it Detectron2 takes options
        if not os.path.exists(local):
            raise ConfigError(
                f"there is no file {local}; the name is relative to the working directory, "
                f"{os.getcwd()}"
            )
        if os.path.isdir(local):
            raise ConfigError(f"{local} is a folder; name a file in it, such as model_final.pth")
        read_weights(local)


def _with_its_line(error: BaseException) -> str:
    """What an error says; an assertion without a message is shown itself."""
    if str(error):
        return one_line(error)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code if trace is not None else None
    return f"an assertion fails in {code.co_qualname} ({code.co_filename})" if code else repr(error)
