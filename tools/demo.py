#!/usr/bin/env python3
r"""Read the words in photographs: one JSON file with all results, and a picture of each.

    python tools/demo.py --model student.pth --input PHOTOS --output DIR
    python tools/demo.py --config-file configs/CONFIG.yaml --input PHOTOS --output DIR \
        --opts MODEL.WEIGHTS weights.pth

Exit status: 0 if all images were read, 1 if some could not be (they are named), 2 if nothing
could be done at all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from detectron2.utils.logger import setup_logger
from rich.console import Console
from rich.progress import track

from dld_d2.data.mapper import read_image
from dld_d2.engine.image_paths import find_images
from dld_d2.engine.setup import setup_cfg
from dld_d2.predictor import SpottingResult, TextSpotter, Word
from dld_d2.visualization import DrawnWord, draw_words

console = Console(stderr=True, soft_wrap=True, highlight=False)


class UsageError(Exception):
    """Nothing can be done as asked; the message says why and what to do."""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Read the words in photographs.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", metavar="FILE", help="what tools/export_student.py made")
    source.add_argument(
        "--config-file",
        metavar="FILE",
        help="configuration (YAML); the weights are those that its MODEL.WEIGHTS names",
    )
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        metavar="PATH",
        help="images, folders (their images, not those of sub-folders), or patterns like '*.jpg'",
    )
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
        type=int,
        default=1,
        metavar="N",
        help="images that run together, faster on a GPU (default 1)",
    )
    parser.add_argument("--no-pictures", action="store_true", help="write results.json alone")
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="overrides of the configuration; must come last",
    )
    arguments = parser.parse_args(argv)
    threshold = arguments.confidence_threshold
    if threshold is not None and not 0 <= threshold <= 1:
        parser.error(f"--confidence-threshold must be between 0 and 1, got {threshold}")
    if arguments.batch_size < 1:
        parser.error(f"--batch-size must be at least 1, got {arguments.batch_size}")
    return arguments


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
        "words": [describe(word) for word in result],
    }


def describe(word: Word) -> dict:
    return {
        "text": word.text,
        "score": round(word.score, 4),
        "detection_score": round(word.detection_score, 4),
        "polygon": [[round(float(x), 2), round(float(y), 2)] for x, y in word.polygon],
    }


def save_picture(path: Path, image: np.ndarray, words: Sequence[Word]) -> None:
    # Labels have a least size in pixels, which on small images would hide the words.
    enlarge = max(1.0, 1600 / max(image.shape[:2]))
    drawn = [DrawnWord(word.polygon, word.text, word.score) for word in words]
    picture = draw_words(image, drawn, enlarge=enlarge)
    # OpenCV's own writing fails without a reason, and on some file names.
    path.write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())


def build_spotter(arguments: argparse.Namespace) -> TextSpotter:
    opts = list(arguments.opts)
    if arguments.confidence_threshold is not None:
        opts += ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", str(arguments.confidence_threshold)]
    try:
        if arguments.model:
            return TextSpotter.from_file(arguments.model, cost_bias=arguments.cost_bias, opts=opts)
        cfg = setup_cfg(arguments.config_file, opts)
        return TextSpotter(cfg, cost_bias=arguments.cost_bias)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error


def meet_target(spotter: TextSpotter, files: Sequence[str], arguments: argparse.Namespace) -> None:
    """Set the cost bias; files that cannot be read are left for the reading to report."""
    try:
        found = spotter.scale_logits(files, arguments.batch_size)
        found = track(found, "Choosing", total=len(files), console=console, transient=True)
        logits = [item for item in found if not isinstance(item, Exception)]
        if not logits:
            return
        budget = spotter.set_target_cost_from_logits(logits, arguments.target_cost)
    except ValueError as error:
        raise UsageError(f"--target-cost: {error}") from error
    console.print(f"cost bias {budget.cost_bias:.6g}: mean relative cost {budget.mean_cost:.4f}")


def run(arguments: argparse.Namespace) -> int:
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
        console.print(str(error), style="red", markup=False)

    results = spotter.predict_many(files, arguments.batch_size)
    try:
        for file, name, result in track(
            zip(files, picture_names(files), results, strict=True),
            "Reading",
            total=len(files),
            console=console,
            transient=True,
        ):
            if isinstance(result, Exception):
                fail(file, result)
                continue
            entry = describe_image(file, result)
            try:
                if not arguments.no_pictures:
                    save_picture(pictures / name, read_image(file, "BGR"), result)
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
    console.print(
        f"{number} words in {len(described)} images: {arguments.output / 'results.json'}"
        + (f"; {len(failed)} could not be read" if failed else ""),
        markup=False,
    )
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    setup_logger(name="fvcore")
    setup_logger(name="dld_d2", abbrev_name="dld_d2")
    try:
        return run(arguments)
    except (UsageError, FileNotFoundError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 2


if __name__ == "__main__":
    sys.exit(main())
