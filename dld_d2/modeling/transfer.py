"""Small things on the way to the device, for which nothing has to be waited."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.layers import shapes_to_tensor
from torch import Tensor

__all__ = ["shape_to_device", "to_device"]


def to_device(values: Any, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """Numbers of the host as a tensor on a device.

    `torch.tensor(values, device=device)` and `Tensor.new_tensor` wait until a GPU has computed all
    that was asked of it before; this does not.

    Args:
        values: numbers in lists, an array, or a tensor on the host. An array or a tensor may be
            shared.
        device: where to.
        dtype: theirs if None.
    """
    # Memory that is not pinned is staged before the call returns, so it may change afterwards.
    return torch.as_tensor(values, dtype=dtype).to(device, non_blocking=True)


def shape_to_device(
    sides: list[int], device: torch.device | str, dtype: torch.dtype = torch.int64
) -> Tensor:
    """Sides of tensors as a tensor on a device, which a trace computes anew for each input.

    Args:
        sides: whole numbers, made of tensors' shapes.
        device, dtype: of the result.
    """
    if torch.jit.is_tracing():
        return shapes_to_tensor(sides, device).to(dtype)
    return to_device(sides, device, dtype)
