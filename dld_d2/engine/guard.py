"""Stop a training whose losses are no longer finite, before they reach the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["REMEDY", "NonFiniteLossError", "guard_losses"]

REMEDY = (
    "Training stops; the last checkpoint is good. A lower SOLVER.BASE_LR, a longer "
    "SOLVER.WARMUP_ITERS or SOLVER.AMP.ENABLED False may help."
)
"""What to do when a training diverges."""


class NonFiniteLossError(FloatingPointError):
    """A loss became infinite or NaN. The message names it, the other losses, and the images."""


def guard_losses(model: nn.Module) -> torch.utils.hooks.RemovableHandle:
    """Check what `model` returns in training, a dictionary of scalar losses, at every call.

    The check comes before the backward pass, so that neither weights nor optimiser state nor a
    checkpoint can see the bad step. Gradients that overflow in mixed precision are not its
    concern: `GradScaler` leaves out such steps.

    Raises (at a call):
        NonFiniteLossError: if a loss is infinite or NaN.
    """
    return model.register_forward_hook(_check)


def _check(model: nn.Module, args: tuple, losses: Any) -> None:
    if not model.training:
        return
    names = list(losses)
    # One transfer from the device for all losses together.
    values = torch.stack([_scalar(losses[name]) for name in names]).tolist()
    finite = {name: value for name, value in zip(names, values, strict=True) if _finite(value)}
    if len(finite) == len(names):
        return
    bad = [f"{n} = {v}" for n, v in zip(names, values, strict=True) if n not in finite]
    others = [f"{name} = {value:.4g}" for name, value in finite.items()]
    files = [str(item.get("file_name", "?")) for item in args[0]]
    raise NonFiniteLossError(
        f"{', '.join(bad)}"
        + (f" (while {', '.join(others)})" if others else "")
        + f", on the images {', '.join(files)}. {REMEDY}"
    )


def _scalar(loss: Tensor) -> Tensor:
    return loss.detach().float().reshape(())


def _finite(value: float) -> bool:
    return abs(value) < float("inf")
