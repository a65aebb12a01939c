"""Where what a run has to say goes: to the terminal what a user reads, to log.txt all of it."""

from __future__ import annotations

import logging
import sys
from typing import Any

from detectron2.utils.logger import setup_logger

from dld_d2.structures.errors import is_error_of_use

__all__ = ["log_to_file_only", "set_up_logs"]

logger = logging.getLogger(__name__)

_FILE_ONLY = "file_only"  # attribute of records


def set_up_logs(output_dir: str, rank: int) -> None:
    """Send what Detectron2, fvcore and this package log to standard output, from the first process
    alone, and to log.txt. Colours are for terminals; a file or pipe gets plain text.

    Args:
        output_dir: folder of log.txt, which is log.txt.rankN for the other processes.
        rank: of this process.
    """
    colours = sys.stdout.isatty()
    for name in ("dld_d2", "detectron2", "fvcore"):
        for handler in setup_logger(output_dir, rank, color=colours, name=name).handlers:
            if getattr(handler, "stream", None) is sys.stdout:
                handler.addFilter(_for_terminals)
    logging.getLogger("detectron2.engine.train_loop").addFilter(_no_trace_of_use)


def log_to_file_only(message: str) -> None:
    """Log what is too long for a terminal."""
    logger.info(message, extra={_FILE_ONLY: True})


def _for_terminals(record: logging.LogRecord) -> bool:
    # Detectron2 logs all layers of a model.
    layers = record.name == "detectron2.engine.defaults" and str(record.msg).startswith("Model:")
    return not (layers or getattr(record, _FILE_ONLY, False))


def _no_trace_of_use(record: logging.LogRecord) -> bool:
    """Detectron2's trainer logs the traceback of whatever ends it; a command tells errors of use in
    one line."""
    error: Any = record.exc_info[1] if record.exc_info else None
    return error is None or not is_error_of_use(error)
