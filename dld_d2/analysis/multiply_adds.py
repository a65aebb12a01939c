"""Multiply-adds of any module or function, counted without computing anything."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["module_cost", "on_meta"]

_aten = torch.ops.aten


def on_meta(module: nn.Module) -> nn.Module:
    """A copy of a module, in evaluation mode, whose tensors have shapes but neither memory nor
    values. The module itself is left as it is."""
    memo: dict[int, Any] = {}
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        if isinstance(tensor, nn.Parameter):
            empty = nn.Parameter(empty, tensor.requires_grad)
        memo[id(tensor)] = empty
    return copy.deepcopy(module, memo).eval()


def module_cost(module: Callable[..., Any], *inputs: Any) -> int:
    """Multiply-adds of one call.

    Convolutions, matrix products and what consists of them (linear layers, recurrent layers,
    attention) count one per multiplication and addition; batch normalisation two per element (one
    without affine parameters), group and layer normalisation five, nearest upsampling one per
    output, bilinear upsampling four. That is fvcore's convention, which the paper (Dynamic
    Low-Resolution Distillation for Cost-Efficient End-to-End Text Spotting, ECCV 2022) counts by,
    but that fvcore leaves recurrent layers out. Activations, pooling, element-wise sums and
    products, RoIAlign, gathering and sorting count nothing.

    Args:
        module: a module, in evaluation mode, or a function.
        *inputs: of the call. With tensors on the "meta" device, of a module that `on_meta` made,
            nothing is computed and the count takes milliseconds whatever the size.

    Raises:
        Whatever the call raises.
    """
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        module(*inputs)
    # The counter takes a multiplication and an addition for two operations.
    return counter.get_total_flops() // 2


def _batch_norm(x: tuple, weight: tuple | None, *args: Any, **kwargs: Any) -> int:
    return 2 * prod(x) * (2 if weight is not None else 1)


def _group_norm(x: tuple, weight: tuple | None, *args: Any, **kwargs: Any) -> int:
    return 2 * prod(x) * (5 if weight is not None else 4)


def _layer_norm(x: tuple, shape: Any, weight: tuple | None, *args: Any, **kwargs: Any) -> int:
    return _group_norm(x, weight)


def _recurrent_layer(x: tuple, input_weight: tuple, hidden_weight: tuple, *args, **kwargs) -> int:
    """oneDNN's operator for one direction; elsewhere recurrent layers consist of products."""
    return 2 * prod(x[:2]) * (prod(input_weight) + prod(hidden_weight))


def _per_output(count: int) -> Callable[..., int]:
    def formula(*args: Any, out_shape: tuple, **kwargs: Any) -> int:
        return 2 * count * prod(out_shape)

    return formula


_FORMULAS = {
    _aten.native_batch_norm: _batch_norm,
    _aten.native_group_norm: _group_norm,
    _aten.native_layer_norm: _layer_norm,
    _aten.mkldnn_rnn_layer: _recurrent_layer,
    _aten.upsample_nearest2d: _per_output(1),
    _aten.upsample_bilinear2d: _per_output(4),
    _aten._upsample_bilinear2d_aa: _per_output(4),
}
