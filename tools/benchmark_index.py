#!/usr/bin/env python
"""Measure what an index of SynthText's size costs: seconds to load, memory with loader workers.

Generates an index with 858,750 images and 7.3 million words (or as many as told) in a temporary
folder, reads random images through Detectron2's own training loader with several workers, and
compares the memory of all processes together (proportional set size, Linux) with that of the same
loader over an index of ten images.

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
from detectron2.data import build_detection_train_loader
from detectron2.data.samplers import TrainingSampler

from dld_d2.data import ImageRecord, TextDataset, TextIndex, write_index

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


def measure(folder: Path, workers: int, samples: int, start_method: str) -> dict[str, Any]:
    """Load an index and read it through a training loader.

    Returns:
        Seconds to load, seconds to the first sample and for all of them, and the memory of this
        process with its workers at the end, in bytes.
    """
    start = time.perf_counter()
    dataset = TextDataset(TextIndex.load(folder), "images")
    load_seconds = time.perf_counter() - start
    start = time.perf_counter()
    loader = build_detection_train_loader(
        dataset,
        mapper=touch,
        sampler=TrainingSampler(len(dataset), seed=1),
        total_batch_size=8,
        aspect_ratio_grouping=False,
        num_workers=workers,
        multiprocessing_context=start_method if workers else None,
    )
    processes = {os.getpid()}
    batches = iter(loader)
    next(batches)
    first_seconds = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(samples // 8):
        processes.update(pid for pid, _ in next(batches))
    return {
        "images": len(dataset),
        "words": dataset.index.num_words,
        "load_s": round(load_seconds, 3),
        "first_batch_s": round(first_seconds, 3),
        "read_s": round(time.perf_counter() - start, 3),
        "processes": len(processes),
        "memory": sum(proportional_memory(pid) for pid in processes),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=858_750)
    parser.add_argument("--words", type=int, default=7_266_866)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--samples", type=int, default=400_000, help="images read per measurement")
    parser.add_argument("--start-method", choices=("fork", "spawn"), default="fork")
    parser.add_argument("--index", type=Path, help="use this index instead of generating one")
    args = parser.parse_args(argv)
    if not Path("/proc/self/smaps_rollup").exists():
        print("error: memory is measured through Linux' /proc/PID/smaps_rollup", file=sys.stderr)
        return 1
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        index = args.index or Path(temporary, "large.index")
        if not args.index:
            start = time.perf_counter()
            write_index(index, synthetic_records(args.images, args.words))
            print(f"generated and written in {time.perf_counter() - start:.0f} s")
        small = Path(temporary, "small.index")
        write_index(small, synthetic_records(10, 80))
        size = sum(path.stat().st_size for path in index.iterdir())
        base = measure(small, args.workers, 8 * args.workers * 4, args.start_method)
        result = measure(index, args.workers, args.samples, args.start_method)
    result["added_mb"] = round((result["memory"] - base["memory"]) / MEGABYTE)
    result["memory_mb"] = round(result.pop("memory") / MEGABYTE)
    result["base_mb"] = round(base["memory"] / MEGABYTE)
    result["index_mb"] = round(size / MEGABYTE)
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
