#!/usr/bin/env python3
r"""Draw what the model receives: images, polygons and transcriptions as the mapper gives them.

    python tools/visualize_data.py --config-file configs/CONFIG.yaml --output DIR

Transcriptions are decoded from the numbers that train the recognition branch, so a word that it
cannot learn from has none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from dld_d2.analysis.visualization import (
    DrawnWord,
    LegendEntry,
    add_legend,
    draw_words,
    side_by_side,
)
from dld_d2.commands.arguments import add_overrides, at_least, described_parser
from dld_d2.commands.console import messages, progress
from dld_d2.commands.datasets import open_text_dataset
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.commands.pictures import enlargement, write_picture
from dld_d2.data import TextDatasetMapper
from dld_d2.data.coverage import recognition_coverage
from dld_d2.data.resolution import at_resolution_of
from dld_d2.engine.setup import setup_cfg

READABLE = LegendEntry("trains detection and recognition", "sky")
DETECTED = LegendEntry("trains detection only (too long, or not in the vocabulary)", "orange")
IGNORED = LegendEntry("don't care", "grey", hatched=True)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = described_parser(__doc__)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="configuration (YAML)")
    parser.add_argument("--output", required=True, metavar="DIR", type=Path)
    parser.add_argument(
        "--mode",
        choices=("train", "test"),
        default="train",
        help="augmented as in training (default), or as in testing",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="registered data set (default: first of DATASETS.TRAIN or DATASETS.TEST)",
    )
    parser.add_argument(
        "--num",
        type=at_least(1),
        default=10,
        metavar="N",
        help="images, spread over the set (default 10)",
    )
    parser.add_argument(
        "--draws",
        type=at_least(1),
        default=3,
        help="random augmentations of each image (default 3)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the augmentations (default 0)")
    add_overrides(parser, "opts")
    return parser.parse_args(argv)


def draw_sample(sample: dict[str, Any], mapper: TextDatasetMapper) -> np.ndarray:
    """Picture (BGR) of what the mapper returned for one image, with a legend."""
    image = sample["image"].permute(1, 2, 0).numpy()
    if mapper.image_format == "RGB":
        image = image[:, :, ::-1]
    instances = sample["instances"]
    kinds = [
        IGNORED if ignored else READABLE if readable else DETECTED
        for ignored, readable in zip(
            instances.gt_ignore.tolist(), instances.gt_readable.tolist(), strict=True
        )
    ]
    words = [
        DrawnWord(polygon, mapper.vocabulary.decode(text), color=kind.color, hatched=kind.hatched)
        for polygon, text, kind in zip(
            instances.gt_masks.vertices.numpy(), instances.gt_texts.tolist(), kinds, strict=True
        )
    ]
    entries = [
        LegendEntry(f"{kind.text}: {kinds.count(kind)}", kind.color, kind.hatched)
        for kind in (READABLE, DETECTED, IGNORED)
    ]
    height, width = image.shape[:2]
    drawn = draw_words(image, words, enlarge=enlargement(image))
    title = f"{sample['image_id']}: {width} x {height} pixels"
    return side_by_side([add_legend(drawn, entries)], [title])


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    setup_logger(name="dld_d2", abbrev_name="dld_d2")
    cfg = setup_cfg(arguments.config_file, arguments.opts)
    key = "TRAIN" if arguments.mode == "train" else "TEST"
    name = arguments.dataset or next(iter(cfg.DATASETS[key]), None)
    if name is None:
        raise UsageError(f"DATASETS.{key} is empty: name a data set with --dataset")
    dataset = open_text_dataset(cfg, name)
    mapper = TextDatasetMapper(at_resolution_of(cfg, name), is_train=arguments.mode == "train")
    arguments.output.mkdir(parents=True, exist_ok=True)
    coverage = recognition_coverage(dataset, mapper.vocabulary, mapper.max_length)
    messages.print(f"{name}: {coverage.summary(mapper.max_length)}")

    seed_all_rng(arguments.seed)
    draws = arguments.draws if arguments.mode == "train" else 1
    number = min(arguments.num, len(dataset))
    chosen = np.linspace(0, len(dataset), number, endpoint=False, dtype=np.int64)
    for index in progress(chosen.tolist(), "Drawing"):
        given = dataset[index]
        stem = given["image_id"].replace("/", "_")
        for draw in range(draws):
            picture = draw_sample(mapper(given), mapper)
            path = arguments.output / (f"{stem}_{draw}.jpg" if draws > 1 else f"{stem}.jpg")
            write_picture(path, picture)
    messages.print(f"{number * draws} pictures in {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
