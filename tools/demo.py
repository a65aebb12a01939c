#!/usr/bin/env python3
r"""Read the words in photographs: one JSON file with all results, and a picture of each.

    python tools/demo.py --config-file configs/CONFIG.yaml --input PHOTOS --output DIR \
        --opts MODEL.WEIGHTS weights.pth

Exit status: 0 if all images were read, 1 if some could not be (they are named), 2 if nothing
could be done at all.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.utils.logger import setup_logger
from PIL import Image
from rich.console import Console
from rich.progress import track

from dld_d2.data.mapper import read_image
from dld_d2.engine.setup import setup_cfg
from dld_d2.predictor import TextSpotter, Word
from dld_d2.visualization import DrawnWord, draw_words

console = Console(stderr=True, soft_wrap=True, highlight=False)


class UsageError(Exception):
    """Nothing can be done as asked; the message says why and what to do."""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Read the words in photographs.")
    parser.add_argument("--config-file", required=True, metavar="FILE", help="configuration (YAML)")
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
    return arguments


def find_images(paths: Sequence[str]) -> list[str]:
    """Files that the arguments mean, each once, in the order given.

    A path that names nothing stays in the list, so that it is reported like any other file that
    cannot be read.
    """
    Image.init()  # fills in the extensions that Pillow knows
    found: dict[str, None] = {}
    for path in paths:
        if os.path.isdir(path):
            names = sorted(os.listdir(path))
            files = [os.path.join(path, name) for name in names if _is_image_name(name)]
        elif os.path.exists(path):
            files = [path]
        else:
            files = [f for f in sorted(glob.glob(path, recursive=True)) if os.path.isfile(f)]
            files = files or [path]
        found.update(dict.fromkeys(files))
    if not found:
        raise UsageError(f"there are no images in {', '.join(paths)}")
    return list(found)


def _is_image_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in Image.EXTENSION


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


def read_words(spotter: TextSpotter, file: str, picture: Path | None) -> dict:
    """What goes into the JSON file for one image; draws its picture."""
    image = read_image(file, "BGR")
    words = spotter(image)
    result = {
        "file": file,
        "width": image.shape[1],
        "height": image.shape[0],
        "words": [describe(word) for word in words],
    }
    if picture is not None:
        save_picture(picture, image, words)
        result["picture"] = os.path.join(picture.parent.name, picture.name)
    return result


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
        return TextSpotter(setup_cfg(arguments.config_file, opts))
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error


def run(arguments: argparse.Namespace) -> int:
    files = find_images(arguments.input)
    pictures = arguments.output / "pictures"
    try:
        (arguments.output if arguments.no_pictures else pictures).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{arguments.output} cannot be made into a folder: {error}") from error
    spotter = build_spotter(arguments)

    results, failed = [], []
    names = picture_names(files)
    try:
        for file, name in track(
            list(zip(files, names, strict=True)), "Reading", console=console, transient=True
        ):
            try:
                picture = None if arguments.no_pictures else pictures / name
                results.append(read_words(spotter, file, picture))
            except OSError as error:
                failed.append({"file": file, "error": str(error)})
                console.print(str(error), style="red", markup=False)
            except torch.cuda.OutOfMemoryError:
                error = (
                    f"{file}: too large for the memory of this device; lower INPUT.MAX_SIZE_TEST"
                )
                failed.append({"file": file, "error": error})
                console.print(error, style="red", markup=False)
    finally:
        # An interrupted run keeps what it has.
        whole = {"config_file": arguments.config_file, "images": results, "failed": failed}
        text = json.dumps(whole, ensure_ascii=False, indent=1)
        # What is not Unicode in a file name becomes an escape that JSON readers understand.
        (arguments.output / "results.json").write_text(
            text + "\n", encoding="utf-8", errors="backslashreplace"
        )

    number = sum(len(result["words"]) for result in results)
    console.print(
        f"{number} words in {len(results)} images: {arguments.output / 'results.json'}"
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
    except UsageError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 2


if __name__ == "__main__":
    sys.exit(main())
