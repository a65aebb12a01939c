r"""Read the words in photographs: one JSON file with all results, and a picture of each.

    dld-d2 read --model student.pth --input PHOTOS --output DIR
    dld-d2 read --config-file configs/CONFIG.yaml --input PHOTOS --output DIR \
        --opts MODEL.WEIGHTS weights.pth

Exit status: 0 if all images were read, 1 if some could not be (they are named), 2 if nothing
could be done at all.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.utils.logger import setup_logger

from dld_d2.analysis.visualization import DrawnWord, draw_words
from dld_d2.commands.arguments import (
    add_images,
    add_model,
    add_overrides,
    at_least,
    described_parser,
)
from dld_d2.commands.console import messages, progress
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.commands.models import open_spotter
from dld_d2.commands.pictures import enlargement, write_picture
from dld_d2.data.mapper import read_image
from dld_d2.deployment.image_paths import find_images
from dld_d2.deployment.predictor import SpottingResult, TextSpotter, Word

__all__ = ["main"]


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    setup_logger(name="fvcore")
    setup_logger(name="dld_d2", abbrev_name="dld_d2")
    return run(arguments)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(__doc__)
    add_model(parser, "the weights are those that its MODEL.WEIGHTS names")
    add_images(parser, "--input", required=True)
    parser.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        type=Path,
        help="folder for results.json and pictures/",
    )
    parser.add_argument(
        "--confidence-threshold",
        type=float,
        metavar="SCORE",
        help="leave out regions with a lower detection score (default: as configured)",
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--cost-bias",
        type=float,
        metavar="B",
        help="how much cost weighs in choosing scales: above 0 cheaper, below 0 more accurate than "
        "trained (default: as configured)",
    )
    budget.add_argument(
        "--target-cost",
        type=float,
        metavar="C",
        help="take the cost bias with which these images cost this much on average, relative to "
        "the full resolution; they are looked at twice",
    )
    parser.add_argument(
        "--batch-size",
        type=at_least(1),
        default=1,
        metavar="N",
        help="images that run together, faster on a GPU (default 1)",
    )
    parser.add_argument("--no-pictures", action="store_true", help="write results.json alone")
    add_overrides(parser)
    arguments = parser.parse_args(argv)
    threshold = arguments.confidence_threshold
    if threshold is not None and not 0 <= threshold <= 1:
        parser.error(f"--confidence-threshold must be between 0 and 1, got {threshold}")
    return arguments


def run(arguments: argparse.Namespace) -> int:
    """Read all images and write what was found; returns the exit status."""
    files = find_images(arguments.input)
    pictures = arguments.output / "pictures"
    try:
        (arguments.output if arguments.no_pictures else pictures).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{arguments.output} cannot be made into a folder: {error}") from error
    spotter = build_spotter(arguments)
    if arguments.target_cost is not None:
        meet_target(spotter, files, arguments)

    described, failed = [], []

    def fail(file: str, error: Exception) -> None:
        failed.append({"file": file, "error": str(error)})
        messages.print(str(error), style="red")

    found = zip(
        files,
        picture_names(files),
        spotter.predict_many(files, arguments.batch_size),
        strict=True,
    )
    try:
        for file, name, result in progress(found, "Reading", len(files)):
            if isinstance(result, Exception):
                fail(file, result)
                continue
            entry = describe_image(file, result)
            try:
                if not arguments.no_pictures:
                    image = read_image(file, "BGR")
                    write_picture(pictures / name, draw_result(image, result))
                    entry["picture"] = os.path.join(pictures.name, name)
            except OSError as error:
                fail(file, error)
                continue
            described.append(entry)
    finally:
        # An interrupted run keeps what it has.
        source = {"model": arguments.model, "config_file": arguments.config_file}
        whole = {**source, "images": described, "failed": failed}
        text = json.dumps(whole, ensure_ascii=False, indent=1)
        # What is not Unicode in a file name becomes an escape that JSON readers understand.
        (arguments.output / "results.json").write_text(
            text + "\n", encoding="utf-8", errors="backslashreplace"
        )

    number = sum(len(entry["words"]) for entry in described)
    messages.print(
        f"{number} words in {len(described)} images: {arguments.output / 'results.json'}"
        + (f"; {len(failed)} could not be read" if failed else "")
    )
    return 1 if failed else 0


def build_spotter(arguments: argparse.Namespace) -> TextSpotter:
    """The model that was asked for, with its overrides."""
    opts = list(arguments.opts)
    if arguments.confidence_threshold is not None:
        opts += ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", str(arguments.confidence_threshold)]
    source = arguments.model, arguments.config_file
    return open_spotter(*source, opts, cost_bias=arguments.cost_bias)[1]


def meet_target(spotter: TextSpotter, files: Sequence[str], arguments: argparse.Namespace) -> None:
    """Set the cost bias; files that cannot be read are left for the reading to report."""
    try:
        found = spotter.scale_logits(files, arguments.batch_size)
        found = progress(found, "Choosing", len(files))
        logits = [item for item in found if not isinstance(item, Exception)]
        if not logits:
            return
        budget = spotter.set_target_cost_from_logits(logits, arguments.target_cost)
    except ValueError as error:
        raise UsageError(f"--target-cost: {error}") from error
    messages.print(f"cost bias {budget.cost_bias:.6g}: mean relative cost {budget.mean_cost:.4f}")


def picture_names(files: Sequence[str]) -> list[str]:
    """A file name for the picture of each image; images of the same name get a number."""
    names, seen = [], set()
    for file in files:
        stem, number = Path(file).stem, 1
        name = stem
        while name.casefold() in seen:
            number += 1
            name = f"{stem}_{number}"
        seen.add(name.casefold())
        names.append(f"{name}.jpg")
    return names


def describe_image(file: str, result: SpottingResult) -> dict:
    """What goes into the JSON file for one image."""
    return {
        "file": file,
        "width": result.image_size[1],
        "height": result.image_size[0],
        "scale": result.scale,
        "relative_cost": round(result.relative_cost, 6),
        "words": [describe_word(word) for word in result],
    }


def describe_word(word: Word) -> dict:
    """What goes into the JSON file for one word."""
    return {
        "text": word.text,
        "score": round(word.score, 4),
        "detection_score": round(word.detection_score, 4),
        "polygon": [[round(float(x), 2), round(float(y), 2)] for x, y in word.polygon],
    }


def draw_result(image: np.ndarray, result: SpottingResult) -> np.ndarray:
    """Picture (BGR) of the words."""
    drawn = [DrawnWord(word.polygon, word.text, word.score) for word in result]
    return draw_words(image, drawn, enlarge=enlargement(image))
