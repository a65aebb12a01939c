"""Ours: since all candidates are passed anyway, the best scale is known, and can be classified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode
from torch import Tensor

from dld_d2.distillation.learning.gumbel import GumbelLearning
from dld_d2.distillation.learning.learning import (
    Candidate,
    Choice,
    SelectorLearning,
    register_learning,
)
from dld_d2.distillation.learning.losses import best_scale_loss, image_divergence
from dld_d2.modeling.recognition.reading import Reading

__all__ = ["BestScaleLearning"]


@register_learning("best_scale")
class BestScaleLearning(GumbelLearning):
    """Scales are drawn as the paper draws them; the selector learns by classification.

    Some hundred steps do, where the published way needs epochs (docs/distillation.md).

    Args:
        target_temperature: scales whose losses differ by less than about this are equally good.
        regret_power: see `best_scale_loss`.
        **kwargs: of `SelectorLearning`.
    """

    by_image = True

    def __init__(
        self, *, target_temperature: float = 0.01, regret_power: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        key = "MODEL.DISTILL.BEST_SCALE"
        if not target_temperature > 0:
            raise ValueError(f"{key}.TARGET_TEMPERATURE must be above 0, got {target_temperature}")
        if not 0 <= regret_power <= 1:
            raise ValueError(f"{key}.REGRET_POWER must be in [0, 1], got {regret_power}")
        self.target_temperature = target_temperature
        self.regret_power = regret_power

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        # Scales whose losses, L_acc + GAMMA * T_i, differ by less than about this are taken as
        # equally good.
        node.TARGET_TEMPERATURE = 0.01
        # An image counts by this power, in [0, 1], of what its worst scale would lose against its
        # best: above 0 for a selector that, in doubt, does not overlook small words.
        node.REGRET_POWER = 0.0

    @classmethod
    def from_config(cls, cfg: CfgNode) -> SelectorLearning:
        own = cfg.MODEL.DISTILL.BEST_SCALE
        return cls(
            target_temperature=own.TARGET_TEMPERATURE,
            regret_power=own.REGRET_POWER,
            **cls.shared_arguments(cfg),
        )

    def losses(
        self,
        choice: Choice,
        candidates: Sequence[Candidate],
        teacher: Reading | None,
        relative_cost: Tensor,
    ) -> dict[str, Tensor]:
        accuracy = self.accuracy(candidates, teacher, len(choice.index))
        return self.losses_of(choice, accuracy, relative_cost)

    def accuracy(
        self, candidates: Sequence[Candidate], teacher: Reading | None, num_images: int
    ) -> Tensor:
        known = self.per_image(candidates)
        if self.by_spotting:
            return known
        readings = [candidate.reading for candidate in candidates]
        target = teacher if self.needs_teacher else None
        divergence = image_divergence(readings, target, num_images)
        return divergence if known is None else divergence + known

    def losses_of(
        self, choice: Choice, accuracy: Tensor, relative_cost: Tensor
    ) -> dict[str, Tensor]:
        costs = accuracy + self.gamma * relative_cost
        loss = best_scale_loss(choice.logits, costs, self.target_temperature, self.regret_power)
        return {"loss_scale": self.loss_weight * loss}
