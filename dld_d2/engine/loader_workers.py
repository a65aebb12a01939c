"""What became of the processes that load data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from dld_d2.engine.config_sources import ConfigError

__all__ = ["LoaderWorkerError", "explaining_workers"]

# How PyTorch tells of an error in a worker: by one of the same type with a whole traceback for a
# message. And of one that ended: by a RuntimeError, at any line of the main process.
_RAISED = re.compile(r"Caught \w+ in DataLoader worker process \d+\.")
_DEAD = re.compile(r"DataLoader worker \(pid.*?\) (?:is killed by|exited unexpectedly)")


class LoaderWorkerError(ConfigError):
    """A process that loads data ended of itself; the message says of what, probably."""


@contextmanager
def explaining_workers(num_workers: int) -> Iterator[None]:
    """Within the context, the end of a loader's worker is told with its probable cause, and an
    image that a worker cannot read by the message that it has in this process.

    Args:
        num_workers: DATALOADER.NUM_WORKERS.

    Raises:
        LoaderWorkerError: in place of PyTorch's, if a worker ended.
        OSError, ValueError: of the same type as in the worker.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        text = str(error).strip()
        if not _RAISED.match(text):
            raise
        last = text.splitlines()[-1]
        raise type(error)(last.partition(": ")[2] or last) from error
    except RuntimeError as error:
        if not _DEAD.search(str(error)):
            raise
        # The signal may be in the error before it.
        said = str(error.__cause__ if _DEAD.search(str(error.__cause__)) else error)
        raise LoaderWorkerError(
            f"{said.split('.')[0]}. {_cause(said)}. DATALOADER.NUM_WORKERS is {num_workers}; a "
            "training goes on from its last checkpoint with --resume"
        ) from error


def _cause(message: str) -> str:
    if "Bus error" in message or "shared memory" in message:
        return (
            "Shared memory (/dev/shm) was probably full: give the container more "
            "(docker run --shm-size), or take fewer workers"
        )
    if "Killed" in message:
        return (
            "The system probably ran out of memory and ended it (dmesg tells): take fewer workers, "
            "or smaller images (INPUT.MAX_SIZE_TRAIN, INPUT.MAX_SIZE_TEST)"
        )
    return (
        "It probably ran out of memory, or a library in it crashed: with 0 workers the error shows"
    )
