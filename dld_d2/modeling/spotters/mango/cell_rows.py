"""Which cells are read in training, and what each of them is to read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dld_d2.modeling.spotters.mango.character_slices import Slices, slices_of
from dld_d2.modeling.spotters.mango.grid import Grid
from dld_d2.modeling.spotters.mango.targets import (
    WordCells,
    representative_cells,
    sides_of_targets,
)
from dld_d2.modeling.spotters.rows import Rows
from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["CellRows", "one_cell_each", "several_cells"]


@dataclass(frozen=True)
class CellRows:
    """R >= 1 cells, those of the first image first.

    Attributes:
        number: (R,) int64 in the grid.
        image_index: (R,) int64.
        counts: how many each image has.
        texts: (R, T) int64 as `Vocabulary.encode` gives them.
        sides: (R, 14, 2) of the words, as `gt_sides`.
        first: (N,) int64, the row that stands for each word of `Rows`.
    """

    number: Tensor
    image_index: Tensor
    counts: list[int]
    texts: Tensor
    sides: Tensor
    first: Tensor

    def __len__(self) -> int:
        return len(self.number)

    def slices(self, grid: Grid) -> Slices:
        """Of the words, once for each of their rows."""
        return slices_of(self.sides, self.texts, self.image_index, grid)

    def judged_positions(self, length: int, empty_after_end: bool) -> Tensor:
        """(R, length) bool, at which positions a loss says where characters are: those of a word
        and its end, or all. None of a word without text."""
        known = (self.texts != Vocabulary.PADDING).sum(dim=1, keepdim=True)
        if empty_after_end:
            return (known > 0).expand(-1, length)
        return torch.arange(length, device=known.device) < known


def one_cell_each(rows: Rows, cells: WordCells, grid: Grid) -> CellRows:
    """The representative cells of words, see `representative_cells`."""
    sides = sides_of_targets(rows.targets)
    number = representative_cells(sides, _numbers(rows), rows.image_index, cells, grid)
    return CellRows(
        number=number,
        image_index=rows.image_index,
        counts=[len(target) for target in rows.targets],
        texts=rows.texts,
        sides=sides,
        first=torch.arange(len(number), device=number.device),
    )


def several_cells(rows: Rows, cells: WordCells, grid: Grid, *, every: bool) -> CellRows:
    """The representative cells of words, and others of theirs.

    Whichever of its cells is found reads a word, so that all have to learn it.

    Args:
        rows, cells, grid: of the batch.
        every: whether all others are taken, or one of each word, drawn at random.
    """
    one = one_cell_each(rows, cells, grid)
    # The row of `Rows` that each cell belongs to.
    row_of = torch.full_like(_all_numbers(rows), -1)
    if not rows.stand_in:
        row_of[_numbers(rows)] = torch.arange(len(one), device=row_of.device)
    image_index, number = (cells.owner >= 0).nonzero().unbind(dim=1)
    row = row_of[cells.owner[image_index, number]]
    other = row >= 0
    other &= number != one.number[row]
    if not every:
        lot = torch.rand(len(row), device=row.device).masked_fill(~other, -1)
        highest = torch.full((len(one) + 1,), -1.0, device=row.device)
        highest.scatter_reduce_(0, row.masked_fill(row < 0, len(one)), lot, "amax")
        other &= lot == highest[row]
    image_index, number, row = image_index[other], number[other], row[other]

    image_index = torch.cat([one.image_index, image_index])
    image_index, order = image_index.sort(stable=True)
    row = torch.cat([one.first, row])[order]
    return CellRows(
        number=torch.cat([one.number, number])[order],
        image_index=image_index,
        counts=torch.bincount(image_index, minlength=len(rows.targets)).tolist(),
        texts=one.texts[row],
        sides=one.sides[row],
        first=order.argsort()[: len(one)],
    )


def _all_numbers(rows: Rows) -> Tensor:
    """Of all instances of the batch."""
    readable = torch.cat([target.gt_readable for target in rows.truth])
    return torch.arange(len(readable), device=readable.device)


def _numbers(rows: Rows) -> Tensor:
    """Of the rows' words among all instances of the batch; a stand-in is none of them."""
    if rows.stand_in:
        return torch.full_like(rows.image_index, -2)
    return torch.cat([target.gt_readable for target in rows.truth]).nonzero()[:, 0]
