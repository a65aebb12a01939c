"""The endless stream of training images, in which every element is a function of its position."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

__all__ = ["PositionSampler", "TrainingStream", "build_stream_loader", "seed_for", "seeded"]


def seed_for(*numbers: int) -> int:
    """A seed of 32 bits that depends on all of the numbers (non-negative), well mixed."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the context, Python's, NumPy's and PyTorch's CPU generators start from `seed`;
    afterwards they go on as if nothing had been drawn."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


class TrainingStream(Dataset):
    """Shuffled images without end, addressed by position.

    Positions e * N to (e + 1) * N - 1 hold each of the N images once, in an order drawn for epoch
    e. What the mapper draws at random depends on seed and position only. So the stream is the same
    for any number of processes and loader workers, and training can go on anywhere in it.
    """

    def __init__(self, images: Dataset, mapper: Callable[[dict], Any], seed: int) -> None:
        """
        Args:
            images: map-style data set of N >= 1 Detectron2 dicts.
            mapper: turns a dict into what the model gets. It may draw from the global generators
                of `random`, NumPy and PyTorch.
            seed: any non-negative number.
        """
        if len(images) == 0:
            raise ValueError("there are no images to train on")
        self.images = images
        self.mapper = mapper
        self.seed = seed
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def index_at(self, position: int) -> int:
        """Which of the images is at a position."""
        epoch, rest = divmod(position, len(self.images))
        if epoch != self._epoch:
            generator = np.random.default_rng([self.seed, epoch])
            self._order = generator.permutation(len(self.images))
            self._epoch = epoch
        return int(self._order[rest])

    def __getitem__(self, position: int) -> Any:
        image = self.images[self.index_at(position)]
        with seeded(seed_for(self.seed, position)):
            return self.mapper(image)


class PositionSampler(Sampler):
    """Positions of one process: every `world_size`-th from `start + rank` on.

    `start` may be set until the iteration begins.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.start = 0
        self._rank = rank
        self._world_size = world_size

    def __iter__(self) -> Iterator[int]:
        position = self.start + self._rank
        while True:
            yield position
            position += self._world_size


def build_stream_loader(stream: TrainingStream, batch_size: int, num_workers: int) -> DataLoader:
    """Batches of this process as lists of the stream's elements.

    Args:
        stream: the same in all processes.
        batch_size: images per process.
        num_workers: processes that load; 0 loads in this one.

    Returns:
        A loader whose `sampler` is a `PositionSampler`.
    """
    return DataLoader(
        stream,
        batch_size=batch_size,
        sampler=PositionSampler(comm.get_rank(), comm.get_world_size()),
        num_workers=num_workers,
        collate_fn=_as_list,
        worker_init_fn=_use_one_thread,
        # The loader draws its workers' seeds from this generator; from the global one, a training
        # that resumes would draw once more than one that goes on.
        generator=torch.Generator(),
    )


def _as_list(batch: list) -> list:
    return batch


def _use_one_thread(worker: int) -> None:
    # One process per worker is parallel enough.
    cv2.setNumThreads(0)
