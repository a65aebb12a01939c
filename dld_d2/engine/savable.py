"""What is good enough to be saved in a checkpoint."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["check_savable"]

_PLAIN = (bool, int, float, str, bytes, type(None), torch.Tensor)


def check_savable(data: dict[str, Any]) -> None:
    """
    Args:
        data: what a checkpoint is to hold, the model's state as "model".

    Raises:
        FloatingPointError: naming the parameter, if a weight is infinite or NaN.
        TypeError: if something is not made of tensors and plain Python values.
    """
    _check_finite(data["model"])
    _check_plain(data)


def _check_finite(state: dict[str, torch.Tensor]) -> None:
    for name, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise FloatingPointError(
                f"{name} holds infinite or NaN values; this model is not saved, the last "
                "checkpoint stays"
            )


def _check_plain(data: Any, name: str = "checkpoint") -> None:
    if isinstance(data, dict):
        for key, value in data.items():
            _check_plain(value, f"{name}.{key}")
    elif isinstance(data, list | tuple):
        for number, value in enumerate(data):
            _check_plain(value, f"{name}[{number}]")
    elif type(data) not in _PLAIN and not isinstance(data, torch.Tensor):
        raise TypeError(f"{name} is a {type(data).__name__}, which a safe load would refuse")
