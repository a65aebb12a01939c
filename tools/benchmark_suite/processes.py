"""Memory of processes, and processes that hold nothing yet."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

__all__ = ["in_new_process", "process_memory"]

P = ParamSpec("P")
T = TypeVar("T")


def in_new_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a function returns, or raises, in a process of its own that has only what it imports.

    The function must be at the top level of its module.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args, **kwargs).result()


def process_memory(field: str, pid: int | None = None) -> int:
    """Memory of a process in bytes.

    Args:
        field: "VmRSS", what is resident now; "VmHWM", what was so at most (`getrusage` would tell
            of the process that started this one if that was larger); or "Pss", what is resident
            with pages that n processes share counted 1/n.
        pid: of the process; None: this one.

    Raises:
        OSError: on other systems than Linux.
    """
    name = "smaps_rollup" if field == "Pss" else "status"
    file = Path("/proc", "self" if pid is None else str(pid), name)
    if not file.exists():
        raise OSError("the memory of a process can be measured on Linux only")
    for line in file.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{file} does not tell {field}")
