"""Weights and choices of the distillation losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["DistillationSettings"]


@dataclass(frozen=True)
class DistillationSettings:
    """Weights and choices of the losses, with the paper's symbols.

    Attributes:
        drs_weight: lambda 2, of L_DRS.
        skd_weight: lambda 3, of L_SKD.
        roi_weight: of L_roi within L_SKD.
        context_weight: eta 1, of L_con.
        sequence_weight: eta 2, of L_seq.
        gamma: of L_flops within L_DRS.
        accuracy_target: "teacher" or "ground_truth".
        estimator: how the selector learns: "gumbel", the paper's, or "best_scale".
        target_temperature, regret_power: of `best_scale_loss`.
        drs_batch_fraction: of a batch's images, at least one, that L_DRS sees.
        region_jitter: of the regions that are recognised, by teacher and student alike.
        freeze_statistics: whether the student's batch norms keep the statistics that they have.
        freeze_student: whether the selector learns alone.
        num_sequences: K.
        beam_width: of the teacher's search.
        no_grad_precision: type of the passes without gradient.
    """

    drs_weight: float = 1.0
    skd_weight: float = 1.0
    roi_weight: float = 1.0
    context_weight: float = 1.0
    sequence_weight: float = 1.0
    gamma: float = 0.1
    accuracy_target: str = "teacher"
    estimator: str = "gumbel"
    target_temperature: float = 0.01
    regret_power: float = 0.0
    drs_batch_fraction: float = 1.0
    region_jitter: float = 0.0
    freeze_statistics: bool = False
    freeze_student: bool = False
    num_sequences: int = 1
    beam_width: int = 5
    no_grad_precision: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        weights = ("drs_weight", "skd_weight", "roi_weight", "context_weight", "sequence_weight")
        for name in weights:
            if getattr(self, name) < 0:
                raise ValueError(
                    f"MODEL.DISTILL.{name.upper()} is {getattr(self, name)}; a weight is at least "
                    "0, which leaves the loss out"
                )
        if self.gamma < 0:
            raise ValueError(
                f"MODEL.DISTILL.SELECTOR.GAMMA is {self.gamma}; it must be at least 0, where cost "
                "does not matter"
            )
        if self.accuracy_target not in ("teacher", "ground_truth"):
            raise ValueError(
                'MODEL.DISTILL.SELECTOR.ACCURACY_TARGET must be "teacher" or "ground_truth", got '
                f"{self.accuracy_target!r}"
            )
        if self.estimator not in ("gumbel", "best_scale"):
            raise ValueError(
                'MODEL.DISTILL.SELECTOR.ESTIMATOR must be "gumbel" or "best_scale", got '
                f"{self.estimator!r}"
            )
        if self.target_temperature <= 0:
            raise ValueError(
                "MODEL.DISTILL.SELECTOR.TARGET_TEMPERATURE must be above 0, got "
                f"{self.target_temperature}"
            )
        if not 0 <= self.regret_power <= 1:
            raise ValueError(
                f"MODEL.DISTILL.SELECTOR.REGRET_POWER must be in [0, 1], got {self.regret_power}"
            )
        if not 0 < self.drs_batch_fraction <= 1:
            raise ValueError(
                "MODEL.DISTILL.SELECTOR.BATCH_FRACTION must be in (0, 1], got "
                f"{self.drs_batch_fraction}"
            )
        if not 1 <= self.num_sequences <= self.beam_width:
            raise ValueError(
                f"MODEL.DISTILL.NUM_SEQUENCES is {self.num_sequences}; it must be at least 1 and "
                f"at most BEAM_WIDTH, {self.beam_width}"
            )
