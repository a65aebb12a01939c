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
from dld_d2.commands.select_arguments import add_engine, engine_and_sides, scale
from dld_d2.deployment.any_engine.collecting import collect
from dld_d2.deployment.any_engine.readings import ReadingsFile
from dld_d2.deployment.image_paths import find_images

__all__ = ["main"]

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
