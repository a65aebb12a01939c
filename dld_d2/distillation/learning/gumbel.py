"""The paper's way: by the gradient of the scale that was drawn, straight through its softmax."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.structures import ImageList
from torch import Tensor

from dld_d2.distillation.learning.learning import (
    Candidate,
    Choice,
    SelectorLearning,
    register_learning,
)
from dld_d2.distillation.learning.losses import (
    accuracy_loss,
    cross_entropy_accuracy_loss,
    expected_loss,
    flops_loss,
)
from dld_d2.modeling.recognition.reading import Reading
from dld_d2.modeling.selection.policies import ScalePolicy

__all__ = ["GumbelLearning", "gumbel_select", "temperature"]


def temperature(epoch: float, *, init: float = 5.0, sigma: float = 0.965) -> float:
    """tau = tau_init * sigma^epoch, the temperature of `gumbel_select` in an epoch (from 0)."""
    return init * sigma**epoch


def gumbel_select(logits: Tensor, tau: float, generator: torch.Generator | None = None) -> Tensor:
    """Draw a scale per image, each with its softmax probability (Jang et al., 2017).

    Straight-through: the choice is hard, but its gradient is that of the softmax of the noisy
    logits over tau.

    Args:
        logits: (B, k).
        tau: temperature > 0; a low one makes the gradient sharper, the draw is the same.
        generator: of the noise, on the logits' device.

    Returns:
        h, (B, k) float32 at least, exactly one-hot.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # On the CPU one draw in 2^24 is exactly 0, whose noise would be infinite and its softmax NaN.
    tiny = torch.finfo(logits.dtype).tiny
    noise = -torch.empty_like(logits).exponential_(generator=generator).clamp(min=tiny).log()
    soft = ((logits + noise) / tau).softmax(dim=1)
    hard = torch.zeros_like(soft).scatter_(1, soft.argmax(dim=1, keepdim=True), 1)
    return hard + (soft - soft.detach())


@register_learning("gumbel")
class GumbelLearning(SelectorLearning):
    """L_DRS by the straight-through Gumbel-softmax, as published; it takes hundreds of epochs."""

    def draw(self, policy: ScalePolicy, images: ImageList) -> Choice:
        logits = policy.logits(images).float()
        selection = gumbel_select(logits, self.temperature)
        return Choice(selection.detach().argmax(dim=1), selection, logits)

    def losses(
        self,
        choice: Choice,
        candidates: Sequence[Candidate],
        teacher: Reading | None,
        relative_cost: Tensor,
    ) -> dict[str, Tensor]:
        h = choice.selection
        losses = []
        if not self.by_spotting:
            losses.append(self._divergence(h, candidates, teacher))
        known = self.per_image(candidates)
        if known is not None:
            losses.append(expected_loss(h, known))
        return {
            "loss_flops": self.loss_weight * self.gamma * flops_loss(h, relative_cost),
            "loss_acc": self.loss_weight * sum(losses[1:], losses[0]),
        }

    def _divergence(
        self, selection: Tensor, candidates: Sequence[Candidate], teacher: Reading | None
    ) -> Tensor:
        logits, first = self.stack(candidates), candidates[0].reading
        if not self.needs_teacher:
            return cross_entropy_accuracy_loss(selection, logits, first)
        # The longest word of the batch may be in an image that nothing is learnt from.
        target = teacher.logits[:, : logits.shape[2]]
        return accuracy_loss(selection, logits, target, first.valid, first.image_index)
