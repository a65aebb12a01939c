"""Measure what an index of SynthText's size costs: seconds to load, memory with loader workers.

    python tools/benchmark.py index --workers 4

Generates an index with 858,750 images and 7.3 million words (or as many as told) in a temporary
folder, reads random images through the loader that training uses (or Detectron2's own) with
several workers, and compares the memory of all processes together (proportional set size, Linux)
with that of the same loader over an index of ten images.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import build_detection_train_loader
from torch.utils.data import DataLoader

from benchmark_suite.processes import process_memory
from benchmark_suite.timing import Stopwatch
from dld_d2.commands.arguments import described_parser
from dld_d2.commands.console import console
from dld_d2.commands.errors import ends_in_one_line
from dld_d2.data import ImageRecord, TextDataset, TextIndex, write_index
from dld_d2.engine.stream import TrainingStream, build_stream_loader

__all__ = ["main"]

MEGABYTE = 2**20


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    process_memory("Pss")  # on a system that does not tell, say so before the work
    logging.basicConfig(level=logging.WARNING)
    torch.multiprocessing.set_start_method(arguments.start_method)
    with tempfile.TemporaryDirectory() as temporary:
        index = arguments.index or Path(temporary, "large.index")
        if not arguments.index:
            watch = Stopwatch()
            write_index(index, synthetic_records(arguments.images, arguments.words))
            console.print(f"generated and written in {watch.read().wall:.0f} s")
        small = Path(temporary, "small.index")
        write_index(small, synthetic_records(10, 80))
        size = sum(path.stat().st_size for path in index.iterdir())
        how = (arguments.loader, arguments.batch_size, arguments.workers)
        base = measure(small, *how, 8 * arguments.workers)
        result = measure(index, *how, arguments.batches)
    for part in ("worker", "main"):
        key = f"{part}_memory"
        result[f"{part}_mb_added"] = round((result.pop(key) - base[key]) / MEGABYTE)
        result[f"{part}_mb_before"] = round(base[key] / MEGABYTE)
    result["index_mb"] = round(size / MEGABYTE)
    console.print(json.dumps(result, indent=2))
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(__doc__)
    parser.add_argument("--images", type=int, default=858_750)
    parser.add_argument("--words", type=int, default=7_266_866)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--batches", type=int, default=50_000, help="batches to read")
    parser.add_argument("--loader", choices=("training", "detectron2"), default="training")
    parser.add_argument("--start-method", choices=("fork", "spawn"), default="fork")
    parser.add_argument("--index", type=Path, help="use this index instead of generating one")
    return parser.parse_args(argv)


def synthetic_records(images: int, words: int, seed: int = 0) -> Iterator[ImageRecord]:
    """Records like SynthText's: quadrilaterals, names in 200 folders, words of 2 to 8 letters."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    vocabulary = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(10_000)]
    # The words that do not divide evenly go to the first images.
    for i in range(images):
        count = words // images + (i < words % images)
        corners = rng.random((count, 4, 2), dtype=np.float32) * (600, 450)
        chosen = rng.integers(len(vocabulary), size=count)
        yield ImageRecord(
            file_name=f"{i % 200 + 1}/scene_{i // 200}_{i % 7}.jpg",
            height=450,
            width=600,
            polygons=list(corners.astype(np.float32)),
            texts=[vocabulary[number] for number in chosen],
            ignore=np.zeros(count, dtype=bool),
        )


def measure(folder: Path, kind: str, batch_size: int, workers: int, batches: int) -> dict[str, Any]:
    """Load an index and read it through a loader.

    Returns:
        Seconds to load the index, until the first batch, and for all batches, and the memory of
        this process and its workers in the end, in bytes.
    """
    watch = Stopwatch()
    dataset = TextDataset(TextIndex.load(folder), "images")
    load_seconds = watch.read().wall
    watch = Stopwatch()
    loader = iter(build_loader(dataset, kind, batch_size, workers))
    next(loader)
    first_seconds = watch.read().wall
    watch = Stopwatch()
    loading = {pid for _ in range(batches) for pid, _ in next(loader)} - {os.getpid()}
    return {
        "images": len(dataset),
        "words": dataset.index.num_words,
        "load_s": round(load_seconds, 3),
        "first_batch_s": round(first_seconds, 3),
        "all_batches_s": round(watch.read().wall, 3),
        "workers": len(loading),
        "worker_memory": sum(process_memory("Pss", pid) for pid in loading),
        "main_memory": process_memory("Pss"),
    }


def build_loader(dataset: TextDataset, kind: str, batch_size: int, workers: int) -> DataLoader:
    """A loader of lists of `touch`ed images without end."""
    if kind == "training":
        return build_stream_loader(TrainingStream(dataset, touch, seed=1), batch_size, workers)
    return build_detection_train_loader(
        dataset,
        mapper=touch,
        sampler=None,
        total_batch_size=batch_size,
        aspect_ratio_grouping=False,
        num_workers=workers,
    )


def touch(dataset_dict: dict[str, Any]) -> tuple[int, int]:
    """A mapper that uses everything and keeps nothing: process and number of letters."""
    return os.getpid(), sum(len(word["text"]) for word in dataset_dict["annotations"])
