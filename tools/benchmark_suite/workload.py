"""Models with calibrated random weights, and photographs of noise with words in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from torch import Tensor, nn

from dld_d2.distillation.distiller import Distiller
from dld_d2.engine.distill_trainer import teacher_cfg
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.build import build_spotter
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.structures import Polygons, Vocabulary

__all__ = ["Workload", "build_cfg", "build_distiller", "calibrate", "make_batch"]

# Lengths of words as natural text has them: mostly 3 to 6 letters, a few long ones.
_WORD_LENGTHS = (1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 8, 9, 12)


@dataclass(frozen=True)
class Workload:
    """What is measured on.

    Attributes:
        size: height and width in pixels of the photographs at full resolution.
        batch: photographs per training step.
        words: words per photograph.
        scale: which candidate the student is trained at.
        repeats: measurements of everything.
        seed: of weights and photographs.
    """

    size: tuple[int, int]
    batch: int = 2
    words: int = 10
    scale: float = 0.5
    repeats: int = 5
    seed: int = 0


def build_cfg(config_file: str, opts: list[str], *, policy: str = "selector") -> CfgNode:
    """A distillation's configuration out of any spotter's, for a single process."""
    # What a scale costs is no matter here, and measuring it takes seconds.
    common = [
        *("MODEL.META_ARCHITECTURE", "DynamicSpotter"),
        *("MODEL.DYNAMIC.POLICY", policy),
        *("MODEL.DYNAMIC.COST", "power"),
        # The scheme that it is compared with knows no other.
        *("MODEL.DISTILL.SELECTOR.LEARNING", "gumbel"),
        *("MODEL.DISTILL.SELECTOR.BATCH_FRACTION", "1.0"),
        *("MODEL.DISTILL.FREEZE_STUDENT", "False"),
        # Both schemes look at the same regions.
        *("MODEL.ROI_TEXT_HEAD.JITTER", "0.0"),
    ]
    cfg = setup_cfg(config_file, [*common, *opts])
    # Synchronised batch norm is plain batch norm in one process, but refuses to run on a CPU.
    single = []
    for key, norm in (
        ("MODEL.RESNETS.NORM", cfg.MODEL.RESNETS.NORM),
        ("MODEL.FPN.NORM", cfg.MODEL.FPN.NORM),
        ("MODEL.ROI_TEXT_HEAD.NORM", cfg.MODEL.ROI_TEXT_HEAD.NORM),
    ):
        if norm == "SyncBN":
            single += [key, "BN"]
    return setup_cfg(config_file, [*common, *opts, *single])


def build_distiller(cfg: CfgNode, seed: int = 0) -> Distiller:
    """A distiller in training mode whose student has its teacher's random weights."""
    torch.manual_seed(seed)
    student = DynamicSpotter(cfg).to(cfg.MODEL.DEVICE)
    distiller = Distiller(cfg, student, build_spotter(teacher_cfg(cfg))).train()
    _teach_alike(distiller)
    return distiller


def _teach_alike(distiller: Distiller) -> None:
    """Give the teacher the student's weights, if they are the same model."""
    state, teacher = distiller.student.spotter.state_dict(), distiller.teacher
    if _shapes(state) == _shapes(teacher.state_dict()):
        teacher.load_state_dict(state)


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


@torch.no_grad()
def calibrate(distiller: Distiller, batch: list[dict]) -> None:
    """Set running statistics to those of a batch, in student and teacher, where they stay.

    Without that, what a network of random weights computes in evaluation mode grows from block to
    block until no difference of losses would be seen. If statistics moved later on, losses would
    depend on the order of passes.
    """
    student = distiller.student.spotter
    images, targets = student.preprocess(batch)
    norms = [m for m in student.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    student.train().recognize(images, targets)
    for norm in norms:
        norm.momentum = 0.0
    distiller.train()
    _teach_alike(distiller)


def make_batch(
    size: tuple[int, int], *, batch: int, words: int, seed: int = 0, max_length: int = 32
) -> list[dict]:
    """Photographs of noise, what the mapper would give for them.

    Words are upright rectangles that do not overlap. Their sides lie on whole pixels that are
    neither even nor divisible by five, so that no centre of a feature pixel, at any of the usual
    scales, lies on one: masks are then the same however they are rasterised and scaled.
    """
    rng = np.random.default_rng(seed)
    return [_photograph(size, words, rng, max_length) for _ in range(batch)]


def _photograph(
    size: tuple[int, int], words: int, rng: np.random.Generator, max_length: int
) -> dict:
    height, width = size
    vocabulary = Vocabulary()
    columns = max(1, round(np.sqrt(words * width / height / 3)))
    rows = -(-words // columns)
    cell = np.array([width / columns, height / rows])
    quads, texts = [], []
    for i in range(words):
        corner = np.array([i % columns, i // columns]) * cell
        extent = cell * rng.uniform((0.4, 0.3), (0.8, 0.7))
        begin = corner + rng.uniform(0, 1, 2) * (cell - extent)
        (x0, y0), (x1, y1) = _off_the_grid(begin), _off_the_grid(begin + np.maximum(extent, 8))
        quads.append(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))
        length = min(int(rng.choice(_WORD_LENGTHS)), max_length)
        texts.append(vocabulary.encode("".join(rng.choice(list("Abcdefg1"), length)), max_length))
    targets = Instances(size)
    targets.gt_masks = Polygons.from_arrays(quads)
    targets.gt_boxes = targets.gt_masks.get_bounding_boxes()
    targets.gt_classes = torch.zeros(words, dtype=torch.int64)
    targets.gt_ignore = torch.zeros(words, dtype=torch.bool)
    targets.gt_readable = torch.ones(words, dtype=torch.bool)
    targets.gt_texts = torch.tensor(texts, dtype=torch.int64).view(words, max_length + 1)
    image = torch.from_numpy(rng.integers(0, 256, (3, *size), dtype=np.uint8))
    return {"image": image, "instances": targets, "height": height, "width": width}


def _off_the_grid(values: np.ndarray) -> np.ndarray:
    odd = values.astype(np.int64) | 1
    return odd + 2 * (odd % 5 == 0)
