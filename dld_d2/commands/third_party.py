"""What other packages warn of and no user can mend, silenced.

Each entry names who warns, of what, and is for that warning alone. Whoever tells Python what to do
with warnings (`python -W default`, PYTHONWARNINGS) is obeyed.
"""

from __future__ import annotations

import logging
import re
import sys
import warnings

__all__ = ["silence"]

# Category, begin of the message, and the module that warns: this project's part in each is to use
# Detectron2, or an operation of PyTorch's that Detectron2 uses as well.
_WARNINGS: tuple[tuple[type[Warning], str, str], ...] = (
    # Detectron2's layers are scripted when they are loaded.
    (FutureWarning, "`torch.jit.script` is deprecated", "torch.jit"),
    (DeprecationWarning, "`torch.jit.script` is deprecated", "torch.jit"),
    # Detectron2's anchors.
    (UserWarning, "torch.meshgrid: in an upcoming release", "torch.functional"),
    # Detectron2's training in mixed precision.
    (FutureWarning, "`torch.cuda.amp", "detectron2"),
    # Detectron2's model zoo.
    (UserWarning, "pkg_resources is deprecated", ""),
    (DeprecationWarning, "pkg_resources is deprecated", ""),
)

# Logger, and begin of the message.
_LOGGED: tuple[tuple[str, str], ...] = (
    # Told where the CUDA toolkit is installed and no GPU is; the log says that it is the CPU.
    ("torch.utils.cpp_extension", "No CUDA runtime is found"),
    # Detectron2 asks whether it is being traced.
    ("torch.fx._symbolic_trace", "is_fx_tracing will return true"),
)


class _Without(logging.Filter):
    def __init__(self, begin: str) -> None:
        super().__init__()
        self.begin = begin

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(self.begin)


def silence() -> None:
    """Install the filters. Before the packages are loaded: some warn then."""
    for name, begin in _LOGGED:
        logging.getLogger(name).addFilter(_Without(begin))
    if sys.warnoptions:
        return
    for category, begin, module in _WARNINGS:
        # The module is a regular expression for the begin of its name.
        warnings.filterwarnings("ignore", re.escape(begin), category, re.escape(module))
