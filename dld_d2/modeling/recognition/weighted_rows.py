"""Weighted sums of a few pixels of feature maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["weighted_rows"]


def weighted_rows(features: Tensor, pixel: Tensor, weight: Tensor) -> Tensor:
    """Sums over pixels, without a copy of the map for each word.

    Args:
        features: (B, C, H, W).
        pixel: (M, K) int64, pixels of all maps, row by row.
        weight: (M, K).

    Returns:
        (M, C).
    """
    rows = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    weight = weight.to(rows.dtype)
    if torch.onnx.is_in_onnx_export():
        # ONNX has no such operator as the below, and what it is exported as loops over M.
        parts = [rows[pixel[:, k]] * weight[:, k, None] for k in range(pixel.shape[1])]
        return torch.stack(parts).sum(dim=0)
    # No (M, K, C) tensor is ever made.
    return F.embedding_bag(pixel, rows, per_sample_weights=weight, mode="sum")
