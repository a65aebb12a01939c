"""`dld-d2 select`: a selector of resolutions for any engine that maps images to words."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dld_d2.commands.main import run_command

__all__ = ["main"]

COMMANDS = {
    "read": ("dld_d2.commands.select_read:main", "let the engine read photographs at all scales"),
    "train": ("dld_d2.commands.select_train:main", "train a selector on what it read"),
    "test": ("dld_d2.commands.select_test:main", "compare choosing with fixed scales"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="dld-d2 select", description="Make an engine that reads words cheaper."
    )
    return run_command(parser, COMMANDS, argv)
