"""What data sets have in common that are drawn while they are used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import Dataset

__all__ = ["DrawnDataset"]


class DrawnDataset(Dataset):
    """Map-style data set of pictures, each a function of a seed and its index."""

    what = "scene"
    """What a picture is, for messages."""

    def __init__(self, length: int, seed: int, prefix: str) -> None:
        """
        Args:
            length: number of pictures.
            seed: non-negative; pictures of different seeds are independent.
            prefix: first part of the images' ids.

        Raises:
            ValueError: for a length below 1 or a negative seed.
        """
        if length < 1:
            raise ValueError(f"a data set needs at least one {self.what}, not {length}")
        if seed < 0:
            raise ValueError(f"the seed cannot be negative, as {seed} is")
        self.length = length
        self.seed = seed
        self.prefix = prefix

    def __len__(self) -> int:
        """Number of pictures."""
        return self.length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}({self.length} {self.what}s, seed {self.seed}, {self.prefix!r})"

    def _checked(self, index: int) -> int:
        """The index from 0 on.

        Raises:
            IndexError: if there is no such picture.
        """
        if not -self.length <= index < self.length:
            raise IndexError(f"{self.what} {index} of {self.length}")
        return int(index) % self.length
