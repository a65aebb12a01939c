"""Let an engine read photographs at several scales.

    dld-d2 select read --engine rapidocr --images photos/ --output readings.jsonl
    dld-d2 select read --engine my_engine:read --images photos/ --scales 0.5 1 1.5 \\
        --output readings.jsonl

One line for each image and scale is appended to the file as soon as it is read: stop it as you
like (Ctrl-C), and the same command goes on. Images that cannot be read are named. Neither PyTorch
nor Detectron2 is needed.

Exit status: 0 if all was read, 1 if some images could not be, 2 if nothing can be done.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2

from dld_d2.commands.arguments import add_images, described_parser
from dld_d2.commands.console import console, messages, progress
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.deployment.any_engine.collecting import collect
from dld_d2.deployment.any_engine.readings import ReadingsFile
from dld_d2.deployment.image_paths import find_images
from dld_d2.deployment.runtime.engines import NamedEngine, Sides, find_engine

__all__ = ["add_engine", "engine_and_sides", "main", "scale"]

SCALES = (0.35, 0.5, 0.7, 1.0)


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    cv2.setNumThreads(1)
    engine, sides = engine_and_sides(arguments)
    images = find_images(arguments.images)
    file = ReadingsFile(arguments.output, engine.name, sides)
    failed = 0
    try:
        for one in progress(
            collect(engine.read, images, arguments.scales, file), "Reading", len(images)
        ):
            if isinstance(one, Exception):
                failed += 1
                messages.print(str(one), style="red")
    finally:
        file.close()
    if not len(file):
        raise UsageError(f"none of the {len(images)} images could be read")
    console.print(f"{arguments.output}: {len(file)} readings of {len(file.images)} images")
    return 1 if failed else 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(__doc__)
    add_engine(parser)
    add_images(parser, "--images")
    parser.add_argument(
        "--scales",
        nargs="+",
        type=scale,
        default=SCALES,
        metavar="S",
        help=f"of the full size; above 1 enlarges (default {' '.join(f'{s:g}' for s in SCALES)})",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON lines")
    arguments = parser.parse_args(argv)
    if not arguments.images:
        parser.error("--images: name the images to read, or folders of them")
    return arguments


def add_engine(parser: argparse.ArgumentParser) -> None:
    """--engine, --min-side and --max-side."""
    parser.add_argument(
        "--engine",
        required=True,
        metavar="NAME",
        help="rapidocr, tesseract, or MODULE:FUNCTION, a function of yours from an image, (H, W, "
        "3) uint8 in BGR, to its words, (polygon, text, score) each",
    )
    for name, meaning in (
        ("min", "the full size of smaller images has a short side of so many pixels"),
        ("max", "no side of the full size is longer; 0 for no limit"),
    ):
        parser.add_argument(
            f"--{name}-side",
            type=int,
            metavar="PIXELS",
            help=f"{meaning} (default: as the engine does by itself; for one of yours 0)",
        )


def engine_and_sides(arguments: argparse.Namespace) -> tuple[NamedEngine, Sides]:
    """The engine that was asked for, and what the full size is.

    Raises:
        UsageError: if there is none, or for sides that cannot be.
    """
    engine = find_engine(arguments.engine)
    sides = (
        own if given is None else given
        for own, given in (
            (engine.sides.min_side, arguments.min_side),
            (engine.sides.max_side, arguments.max_side),
        )
    )
    try:
        return engine, Sides(*sides)
    except ValueError as error:
        raise UsageError(f"--min-side, --max-side: {error}") from None


def scale(text: str) -> float:
    """The type of a scale."""
    value = float(text)
    if not 0.01 <= value <= 8:
        raise argparse.ArgumentTypeError(f"a scale is between 0.01 and 8, not {text}")
    return value
