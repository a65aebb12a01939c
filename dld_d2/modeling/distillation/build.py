"""From a configuration to the parts of a distiller."""

from __future__ import annotations

import os

import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from dld_d2.analysis.cost import full_resolution_sizes, read_cost_table, scale_cost_table

from .alignment import FeatureAligner
from .losses import power_law_cost
from .policy import DynamicScale, FixedScale, RandomScale, ScalePolicy
from .selector import ResolutionSelector
from .settings import DistillationSettings

__all__ = ["build_distillation_parts", "build_selector", "build_spotter", "teacher_cfg"]

_PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def build_distillation_parts(cfg: CfgNode) -> dict:
    """Arguments of `DynamicResolutionDistiller`, but for the teacher.

    Raises:
        ValueError: naming the key, for a value that cannot be used.
    """
    distill = cfg.MODEL.DISTILL
    scales = tuple(float(s) for s in distill.SCALES)
    if not scales or not all(0 < s <= 1 for s in scales) or len(set(scales)) < len(scales):
        raise ValueError(f"MODEL.DISTILL.SCALES: {scales} are not different numbers in (0, 1]")
    if distill.SELECTION != "dynamic" and distill.FIXED_SCALE not in scales:
        raise ValueError(
            f"MODEL.DISTILL.FIXED_SCALE: {distill.FIXED_SCALE} is not among SCALES {scales}"
        )
    if distill.NO_GRAD_PRECISION not in _PRECISIONS:
        raise ValueError(
            f"MODEL.DISTILL.NO_GRAD_PRECISION: {distill.NO_GRAD_PRECISION!r} is not one of "
            f"{', '.join(_PRECISIONS)}"
        )
    amp = cfg.SOLVER.AMP
    if amp.ENABLED and distill.NO_GRAD_PRECISION not in ("float32", amp.PRECISION):
        # Mixed precision keeps one low-precision copy of each weight, whatever type asks for it.
        raise ValueError(
            f"MODEL.DISTILL.NO_GRAD_PRECISION: {distill.NO_GRAD_PRECISION} does not go with "
            f"SOLVER.AMP.PRECISION {amp.PRECISION}, which then holds for all passes; leave it out"
        )
    if distill.SELECTION == "dynamic" and distill.DRS_WEIGHT == 0:
        raise ValueError(
            'MODEL.DISTILL.SELECTION "dynamic" learns from L_DRS alone, so its DRS_WEIGHT must be '
            'above 0; without selector, take SELECTION "fixed" or "random"'
        )
    if distill.FREEZE_STUDENT and distill.SELECTION != "dynamic":
        raise ValueError(
            "MODEL.DISTILL.FREEZE_STUDENT leaves nothing to learn with SELECTION "
            f'"{distill.SELECTION}"; only a "dynamic" one has a selector'
        )
    student = build_spotter(cfg)
    relative_cost = _relative_cost(cfg, student, scales)
    return {
        "student": student,
        "policy": _build_policy(cfg, relative_cost),
        "scales": scales,
        "relative_cost": relative_cost,
        "aligner": _build_aligner(cfg),
        "settings": DistillationSettings(
            drs_weight=distill.DRS_WEIGHT,
            skd_weight=distill.SKD_WEIGHT,
            roi_weight=distill.ROI_WEIGHT,
            context_weight=distill.CONTEXT_WEIGHT,
            sequence_weight=distill.SEQUENCE_WEIGHT,
            gamma=distill.SELECTOR.GAMMA,
            accuracy_target=distill.SELECTOR.ACCURACY_TARGET,
            estimator=distill.SELECTOR.ESTIMATOR,
            target_temperature=distill.SELECTOR.TARGET_TEMPERATURE,
            regret_power=distill.SELECTOR.REGRET_POWER,
            drs_batch_fraction=distill.SELECTOR.BATCH_FRACTION,
            region_jitter=cfg.MODEL.RECOGNITION.ROI.JITTER,
            freeze_statistics=distill.FREEZE_STATISTICS,
            freeze_student=distill.FREEZE_STUDENT,
            num_sequences=distill.NUM_SEQUENCES,
            beam_width=distill.BEAM_WIDTH,
            no_grad_precision=_PRECISIONS[distill.NO_GRAD_PRECISION],
        ),
    }


def build_spotter(cfg: CfgNode) -> nn.Module:
    """The spotter MODEL.DISTILL.SPOTTER with random weights, on MODEL.DEVICE.

    Raises:
        ValueError: if no meta-architecture has that name.
    """
    name = cfg.MODEL.DISTILL.SPOTTER
    if name not in META_ARCH_REGISTRY:
        raise ValueError(f"MODEL.DISTILL.SPOTTER: there is no meta-architecture {name!r}")
    return META_ARCH_REGISTRY.get(name)(cfg).to(cfg.MODEL.DEVICE)


def build_selector(cfg: CfgNode) -> ResolutionSelector:
    """The selector of MODEL.DISTILL.SELECTOR with random weights.

    Raises:
        ValueError: as `ResolutionSelector`.
    """
    selector = cfg.MODEL.DISTILL.SELECTOR
    return ResolutionSelector(
        num_scales=len(cfg.MODEL.DISTILL.SCALES),
        channels=selector.CHANNELS,
        norm=selector.NORM,
        input_scale=selector.INPUT_SCALE,
        pooling=selector.POOLING,
    )


def teacher_cfg(cfg: CfgNode) -> CfgNode:
    """The configuration with what the teacher has otherwise, MODEL.DISTILL.TEACHER_OPTS.

    Raises:
        ValueError: if those are not pairs of a key that exists and a value of its type.
    """
    teacher = cfg.clone()
    teacher.defrost()
    try:
        teacher.merge_from_list([str(word) for word in cfg.MODEL.DISTILL.TEACHER_OPTS])
    except (AssertionError, KeyError, ValueError) as error:
        raise ValueError(f"MODEL.DISTILL.TEACHER_OPTS: {error}") from None
    teacher.freeze()
    return teacher


def _build_aligner(cfg: CfgNode) -> FeatureAligner | None:
    student = tuple(cfg.MODEL.RECOGNITION.ROI.SIZE)
    teacher = tuple(teacher_cfg(cfg).MODEL.RECOGNITION.ROI.SIZE)
    if teacher == student:
        return None
    if teacher != (2 * student[0], 2 * student[1]):
        raise ValueError(
            f"MODEL.RECOGNITION.ROI.SIZE is {student} for the student and {teacher} for the "
            "teacher; they must be equal, or the teacher's twice the student's"
        )
    if student[0] >= 12:
        raise ValueError(
            f"MODEL.RECOGNITION.ROI.SIZE is {student}: a teacher's features of twice that size can "
            "be compared only where the student's sequence is one row, up to a height of 11"
        )
    aligner = FeatureAligner(cfg.MODEL.RECOGNITION.ROI.CONV_DIM)
    # Distributed training cannot have parameters that no loss reaches.
    distill = cfg.MODEL.DISTILL
    return aligner.requires_grad_(distill.SKD_WEIGHT > 0 and distill.ROI_WEIGHT > 0)


def _relative_cost(cfg: CfgNode, student: nn.Module, scales: tuple[float, ...]) -> Tensor:
    selector = cfg.MODEL.DISTILL.SELECTOR
    if selector.COST == "power":
        return power_law_cost(scales, selector.COST_EXPONENT)
    if selector.COST == "measured":
        # A photograph of 1080p stands for the data set that nobody has measured.
        size = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
        cost = scale_cost_table(student, full_resolution_sizes([(1080, 1920)], *size), scales)
    elif os.path.isfile(selector.COST):
        cost = read_cost_table(selector.COST, scales)
    else:
        raise ValueError(
            f'MODEL.DISTILL.SELECTOR.COST: {selector.COST!r} is neither "measured" nor "power" nor '
            "a file (tools/flops.py --write-cost-table makes one)"
        )
    return torch.tensor(cost, dtype=torch.float32)


def _build_policy(cfg: CfgNode, relative_cost: Tensor) -> ScalePolicy:
    distill = cfg.MODEL.DISTILL
    selection = distill.SELECTION
    if selection == "dynamic":
        for key in ("TAU_INIT", "TAU_DECAY"):
            if not distill.SELECTOR[key] > 0:
                raise ValueError(
                    f"MODEL.DISTILL.SELECTOR.{key} is {distill.SELECTOR[key]}; the temperature, "
                    "TAU_INIT * TAU_DECAY ** epoch, must stay above 0"
                )
        return DynamicScale(
            build_selector(cfg),
            relative_cost,
            temperature=distill.SELECTOR.TAU_INIT,
            cost_bias=distill.SELECTOR.COST_BIAS,
        )
    index = list(distill.SCALES).index(distill.FIXED_SCALE)
    if selection == "fixed":
        return FixedScale(index, len(distill.SCALES))
    if selection == "random":
        return RandomScale(index, len(distill.SCALES))
    raise ValueError(
        f'MODEL.DISTILL.SELECTION: {selection!r} is none of "dynamic", "fixed" and "random"'
    )
