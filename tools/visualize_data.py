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

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger
from rich.console import Console
from rich.progress import track

from dld_d2.data import EVALUATOR_TYPE, TextDataset, TextDatasetMapper, register_configured_datasets
from dld_d2.data.coverage import recognition_coverage
from dld_d2.engine.setup import setup_cfg
from dld_d2.visualization import DrawnWord, LegendEntry, add_legend, draw_words, side_by_side

console = Console(stderr=True, soft_wrap=True, highlight=False)

READABLE = LegendEntry("trains detection and recognition", "sky")
DETECTED = LegendEntry("trains detection only (too long, or not in the vocabulary)", "orange")
IGNORED = LegendEntry("don't care", "grey", hatched=True)


class UsageError(Exception):
    """Nothing can be done as asked; the message says why and what to do."""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Draw what the model receives.")
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
        "--num", type=int, default=10, metavar="N", help="images, spread over the set (default 10)"
    )
    parser.add_argument(
        "--draws", type=int, default=3, help="random augmentations of each image (default 3)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the augmentations (default 0)")
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help="overrides of the configuration; must come last",
    )
    arguments = parser.parse_args(argv)
    for option in ("num", "draws"):
        if getattr(arguments, option) < 1:
            parser.error(f"--{option} must be at least 1")
    return arguments


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
    drawn = draw_words(image, words, enlarge=max(1.0, 1600 / max(width, height)))
    title = f"{sample['image_id']}: {width} x {height} pixels"
    return side_by_side([add_legend(drawn, entries)], [title])


def open_dataset(cfg: CfgNode, arguments: argparse.Namespace) -> tuple[str, TextDataset]:
    key = "TRAIN" if arguments.mode == "train" else "TEST"
    name = arguments.dataset or next(iter(cfg.DATASETS[key]), None)
    if name is None:
        raise UsageError(f"DATASETS.{key} is empty: name a data set with --dataset")
    known = [
        n for n in DatasetCatalog if MetadataCatalog.get(n).get("evaluator_type") == EVALUATOR_TYPE
    ]
    if name not in known:
        raise UsageError(
            f"there is no text data set {name!r}; registered are: {', '.join(sorted(known))}"
        )
    dataset = DatasetCatalog.get(name)
    if not len(dataset):
        raise UsageError(f"data set {name!r} has no images")
    return name, dataset


def run(arguments: argparse.Namespace) -> None:
    cfg = setup_cfg(arguments.config_file, arguments.opts)
    register_configured_datasets(cfg)
    mapper = TextDatasetMapper(cfg, is_train=arguments.mode == "train")
    name, dataset = open_dataset(cfg, arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    coverage = recognition_coverage(dataset, mapper.vocabulary, mapper.max_length)
    console.print(f"{name}: {coverage.summary(mapper.max_length)}", markup=False)

    seed_all_rng(arguments.seed)
    draws = arguments.draws if arguments.mode == "train" else 1
    number = min(arguments.num, len(dataset))
    chosen = np.linspace(0, len(dataset), number, endpoint=False, dtype=np.int64)
    for index in track(chosen.tolist(), "Drawing", console=console, transient=True):
        given = dataset[index]
        stem = given["image_id"].replace("/", "_")
        for draw in range(draws):
            picture = draw_sample(mapper(given), mapper)
            path = arguments.output / (f"{stem}_{draw}.jpg" if draws > 1 else f"{stem}.jpg")
            path.write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
    console.print(f"{number * draws} pictures in {arguments.output}", markup=False)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    setup_logger(name="dld_d2", abbrev_name="dld_d2")
    try:
        run(arguments)
    except (UsageError, ValueError, OSError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
