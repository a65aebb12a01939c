"""Mixed precision, where the machine has it."""

from __future__ import annotations

import logging
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn

from dld_d2.engine.config_sources import ConfigError

__all__ = ["autocast_in_training", "with_possible_precision"]

logger = logging.getLogger(__name__)


def autocast_in_training(model: nn.Module, device: str) -> None:
    """Mixed precision in bfloat16, on any device.

    Losses are not scaled, as Detectron2's AMPTrainer scales them for float16 (by 2^16 at first,
    which leaves out steps until no gradient overflows): bfloat16 has the range of float32.

    Args:
        model: what is trained; its `forward` is replaced.
        device: `MODEL.DEVICE`.
    """
    forward = model.forward
    kind = torch.device(device).type

    def autocast_forward(*args: Any) -> Any:
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=model.training):
            return forward(*args)

    model.forward = autocast_forward


def with_possible_precision(cfg: CfgNode) -> CfgNode:
    """The configuration, with SOLVER.AMP off where its type has no effect on the device.

    Raises:
        ConfigError: for an unknown type.
    """
    cfg = _with_lstms(cfg)
    if not cfg.SOLVER.AMP.ENABLED:
        return cfg
    if cfg.SOLVER.AMP.PRECISION not in ("float16", "bfloat16"):
        raise ConfigError(
            f"SOLVER.AMP.PRECISION is {cfg.SOLVER.AMP.PRECISION!r}; known are float16, bfloat16"
        )
    if cfg.MODEL.DEVICE.startswith("cuda") or cfg.SOLVER.AMP.PRECISION == "bfloat16":
        return cfg
    logger.warning(
        "SOLVER.AMP.PRECISION float16 is for GPUs: training in single precision. On a CPU bfloat16 "
        "may be faster"
    )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.AMP.ENABLED = False
    cfg.freeze()
    return cfg


def _with_lstms(cfg: CfgNode) -> CfgNode:
    """In single precision where LSTMs do not run in another one: PyTorch 2.4 leaves them to oneDNN,
    which has none in bfloat16 for processors without AVX-512."""
    if cfg.MODEL.DEVICE.startswith("cuda") or _lstms_run_in_bfloat16():
        return cfg
    wanted = [cfg.MODEL.DISTILL.NO_GRAD_PRECISION]
    wanted += [cfg.SOLVER.AMP.PRECISION] if cfg.SOLVER.AMP.ENABLED else []
    if "bfloat16" not in wanted:
        return cfg
    logger.warning(
        f"PyTorch {torch.__version__} has no LSTM in bfloat16 for this processor: training in "
        "single precision. A newer PyTorch has one"
    )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DISTILL.NO_GRAD_PRECISION = "float32"
    cfg.SOLVER.AMP.ENABLED = False
    cfg.freeze()
    return cfg


def _lstms_run_in_bfloat16() -> bool:
    try:
        with torch.random.fork_rng(devices=[]), torch.autocast("cpu", dtype=torch.bfloat16):
            # What comes from convolutions, as in every model here, comes in bfloat16.
            nn.LSTM(2, 2)(torch.zeros(1, 1, 2, dtype=torch.bfloat16))
    except RuntimeError:
        return False
    return True
