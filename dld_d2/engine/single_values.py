"""Batch norm where a channel has a single value.

A stage at stride 32 makes one pixel of an image of 32 x 32, and with one image per process that is
all that its batch norms see in training. A single value has no variance; PyTorch refuses it. One
such image among thousands shall not end a training.
"""

from __future__ import annotations

import logging

from detectron2.layers import NaiveSyncBatchNorm
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["tolerate_single_values"]

logger = logging.getLogger(__name__)


def tolerate_single_values(model: nn.Module) -> None:
    """Let batch norms that get one value per channel in training go by their running statistics,
    as in evaluation, and leave these as they are. The log says so, once for each module.

    Those that share their statistics with other processes see more than one value, and are left
    alone.
    """
    shared = (nn.SyncBatchNorm, NaiveSyncBatchNorm) if comm.get_world_size() > 1 else ()
    for name, module in model.named_modules():
        known = isinstance(module, _BatchNorm) and module.running_mean is not None
        if known and not isinstance(module, shared):
            _Tolerance(name).install(module)


class _Tolerance:
    def __init__(self, name: str) -> None:
        self.name = name
        self.applies = self.told = False

    def install(self, module: nn.Module) -> None:
        module.register_forward_pre_hook(self.before)
        module.register_forward_hook(self.after, always_call=True)

    def before(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.applies = module.training and args[0].numel() == args[0].shape[1]
        if not self.applies:
            return
        module.training = False
        if not self.told:
            self.told = True
            logger.warning(
                f"{self.name} got features of {tuple(args[0].shape)}: one value per channel, which "
                "has no variance. It goes by its running statistics. If images are as small as "
                "this often, raise INPUT.AUG.BASE_SHORT_SIDE, INPUT.AUG.SCALE_RANGE or "
                "SOLVER.IMS_PER_BATCH"
            )

    def after(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor | None) -> None:
        if self.applies:
            module.training = True
            self.applies = False
