"""What became of a process that loads data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from dld_d2.engine.config_sources import ConfigError

__all__ = ["LoaderWorkerError", "explaining_dead_workers"]

# PyTorch tells of it by a RuntimeError, at any line of the main process.
_DEAD = re.compile(r"DataLoader worker \(pid[^)]*\) (?:is killed by|exited unexpectedly)")


class LoaderWorkerError(ConfigError):
    """A process that loads data ended of itself; the message says of what, probably."""


@contextmanager
def explaining_dead_workers(num_workers: int) -> Iterator[None]:
    """Within the context, the end of a loader's worker is told with its probable cause.

    Args:
        num_workers: DATALOADER.NUM_WORKERS.

    Raises:
        LoaderWorkerError: in place of what PyTorch raises.
    """
    try:
        yield
    except RuntimeError as error:
        if not _DEAD.search(str(error)):
            raise
        said = str(error).split(".")[0]
        raise LoaderWorkerError(
            f"DATALOADER.NUM_WORKERS: {said}. {_cause(str(error))} (DATALOADER.NUM_WORKERS is "
            f"{num_workers}); a training goes on from its last checkpoint with --resume"
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
