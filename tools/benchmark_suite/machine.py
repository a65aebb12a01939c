"""What figures depend on, beside what was measured."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["processor_name"]


def processor_name() -> str:
    """The processor's name, as far as this system tells it."""
    cpuinfo = Path("/proc/cpuinfo")  # other systems than Linux have no such file
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
