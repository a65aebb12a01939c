"""Readers that take turns, each in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from math import ceil
from queue import SimpleQueue
from time import monotonic
from typing import Generic, TypeVar

__all__ = ["Overloaded", "ReaderPool", "Slot"]

Reader = TypeVar("Reader")
Result = TypeVar("Result")

_NEWEST = 0.1  # weight of the last reading in the running mean of their times


class Overloaded(Exception):  # noqa: N818 (it is a state, and the answer tells of it)
    """All slots are taken.

    Attributes:
        retry_after: whole seconds after which one is likely to be free.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many requests at once; try again in {retry_after} s")
        self.retry_after = retry_after


class Slot:
    """The right of one request to be there; released once, whatever becomes of the request."""

    def __init__(self, slots: threading.BoundedSemaphore) -> None:
        self._slots: threading.BoundedSemaphore | None = slots

    def release(self, *_: object) -> None:
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.release()


class ReaderPool(Generic[Reader]):
    """Runs functions on readers: one at a time on each, the others wait.

    A reading cannot be stopped. One that ran out of time goes on, its result is thrown away, and
    its slot stays taken until then, so that no more is ever in work than there are slots.

    Args:
        readers: each is used by one thread at a time.
        slots: requests that are there at once.
    """

    def __init__(self, readers: Sequence[Reader], slots: int) -> None:
        self.readers = len(readers)
        self._idle: SimpleQueue[Reader] = SimpleQueue()
        for reader in readers:
            self._idle.put(reader)
        self._executor = ThreadPoolExecutor(self.readers, thread_name_prefix="reader")
        self._slots = threading.BoundedSemaphore(slots)
        self._capacity = slots
        self._mean_seconds = 1.0
        self._late = 0
        self._lock = threading.Lock()

    @property
    def late(self) -> int:
        """Readers that are at work although the request's time is over."""
        return self._late

    def admit(self) -> Slot:
        """A slot for a request.

        Raises:
            Overloaded: if none is free.
        """
        if not self._slots.acquire(blocking=False):
            wait = self._mean_seconds * self._capacity / self.readers
            raise Overloaded(max(1, ceil(wait)))
        return Slot(self._slots)

    async def run(self, slot: Slot, function: Callable[[Reader], Result], seconds: float) -> Result:
        """Run a function on the next reader that is free.

        Args:
            slot: of the request; released when nothing is in work for it any more.
            function: gets the reader.
            seconds: to wait for its result.

        Raises:
            TimeoutError: if that is over. A function that has not begun by then never does.
            Exception: that the function raises.
        """
        future = self._executor.submit(self._call, function)
        future.add_done_callback(slot.release)
        try:
            async with asyncio.timeout(seconds):
                # Without the shield nobody would learn whether the function had begun.
                return await asyncio.shield(asyncio.wrap_future(future))
        finally:
            if not future.cancel() and not future.done():
                self._watch(future)

    def close(self) -> None:
        """Let readings end, and drop those that have not begun."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _call(self, function: Callable[[Reader], Result]) -> Result:
        reader, start = self._idle.get(), monotonic()
        try:
            return function(reader)
        finally:
            self._idle.put(reader)
            took = monotonic() - start
            with self._lock:
                self._mean_seconds += _NEWEST * (took - self._mean_seconds)

    def _watch(self, future: Future) -> None:
        def ended(_: Future) -> None:
            with self._lock:
                self._late -= 1

        with self._lock:
            self._late += 1
        future.add_done_callback(ended)
