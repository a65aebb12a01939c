"""What keys of data, training and testing may be, Detectron2's and this project's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY

from dld_d2.structures.allowed import Rule, each, number, one_of, whole
from dld_d2.structures.lexicons import LEXICONS

__all__ = ["ALLOWED", "conflicts"]

_CHANCE = number(0, 1, note="a chance or fraction")
_FACTOR = number(0)
# Below, a network sees next to nothing, and above, an image takes gigabytes.
_SIDE = whole(32, 16384, note="pixels")
_LONG_SIDE = whole(32, 32768, note="pixels")


def _device(value: Any) -> str | None:
    try:
        device = torch.device(value)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps", "xpu"):
        return '"cuda" for a GPU, "cuda:1" for the second one, or "cpu"'
    if device.type == "cuda" and 0 < torch.cuda.device_count() <= (device.index or 0):
        return f"one of the {torch.cuda.device_count()} GPUs of this machine, counted from 0"
    return None


def _registered_models() -> list[str]:
    return sorted(
        name for name, model in META_ARCH_REGISTRY if not model.__module__.startswith("detectron2.")
    )


def _architecture(value: Any) -> str | None:
    # Detectron2's own can be configured; no training takes them, see `dld_d2.engine.trainers`.
    return None if value in META_ARCH_REGISTRY else one_of(_registered_models)(value)


def _min_size_test(value: Any) -> str | None:
    expected = None if value == 0 else _SIDE(value)
    return None if expected is None else f"{expected}, or 0 to leave images as they are"


def _weight_decay_bias(value: Any) -> str | None:
    return None if value is None else number(0, 1)(value)


def _expected_results(value: Any) -> str | None:
    for item in value:
        if not isinstance(item, list | tuple) or len(item) != 4:
            return 'a list of lists as ["text_spotting", "e2e_none_hmean", 0.8, 0.01]'
    return None


def _output_dir(value: Any) -> str | None:
    return None if value.strip() else "the name of a folder, which is made if it is not there"


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "a name in quotes"


ALLOWED: Mapping[str, Rule] = {
    "MODEL.DEVICE": _device,
    "MODEL.META_ARCHITECTURE": _architecture,
    "MODEL.PIXEL_MEAN": each(number(-1000, 1000), 3),
    "MODEL.PIXEL_STD": each(number(above=0, most=1000), 3),
    "INPUT.FORMAT": one_of(("BGR", "RGB")),
    "INPUT.AUG.BASE_SHORT_SIDE": _SIDE,
    "INPUT.AUG.SCALE_RANGE": each(number(0.05, 4), 2),
    "INPUT.AUG.CROP_PROB": _CHANCE,
    "INPUT.AUG.CROP_MIN_SIZE": number(above=0, most=1, note="a fraction of the image's side"),
    "INPUT.AUG.ROTATION": number(0, 180, note="degrees"),
    "INPUT.AUG.ROTATION_PROB": _CHANCE,
    "INPUT.AUG.COLOR_PROB": _CHANCE,
    "INPUT.AUG.BRIGHTNESS": number(0, 255, note="grey levels"),
    "INPUT.AUG.CONTRAST": _CHANCE,
    "INPUT.AUG.SATURATION": _CHANCE,
    "INPUT.MAX_SIZE_TRAIN": _LONG_SIDE,
    "INPUT.MIN_SIZE_TEST": _min_size_test,
    "INPUT.MAX_SIZE_TEST": _LONG_SIDE,
    "DATASETS.TRAIN": each(_text, different=False),
    "DATASETS.TEST": each(_text, different=True),
    "DATASETS.ON_BAD_ANNOTATION": one_of(("raise", "skip")),
    "DATALOADER.NUM_WORKERS": whole(0, 256, note="processes; 0 loads in the training's own"),
    "DATALOADER.SAMPLER_TRAIN": one_of(
        ("TrainingSampler",), note="training data comes in a stream that resumes exactly"
    ),
    "SOLVER.OPTIMIZER": one_of(("ADAMW", "SGD")),
    "SOLVER.LR_SCHEDULER_NAME": one_of(
        ("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR")
    ),
    "SOLVER.BASE_LR": number(above=0, most=10),
    "SOLVER.BASE_LR_END": number(0, 10),
    "SOLVER.MOMENTUM": number(0, below=1),
    "SOLVER.WEIGHT_DECAY": number(0, 1),
    "SOLVER.WEIGHT_DECAY_NORM": number(0, 1),
    "SOLVER.WEIGHT_DECAY_BIAS": _weight_decay_bias,
    "SOLVER.BIAS_LR_FACTOR": _FACTOR,
    "SOLVER.GAMMA": number(above=0, most=1, note="the learning rate is multiplied by it"),
    "SOLVER.NUM_DECAYS": whole(1),
    "SOLVER.MAX_ITER": whole(1),
    "SOLVER.STEPS": each(whole(1, note="iterations"), rising=True),
    "SOLVER.EPOCHS": whole(0, note="0 counts in iterations, SOLVER.MAX_ITER"),
    "SOLVER.STEP_EPOCHS": each(whole(1, note="epochs"), rising=True),
    "SOLVER.CHECKPOINT_EPOCHS": whole(1),
    "SOLVER.EVAL_EPOCHS": whole(0, note="0 evaluates at the end only"),
    "SOLVER.CHECKPOINT_PERIOD": whole(1, note="iterations; model_final.pth is written anyway"),
    "SOLVER.CHECKPOINTS_TO_KEEP": whole(0, note="0 keeps all"),
    "SOLVER.IMS_PER_BATCH": whole(1, 65536, note="images per iteration over all processes"),
    "SOLVER.REFERENCE_WORLD_SIZE": whole(0, note="0 scales nothing with the number of processes"),
    "SOLVER.WARMUP_ITERS": whole(0, note="0 turns warming up off"),
    "SOLVER.WARMUP_FACTOR": number(0, 1),
    "SOLVER.WARMUP_METHOD": one_of(("linear", "constant")),
    "SOLVER.CLIP_TOTAL_NORM": number(0, note="0 turns it off"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": one_of(("value", "norm")),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": number(above=0),
    "SOLVER.AMP.PRECISION": one_of(("float16", "bfloat16")),
    "TEST.EVAL_PERIOD": whole(0, note="iterations; 0 evaluates at the end only"),
    "TEST.EXPECTED_RESULTS": _expected_results,
    "TEST.MATCH_IOU": number(0, below=1, note="0.5 as published"),
    "TEST.LEXICONS": each(one_of(LEXICONS), different=True),
    "TEST.NUM_PICTURES": whole(0, note="0 writes none"),
    "TEST.DETECTIONS_PER_IMAGE": whole(1, 10000),
    "TEST.PRECISE_BN.NUM_ITER": whole(1),
    "OUTPUT_DIR": _output_dir,
    # NumPy's generators take 32 bits, and each process adds its number.
    "SEED": whole(-1, 2**31 - 1, note="-1 draws one"),
}
"""Full name of a key -> what it may be."""


def conflicts(cfg: CfgNode) -> Iterator[tuple[str, str]]:
    """Keys whose value does not go with that of another one, and what is expected."""
    scales = cfg.INPUT.AUG.SCALE_RANGE
    if scales[0] > scales[1]:
        yield "INPUT.AUG.SCALE_RANGE", "the smaller number first"
    if min(scales) * cfg.INPUT.AUG.BASE_SHORT_SIDE < 16:
        yield (
            "INPUT.AUG.SCALE_RANGE",
            f"factors that leave a short side of at least 16 pixels of the "
            f"{cfg.INPUT.AUG.BASE_SHORT_SIDE} of INPUT.AUG.BASE_SHORT_SIDE",
        )
    if cfg.INPUT.MIN_SIZE_TEST > cfg.INPUT.MAX_SIZE_TEST:
        yield (
            "INPUT.MIN_SIZE_TEST",
            "a short side that is at most the longest side of an image, INPUT.MAX_SIZE_TEST "
            f"({cfg.INPUT.MAX_SIZE_TEST})",
        )
