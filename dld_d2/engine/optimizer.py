"""Optimisers, with the gradient clipped by its total norm."""

from __future__ import annotations

from functools import partial

import torch
from detectron2.config import CfgNode
from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import nn

from dld_d2.engine.config_sources import ConfigError

__all__ = ["build_optimizer", "clip_total_norm"]


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Optimiser over the trainable parameters, as SOLVER.OPTIMIZER names it.

    Detectron2's keys of learning rate, weight decay and momentum hold for both kinds, and its
    SOLVER.CLIP_GRADIENTS clips each parameter before SOLVER.CLIP_TOTAL_NORM looks at all.

    Raises:
        ConfigError: for an unknown name or a negative norm.
    """
    solver = cfg.SOLVER
    params = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        lr_factor_func=partial(_lr_factor, cfg),
    )
    common = {"lr": solver.BASE_LR, "weight_decay": solver.WEIGHT_DECAY}
    if solver.OPTIMIZER == "ADAMW":
        optimizer = torch.optim.AdamW(params, **common)
    elif solver.OPTIMIZER == "SGD":
        optimizer = torch.optim.SGD(
            params, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV, **common
        )
    else:
        raise ConfigError(f"SOLVER.OPTIMIZER is {solver.OPTIMIZER!r}; known are ADAMW and SGD")
    if solver.CLIP_TOTAL_NORM < 0:
        raise ConfigError(f"SOLVER.CLIP_TOTAL_NORM is {solver.CLIP_TOTAL_NORM}; 0 turns it off")
    if solver.CLIP_TOTAL_NORM > 0:
        clip_total_norm(optimizer, model, solver.CLIP_TOTAL_NORM)
    return maybe_add_gradient_clipping(cfg, optimizer)


def _lr_factor(cfg: CfgNode, name: str) -> float:
    if name.startswith("student.policy.selector."):
        return cfg.MODEL.DISTILL.SELECTOR.LR_FACTOR
    backbone = name.removeprefix("student.spotter.").startswith("backbone.")
    return cfg.SOLVER.BACKBONE_MULTIPLIER if backbone else 1.0


def clip_total_norm(optimizer: torch.optim.Optimizer, model: nn.Module, max_norm: float) -> None:
    """Make every step of `optimizer` scale the gradient so that its norm over all parameter groups
    together is at most `max_norm`.

    In mixed precision `GradScaler.step` removes its factor, and leaves out steps that overflowed,
    before the optimiser's hooks run. The norm before clipping is logged as "grad_norm".

    Args:
        optimizer: gains a hook before `step`.
        model: whose parameters it optimises; for the names in the error.
        max_norm: L2 norm above 0.

    Raises (at a step):
        FloatingPointError: naming parameters, if a gradient is infinite or NaN. Nothing has
            changed then.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}

    def clip(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        params = [p for group in optimizer.param_groups for p in group["params"]]
        try:
            norm = torch.nn.utils.clip_grad_norm_(params, max_norm, error_if_nonfinite=True)
        except RuntimeError:
            bad = [names[p] for p in params if not _finite(p.grad)]
            raise FloatingPointError(
                f"the gradient is infinite or NaN, in {len(bad)} parameters, among them "
                f"{', '.join(bad[:3]) or 'none, but its norm'}; no step is taken"
            ) from None
        if has_event_storage():
            get_event_storage().put_scalar("grad_norm", norm.item())

    optimizer.register_step_pre_hook(clip)


def _finite(gradient: torch.Tensor | None) -> bool:
    return gradient is None or bool(torch.isfinite(gradient).all())
