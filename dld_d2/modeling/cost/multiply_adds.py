"""Multiply-adds of any module or function, counted without computing anything."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

__all__ = ["module_cost", "on_meta"]


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
    with torch.no_grad(), _unfused_attention(), _MultiplyAdds() as counter:
        module(*inputs)
    return counter.total


class _MultiplyAdds(TorchDispatchMode):
    """Adds up what the operators that run inside it take.

    PyTorch's own `FlopCounterMode` with the formulas below as its `custom_mapping` would not do in
    every version. Those before 2.15 that take operators apart also do so if there is a formula of
    the operator, but none of that very overload: batch normalisation and nearest upsampling, which
    PyTorch can take apart in Python, count nothing in 2.14. Those that take none apart, as 2.4, do
    not see the products in linear layers and convolutions of inference tensors. Here a formula
    comes first, and what has none is taken apart where PyTorch can, in all versions alike.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        operator = func._overloadpacket
        formula = _FORMULAS.get(operator)
        # PyTorch's own formulas, of products and convolutions, are of operators in every version
        # so far. One of a single overload would be found as well.
        flops = flop_registry.get(operator, flop_registry.get(func))
        if formula is None and flops is None:
            with self:
                output = func.decompose(*args, **kwargs)
            if output is not NotImplemented:
                return output
        output = func(*args, **kwargs)
        if formula is not None:
            self.total += formula(*args, output=output, **kwargs)
        elif flops is not None:
            # They take a multiplication and an addition for two operations.
            self.total += flops(*args, out_val=output, **kwargs) // 2
        return output


@contextmanager
def _unfused_attention() -> Iterator[None]:
    """Let `nn.MultiheadAttention` and the layers of `nn.Transformer` run as products, which have
    formulas. Away from "meta" they are single operators otherwise."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _batch_norm(x: Tensor, weight: Tensor | None, *args: Any, **kwargs: Any) -> int:
    return x.numel() * (2 if weight is not None else 1)


def _group_norm(x: Tensor, weight: Tensor | None, *args: Any, **kwargs: Any) -> int:
    return x.numel() * (5 if weight is not None else 4)


def _layer_norm(x: Tensor, shape: Any, weight: Tensor | None, *args: Any, **kwargs: Any) -> int:
    return _group_norm(x, weight)


def _onednn_lstm(x: Tensor, input_weight: Tensor, hidden_weight: Tensor, *args, **kwargs) -> int:
    """Of one layer and direction."""
    return _recurrent_layers(x, [input_weight, hidden_weight])


def _recurrent_layers(x: Tensor, weights: Sequence[Tensor], *args: Any, **kwargs: Any) -> int:
    """Of all layers and directions. Every step multiplies by every matrix; vectors are biases."""
    return x.shape[:-1].numel() * sum(weight.numel() for weight in weights if weight.dim() == 2)


def _attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> int:
    """Every query times every key gives a weight, by which every value is multiplied."""
    return query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])


def _matrix_times_vector(matrix: Tensor, *args: Any, **kwargs: Any) -> int:
    return matrix.numel()


def _add_matrix_times_vector(x: Tensor, matrix: Tensor, *args: Any, **kwargs: Any) -> int:
    return matrix.numel()


def _per_output(count: int) -> Callable[..., int]:
    def formula(*args: Any, output: Tensor, **kwargs: Any) -> int:
        return count * output.numel()

    return formula


# By the operators' names, since not every version of PyTorch has all of them. Which one a layer
# runs as depends on the version and the device. Recurrent layers and attention consist of products
# where they are no operator of their own.
_BY_NAME = {
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "_batch_norm_no_update": _batch_norm,
    "_batch_norm_with_update": _batch_norm,
    "cudnn_batch_norm": _batch_norm,
    "miopen_batch_norm": _batch_norm,
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
    "mkldnn_rnn_layer": _onednn_lstm,
    "_cudnn_rnn": _recurrent_layers,
    "miopen_rnn": _recurrent_layers,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "mv": _matrix_times_vector,
    "addmv": _add_matrix_times_vector,
    "dot": _matrix_times_vector,
    "upsample_nearest2d": _per_output(1),
    "upsample_bilinear2d": _per_output(4),
    "_upsample_bilinear2d_aa": _per_output(4),
}
_FORMULAS = {
    getattr(torch.ops.aten, name): formula
    for name, formula in _BY_NAME.items()
    if hasattr(torch.ops.aten, name)
}
