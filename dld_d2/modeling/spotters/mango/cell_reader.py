"""Reads words out of cells: attention to characters, what is gathered there, and its classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dld_d2.modeling.recognition.encoder import ContextEncoder
from dld_d2.modeling.recognition.positional_decoder import PositionalDecoder
from dld_d2.modeling.spotters.mango.character_attention import (
    CharacterAttention,
    attention_logits,
)
from dld_d2.modeling.spotters.mango.character_slices import Slices
from dld_d2.modeling.spotters.mango.gathering import (
    Gathered,
    gather_by_attention,
    gather_slices,
)
from dld_d2.modeling.spotters.mango.grid import Grid
from dld_d2.modeling.transfer import to_device

__all__ = ["CellReader", "ReaderMaps"]


class ReaderMaps(NamedTuple):
    """What is computed of a batch before its words are known.

    Attributes:
        cells: (B, S * S, D), what the kernels of cells are made of.
        masks: (B, D, h * w) mask features.
        values: (B, C, h * w), what is gathered.
    """

    cells: Tensor
    masks: Tensor
    values: Tensor

    def image(self, index: int) -> ReaderMaps:
        """Those of one image."""
        return ReaderMaps(*(value[index : index + 1] for value in self))


class CellReader(nn.Module):
    """
    Args:
        attention: of cells to characters.
        fusion: convolutions that make what is gathered.
        context: from a word's characters, as gathered, to contextual features.
        decoder: tells their classes.
        pooling: "mean" or "sum", see `Gathered.pooled`.
    """

    def __init__(
        self,
        *,
        attention: CharacterAttention,
        fusion: nn.Module,
        context: ContextEncoder,
        decoder: PositionalDecoder,
        pooling: str,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.fusion = fusion
        self.context = context
        self.decoder = decoder
        self.pooling = pooling

    @property
    def length(self) -> int:
        """Positions of a word: its characters, and its end."""
        return self.attention.length

    def maps(self, features: Tensor, sampled: Tensor, grid: Grid) -> ReaderMaps:
        """Of a feature map (B, C, h, w), and the same at the cells, (B, C, S, S)."""
        return ReaderMaps(
            self.attention.cells(sampled, grid),
            self.attention.masks(features, grid).flatten(2),
            self.fusion(features).flatten(2),
        )

    def gather(
        self,
        maps: ReaderMaps,
        grid: Grid,
        number: Tensor,
        counts: Sequence[int],
        slices: Slices | None = None,
    ) -> Gathered:
        """What N cells attend to.

        Args:
            maps: of a batch.
            grid: over it.
            number: (N,) int64 of the cells, those of the first image first.
            counts: how many each image has.
            slices: of the same words, if attention is to be compared with them.
        """
        image_index = torch.arange(len(counts), device=number.device).repeat_interleave(
            to_device(counts, number.device), output_size=len(number)
        )
        kernels = self.attention.kernels(maps.cells[image_index, number], number, grid.side)
        coordinates = (grid.map_coordinates() + 1) / 2 * grid.side
        return gather_by_attention(
            kernels,
            maps.masks,
            maps.values,
            coordinates.flatten(2),
            grid.seen().flatten(1),
            counts,
            slices,
        )

    def attention_of(self, maps: ReaderMaps, grid: Grid, number: Tensor, image: int) -> Tensor:
        """Where cells of one image look, for pictures: (n, L, h, w) in [0, 1].

        Args:
            maps, grid: of a batch.
            number: (n,) int64 of the cells.
            image: their image.
        """
        kernels = self.attention.kernels(maps.cells[image, number], number, grid.side)
        coordinates = (grid.map_coordinates()[image].flatten(1) + 1) / 2 * grid.side
        logits = attention_logits(kernels, maps.masks[image], coordinates)
        return logits.sigmoid().view(len(number), self.length, *grid.shape)

    def forced(
        self,
        gathered: Gathered,
        forced: Tensor,
        slices: Slices,
        maps: ReaderMaps,
        image_index: Tensor,
    ) -> Gathered:
        """With what is in the slices of some words, `forced` (N,) bool, instead of what their cells
        attend to."""
        given = gather_slices(slices, maps.values, image_index, self.length)
        return Gathered(
            *(
                torch.where(forced.view(-1, *[1] * (own.ndim - 1)), there.to(own.dtype), own)
                for there, own in zip(given, gathered, strict=True)
            )
        )
