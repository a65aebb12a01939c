"""What is at the characters: features of the image gathered by attention.

Attention is words x characters x pixels, far more than everything else. It is made, used and
dropped for a few words at a time, and made again for the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dld_d2.modeling.spotters.mango.character_attention import Kernels, attention_logits
from dld_d2.modeling.spotters.mango.character_slices import Slices

__all__ = ["Gathered", "gather_by_attention", "gather_in_image", "gather_slices"]

# Sums over a whole image would not fit into float16.
_UNIT = 64.0
# Elements of attention that are held at once.
_MOST_ELEMENTS = 2**26


class Gathered(NamedTuple):
    """Of N words with L positions each.

    Attributes:
        total: (N, L, C) sum of the features, weighted by the attention, in float32 at least.
        weight: (N, L) float32, sum of the attention.
        squares: (N, L) float32, sum of its squares.
        inside: (N, L) float32, sum of the attention within the slices that were given.
    """

    total: Tensor
    weight: Tensor
    squares: Tensor
    inside: Tensor

    def pooled(self, pooling: str) -> Tensor:
        """(N, L, C): the "sum", or the "mean" with a weight of one pixel of nothing beside it."""
        if pooling == "sum":
            return self.total
        return self.total / (self.weight + 1)[..., None]


def gather_by_attention(
    kernels: Kernels,
    masks: Tensor,
    values: Tensor,
    coordinates: Tensor,
    seen: Tensor,
    counts: Sequence[int],
    slices: Slices | None = None,
    most_elements: int = _MOST_ELEMENTS,
) -> Gathered:
    """Gather features by attention.

    Args:
        kernels: of N cells, those of the first image first.
        masks: (B, D, P) mask features of P pixels.
        values: (B, C, P) features to be gathered.
        coordinates: (B, 2, P) x and y of pixels in cells.
        seen: (B, P) bool, which pixels are no padding.
        counts: how many of the cells each image has.
        slices: of the same N words, if attention is to be compared with them.
        most_elements: of attention that are held at once.
    """
    length, pixels = kernels.content.shape[1], masks.shape[2]
    chunk = max(1, most_elements // (length * pixels))
    again = torch.is_grad_enabled() and sum(counts) > chunk
    columns = _columns(values, seen)
    parts, first = [], 0
    # Taken apart once: the gradient of an index is as large as what it is taken of.
    for mask, column, place, count in zip(
        masks.unbind(), columns.unbind(), coordinates.unbind(), counts, strict=True
    ):
        for start in range(first, first + count, chunk):
            stop = min(start + chunk, first + count)
            inputs = (
                kernels.rows(start, stop),
                mask,
                place,
                column,
                None if slices is None else slices.of_rows(start, stop).flat(pixels, length),
            )
            # Nothing in it is drawn at random.
            parts.append(
                checkpoint(_gather, *inputs, use_reentrant=False, preserve_rng_state=False)
                if again
                else _gather(*inputs)
            )
        first += count
    return Gathered(*(torch.cat(values) for values in zip(*parts, strict=True)))


def gather_in_image(
    kernels: Kernels, masks: Tensor, values: Tensor, coordinates: Tensor, seen: Tensor
) -> Gathered:
    """The same for cells of one image, all at once.

    Args:
        kernels: of N cells.
        masks: (D, P) mask features of P pixels.
        values: (C, P).
        coordinates: (2, P).
        seen: (P,) bool.
    """
    columns = _columns(values[None], seen[None])[0]
    return Gathered(*_gather(kernels, masks, coordinates, columns, None))


def gather_slices(slices: Slices, values: Tensor, image_index: Tensor, length: int) -> Gathered:
    """The same where attention is 1 in the slices of characters and 0 elsewhere.

    Args:
        slices: of N words.
        values: (B, C, P).
        image_index: (N,) int64.
        length: L.
    """
    count, channels = len(image_index), values.shape[1]
    place = slices.row * length + slices.channel
    picked = _precise(values.transpose(1, 2)[image_index[slices.row], slices.pixel])
    total = picked.new_zeros(count * length, channels).index_add(0, place, picked)
    weight = torch.zeros(count * length, device=values.device)
    weight = weight.index_add(0, place, torch.ones_like(place, dtype=torch.float32))
    weight = weight.view(count, length)
    return Gathered(total.view(count, length, channels), weight, weight, weight)


def _columns(values: Tensor, seen: Tensor) -> Tensor:
    """(B, P, C + 1): (B, C, P) features of the pixels (B, P) that are seen, and whether they are,
    both divided by `_UNIT`."""
    weights = seen[:, None].to(values.dtype) / _UNIT
    return torch.cat([values * weights, weights], dim=1).transpose(1, 2)


def _gather(
    kernels: Kernels, masks: Tensor, coordinates: Tensor, columns: Tensor, inside: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For n cells of one image; `columns` is (P, C + 1), features and whether a pixel is seen, both
    divided by `_UNIT`; `inside` are the elements of attention (n * L * P) that lie in slices."""
    count, length = kernels.content.shape[:2]
    attention = attention_logits(kernels, masks, coordinates).sigmoid()
    gathered = attention.to(columns.dtype) @ columns
    gathered = (_precise(gathered) * _UNIT).view(count, length, -1)
    total, weight = gathered[..., :-1], gathered[..., -1].float()
    if inside is None:
        nothing = torch.zeros_like(weight)
        return total, weight, nothing, nothing
    squares = (attention.square().to(columns.dtype) @ columns[:, -1:]).float() * _UNIT
    picked = attention.flatten()[inside].float()
    place = inside // len(columns)
    within = torch.zeros(count * length, device=masks.device).index_add(0, place, picked)
    return total, weight, squares.view(count, length), within.view(count, length)


def _precise(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
