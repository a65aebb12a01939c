"""`dld-d2 COMMAND ...`: one command for all that is done with a text spotter."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence

import dld_d2
from dld_d2.commands.extras import package_of, remedy

__all__ = ["main", "run_command"]

# Name -> function that runs it, as an entry point is written, and a line on it. Its module is
# imported when the command is used: some need PyTorch, which takes seconds to load, some do not.
COMMANDS = {
    "read": ("dld_d2.commands.read:main", "read the words in photographs"),
    "serve": ("dld_d2.commands.serve:main", "read photographs for others, over HTTP"),
    "evaluate": ("dld_d2.evaluation.cli:main", "score a text spotter by the ICDAR protocols"),
    "train": ("dld_d2.commands.train:main", "train or evaluate a text spotter, or distil one"),
    "export": ("dld_d2.commands.export:main", "write a trained model as one file, or as networks"),
    "select": ("dld_d2.commands.select:main", "make an engine of another kind cheaper"),
    "check": ("dld_d2.commands.check:main", "compare the shipped models with their cards"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="dld-d2", description="Train, distil and use text spotters."
    )
    parser.add_argument("--version", action="version", version=f"dld_d2 {dld_d2.__version__}")
    return run_command(parser, COMMANDS, argv)


def run_command(
    parser: argparse.ArgumentParser,
    commands: Mapping[str, tuple[str, str]],
    argv: Sequence[str] | None,
) -> int:
    """Run one of several commands that is named by the first argument and takes all others.

    Args:
        parser: for the arguments before the command; gets a list of the commands in its help.
        commands: name -> "module:function" that runs it, and one line of help.
        argv: arguments; those of this process if None.

    Returns:
        The exit status that the function returns; 2 if it needs a package that is not installed.
    """
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {line}" for name, (_, line) in commands.items()]
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(
        ["commands:", *lines, "", f"`{parser.prog} COMMAND --help` tells about one."]
    )
    parser.usage = "%(prog)s COMMAND ..."
    parser.add_argument(
        "words", nargs=argparse.PARSER, choices=commands, metavar="COMMAND", help="one of the below"
    )
    name, *arguments = parser.parse_args(argv).words
    module, _, function = commands[name][0].partition(":")
    # The command's own parser takes the name that its usage shows from there.
    program, sys.argv[0] = sys.argv[0], f"{parser.prog} {name}"
    try:
        return getattr(importlib.import_module(module), function)(arguments)
    except ModuleNotFoundError as error:
        if remedy(error) is None:
            raise
        print(
            f"error: `{parser.prog} {name}` needs {package_of(error)}, which is not installed: "
            f"{remedy(error)}",
            file=sys.stderr,
        )
        return 2
    finally:
        sys.argv[0] = program


if __name__ == "__main__":
    sys.exit(main())
