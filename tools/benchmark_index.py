#!/usr/bin/env python
"""Measure what an index of SynthText's size costs: seconds to load, memory with loader workers.

Generates an index with 858,750 images and 7.3 million words (or as many as told) in a temporary
folder, reads random images through the loader that training uses (or Detectron2's own) with
several workers, and compares the memory of all processes together (proportional set size, Linux)
with that of the same loader over an index of ten images.

    python tools/benchmark_index.py --workers 4
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import build_detection_train_loader
from torch.utils.data import DataLoader

from dld_d2.data import ImageRecord, TextDataset, TextIndex, write_index
from dld_d2.engine.stream import TrainingStream, build_stream_loader

MEGABYTE = 2**20


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


def touch(dataset_dict: dict[str, Any]) -> tuple[int, int]:
    """A mapper that uses everything and keeps nothing: process and number of letters."""
    return os.getpid(), sum(len(word["text"]) for word in dataset_dict["annotations"])


def proportional_memory(pid: int) -> int:
    """Proportional set size of a process in bytes; pages that n processes share count 1/n."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no Pss of process {pid}")


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


def measure(folder: Path, kind: str, batch_size: int, workers: int, batches: int) -> dict[str, Any]:
    """Load an index and read it through a loader.

    Returns:
        Seconds to load the index, until the first batch, and for all batches, and the memory of
        this process and its workers in the end, in bytes.
    """
    start = time.perf_counter()
    dataset = TextDataset(TextIndex.load(folder), "images")
    load_seconds = time.perf_counter() - start
    start = time.perf_counter()
    loader = iter(build_loader(dataset, kind, batch_size, workers))
    next(loader)
    first_seconds = time.perf_counter() - start
    start = time.perf_counter()
    loading = {pid for _ in range(batches) for pid, _ in next(loader)} - {os.getpid()}
    return {
        "images": len(dataset),
        "words": dataset.index.num_words,
        "load_s": round(load_seconds, 3),
        "first_batch_s": round(first_seconds, 3),
        "all_batches_s": round(time.perf_counter() - start, 3),
        "workers": len(loading),
        "worker_memory": sum(proportional_memory(pid) for pid in loading),
        "main_memory": proportional_memory(os.getpid()),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=858_750)
    parser.add_argument("--words", type=int, default=7_266_866)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--batches", type=int, default=50_000, help="batches to read")
    parser.add_argument("--loader", choices=("training", "detectron2"), default="training")
    parser.add_argument("--start-method", choices=("fork", "spawn"), default="fork")
    parser.add_argument("--index", type=Path, help="use this index instead of generating one")
    args = parser.parse_args(argv)
    if not Path("/proc/self/smaps_rollup").exists():
        print("error: memory is measured through Linux' /proc/PID/smaps_rollup", file=sys.stderr)
        return 1
    logging.basicConfig(level=logging.WARNING)
    torch.multiprocessing.set_start_method(args.start_method)
    with tempfile.TemporaryDirectory() as temporary:
        index = args.index or Path(temporary, "large.index")
        if not args.index:
            start = time.perf_counter()
            write_index(index, synthetic_records(args.images, args.words))
            print(f"generated and written in {time.perf_counter() - start:.0f} s")
        small = Path(temporary, "small.index")
        write_index(small, synthetic_records(10, 80))
        size = sum(path.stat().st_size for path in index.iterdir())
        base = measure(small, args.loader, args.batch_size, args.workers, 8 * args.workers)
        result = measure(index, args.loader, args.batch_size, args.workers, args.batches)
    for part in ("worker", "main"):
        key = f"{part}_memory"
        result[f"{part}_mb_added"] = round((result.pop(key) - base[key]) / MEGABYTE)
        result[f"{part}_mb_before"] = round(base[key] / MEGABYTE)
    result["index_mb"] = round(size / MEGABYTE)
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
