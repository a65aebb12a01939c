"""What a terminal shows while the demo runs."""

from __future__ import annotations

import time

__all__ = ["Steps"]


class Steps:
    """Says what goes on, and how long it took.

    Args:
        number: of the steps.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._current = 0
        self._start = self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._start

    def begin(self, title: str) -> None:
        """Say what begins."""
        self._current += 1
        self._begun = time.monotonic()
        print(f"[{self._current}/{self._number}] {title}", flush=True)

    def done(self, text: str = "") -> None:
        """Say how long it took, after what came out."""
        seconds = time.monotonic() - self._begun
        print(f"      {text + ', ' if text else ''}{seconds:.0f} s", flush=True)
