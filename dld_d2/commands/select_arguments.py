"""Arguments that the commands of `dld-d2 select` share, and what they mean."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from dld_d2.commands.errors import UsageError
from dld_d2.deployment.any_engine.own_truth import sure_words
from dld_d2.deployment.any_engine.readings import ReadingsFile
from dld_d2.deployment.runtime.engines import NamedEngine, Sides, find_engine
from dld_d2.evaluation.submission import image_id, read_ground_truth
from dld_d2.structures.word import Word

__all__ = ["add_engine", "add_truth", "engine_and_sides", "scale", "truth_of"]


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


def add_truth(parser: argparse.ArgumentParser) -> None:
    """--reference, --min-score, --gt and --clock."""
    parser.add_argument(
        "--reference",
        type=float,
        default=1.0,
        metavar="S",
        help="scale whose cost is 1, and which is trusted most without --gt (default 1)",
    )
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.9,
        metavar="SCORE",
        help="without --gt: which words the engine is sure of (default 0.9)",
    )
    parser.add_argument(
        "--gt", type=Path, metavar="PATH", help="zip or folder of truth, as of dld-d2 evaluate"
    )
    parser.add_argument(
        "--gt-points", type=int, metavar="N", help="vertices of its polygons, as there"
    )
    parser.add_argument(
        "--clock",
        choices=("cpu", "wall"),
        default="cpu",
        help="what cost is: time of the processors, which holds on a busy machine, or time that "
        "passes, for an engine that computes elsewhere (default cpu)",
    )


def truth_of(
    file: ReadingsFile, images: Sequence[str], arguments: argparse.Namespace
) -> Mapping[str, Sequence[Word]]:
    """What is written in each image, as far as it is known.

    Raises:
        UsageError: if there is no truth of an image, or no reading at the reference scale.
    """
    if arguments.gt is None:
        if any((image, arguments.reference) not in file for image in images):
            raise UsageError(
                f"--reference: {file.path} holds no readings at scale {arguments.reference:g}"
            )
        return {
            image: sure_words(file.at(image, arguments.reference).words, arguments.min_score)
            for image in images
        }
    truth = read_ground_truth(arguments.gt, points=arguments.gt_points)
    missing = [image for image in images if image_id(image) not in truth]
    if missing:
        raise UsageError(f"--gt: {arguments.gt} has no truth of {missing[0]}")
    return {image: truth[image_id(image)] for image in images}
