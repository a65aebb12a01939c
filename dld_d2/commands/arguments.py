"""Arguments that several commands take."""

from __future__ import annotations

import argparse
from collections.abc import Callable

__all__ = ["IMAGES", "add_images", "add_model", "add_overrides", "at_least", "described_parser"]

IMAGES = "images, folders (their images, not those of sub-folders), or patterns like '*.jpg'"
"""What `find_images` takes, for help."""


def described_parser(description: str) -> argparse.ArgumentParser:
    """A parser whose help begins with a module's docstring as it is written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def at_least(low: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number not below another one."""

    def parse(text: str) -> int:
        value = int(text)
        if value < low:
            raise argparse.ArgumentTypeError(f"must be at least {low}, not {value}")
        return value

    parse.__name__ = "whole number"  # for argparse's message on what is none
    return parse


def add_model(parser: argparse.ArgumentParser, weights: str, *, default: str | None = None) -> None:
    """--model, or else --config-file.

    Args:
        parser: gets the two.
        weights: where those of a configuration come from.
        default: the model if neither is given, for the help; None if one of the two must be.
    """
    source = parser.add_mutually_exclusive_group(required=default is None)
    source.add_argument(
        "--model",
        metavar="MODEL",
        help="what `dld-d2 export` made, or the name of a model that comes with the package"
        + (f" (default: {default})" if default else ""),
    )
    source.add_argument("--config-file", metavar="FILE", help=f"configuration (YAML); {weights}")


def add_images(parser: argparse._ActionsContainer, option: str) -> None:
    """An option for what `find_images` takes."""
    parser.add_argument(option, nargs="+", metavar="PATH", default=[], help=IMAGES)


def add_overrides(
    parser: argparse.ArgumentParser, name: str = "--opts", of: str = "of the configuration"
) -> None:
    """Keys and values that take the place of configured ones: all words to the end of the line.

    Args:
        parser: gets them.
        name: of the option, or of a positional argument.
        of: what is overridden, for the help.
    """
    parser.add_argument(
        name,
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help=f"overrides {of}; must come last",
    )
