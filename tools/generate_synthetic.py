#!/usr/bin/env python
r"""Write synthetic scenes with words to disk: images, annotations, lexicons, a contact sheet.

    python tools/generate_synthetic.py --split test --output datasets/synthetic/test
    python tools/generate_synthetic.py --num 5000 --seed 7 --backgrounds PHOTOS --output DIR

Training and evaluation on synthetic_train, synthetic_val and synthetic_test need no files.
"""

from __future__ import annotations

import dld_d2.commands  # noqa: F401 (first: it silences what others warn of when they are loaded)

# isort: split
import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2

from dld_d2.analysis.contact_sheet import contact_sheet
from dld_d2.commands.arguments import at_least, described_parser
from dld_d2.commands.console import messages, progress
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.commands.pictures import write_picture
from dld_d2.synthetic import SPLITS, SceneConfig, SyntheticDataset, draw_scene
from dld_d2.synthetic.config import DENSE_REGIMES
from dld_d2.synthetic.writer import write_annotations, write_lexicons, write_scene

_BENCHMARK_SCENES = 200


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = described_parser(__doc__)
    add = parser.add_argument
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--split", choices=tuple(SPLITS), help="the scenes of synthetic_SPLIT")
    which.add_argument("--seed", type=int, help="scenes of your own (default 0)")
    add("--num", type=int, help="how many (default: the whole split, or 100)")
    add("--output", type=Path, metavar="DIR", help="folder to write into")
    add("--dense", action="store_true", help="as many words in each as fit")
    add("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="in pixels (512 512)")
    add("--backgrounds", metavar="DIR", help="photographs to put words on")
    add("--word-crops", metavar="DIR", help="pictures of words, with labels.tsv, to paste")
    add("--system-fonts", action="store_true", help="also use the fonts of this machine")
    add(
        "--image-format",
        choices=("png", "jpg"),
        default="png",
        help="png (default) keeps every pixel, jpg takes a fifth of the space",
    )
    add("--workers", type=at_least(1), default=1, help="processes that draw (default 1)")
    add("--sheet", type=int, default=4, metavar="N", help="columns of the contact sheet, 0: none")
    add("--benchmark", action="store_true", help="write nothing, measure scenes per second")
    arguments = parser.parse_args(argv)
    if arguments.output is None and not arguments.benchmark:
        parser.error("--output is needed")
    return arguments


def open_dataset(arguments: argparse.Namespace) -> SyntheticDataset:
    options = {
        "backgrounds": arguments.backgrounds,
        "word_crops": arguments.word_crops,
        "use_system_fonts": arguments.system_fonts,
    }
    if arguments.dense:
        options["regimes"] = DENSE_REGIMES
    if arguments.size is not None:
        options |= dict(zip(("height", "width"), arguments.size, strict=True))
    config = SceneConfig(**options)
    if arguments.split is None:
        return SyntheticDataset(arguments.num or 100, arguments.seed or 0, config)
    if config != SceneConfig():
        raise UsageError(
            f"--split {arguments.split} is fixed: for scenes of another size, with other or more "
            "words, backgrounds or fonts, leave --split out and give --seed and --num"
        )
    length, seed, config = SPLITS[arguments.split]
    return SyntheticDataset(
        min(arguments.num or length, length), seed, config, prefix=arguments.split
    )


def generate(dataset: SyntheticDataset, arguments: argparse.Namespace) -> None:
    folder = arguments.output
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; remove it or choose another folder")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    suffix = f".{arguments.image_format}"
    write = partial(write_scene, dataset, folder=folder, suffix=suffix)
    numbers = range(len(dataset))
    if arguments.workers == 1:
        for _ in progress(map(write, numbers), "Drawing", len(dataset)):
            pass
    else:
        with ProcessPoolExecutor(
            arguments.workers, initializer=cv2.setNumThreads, initargs=(1,)
        ) as pool:
            for _ in progress(pool.map(write, numbers, chunksize=16), "Drawing", len(dataset)):
                pass
    write_annotations(dataset, folder, suffix)
    write_lexicons(dataset, folder / "lexicons")
    if arguments.sheet > 0:
        for name, annotated in (("contact_sheet", False), ("contact_sheet_annotated", True)):
            sheet = contact_sheet(dataset, arguments.sheet, annotated=annotated)
            write_picture(folder / f"{name}.png", sheet)
    messages.print(f"{len(dataset)} scenes in {folder}")


def benchmark(dataset: SyntheticDataset) -> None:
    """Scenes per second of processor time, which other processes hardly change; best of five."""
    cv2.setNumThreads(1)
    number = min(_BENCHMARK_SCENES, len(dataset))
    best = 0.0
    for _ in range(5):
        start = time.process_time()
        for index in range(number):
            draw_scene(dataset.config, dataset.seed, index)
        best = max(best, number / (time.process_time() - start))
    size = f"{dataset.config.height} x {dataset.config.width}"
    messages.print(f"{best:.1f} scenes of {size} pixels per second of one core")


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    dataset = open_dataset(arguments)
    if arguments.benchmark:
        benchmark(dataset)
    else:
        generate(dataset, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
