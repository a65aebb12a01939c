"""Making untrained models do the work of trained ones.

Random weights choose any scale, find no words, and end them at any character. Here the networks
run as they are, and then their answers are replaced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor

from dld_d2.distillation.distiller import Distiller
from dld_d2.distillation.learning.learning import Choice, ScaleLearning, SelectorLearning
from dld_d2.modeling.recognition.decoder import AttentionDecoder
from dld_d2.modeling.selection.policies import DynamicScale, ScalePolicy
from dld_d2.modeling.spotters.mask_rcnn.spotter import MaskRCNNSpotter

__all__ = ["ForcedLearning", "ForcedScale", "force_scale", "forced_detections", "forced_length"]


class ForcedScale(ScalePolicy):
    """Runs the selector, then takes the given candidate."""

    def __init__(self, policy: DynamicScale, index: int) -> None:
        super().__init__()
        self.policy = policy
        self.index = index

    def logits(self, images: ImageList) -> Tensor:
        return self.policy.logits(images)

    def choose(self, images: ImageList, relative_cost: Tensor) -> Tensor:
        return torch.full_like(self.policy.choose(images, relative_cost), self.index)


class ForcedLearning(ScaleLearning):
    """Draws the given candidate, where `learning` draws any; gradients flow as ever."""

    def __init__(self, learning: SelectorLearning, index: int) -> None:
        self.learning = learning
        self.index = index
        self.needs_teacher, self.needs = learning.needs_teacher, learning.needs
        self.reads, self.by_spotting = learning.reads, learning.by_spotting
        self.num_images = learning.num_images
        self.losses = learning.losses

    def draw(self, policy: ScalePolicy, images: ImageList) -> Choice:
        logits = policy.logits(images).float()
        soft = (logits / self.learning.temperature).softmax(dim=1)
        index = torch.full((len(soft),), self.index, device=soft.device)
        hard = F.one_hot(index, soft.shape[1])
        return Choice(index, hard + (soft - soft.detach()), logits)


def force_scale(distiller: Distiller, scale: float) -> None:
    """Let a distiller whose selector learns take this scale from now on.

    Raises:
        ValueError: if it is not among the candidates.
    """
    student, policy, learning = distiller.student, distiller.student.policy, distiller.learning
    if scale not in student.scales:
        known = ", ".join(f"{s:g}" for s in student.scales)
        raise ValueError(f"--scale {scale:g} is not among MODEL.DYNAMIC.SCALES: {known}")
    if isinstance(policy, ForcedScale):
        policy, learning = policy.policy, learning.learning
    index = student.scales.index(scale)
    student.policy, distiller.learning = ForcedScale(policy, index), ForcedLearning(learning, index)


@contextlib.contextmanager
def forced_length(decoder: AttentionDecoder, characters: int) -> Iterator[None]:
    """Within the context all words end after so many characters and not before."""
    step, initial_state = decoder.step, decoder.initial_state
    steps = 0

    def counted_initial_state(context: Tensor):
        nonlocal steps
        steps = 0
        return initial_state(context)

    def forced_step(*args):
        nonlocal steps
        logits, state = step(*args)
        mask = torch.zeros_like(logits)
        mask[:, decoder.end] = 1e4 if steps >= characters else -1e4
        steps += 1
        return logits + mask, state

    decoder.step, decoder.initial_state = forced_step, counted_initial_state
    try:
        yield
    finally:
        del decoder.step, decoder.initial_state


@contextlib.contextmanager
def forced_detections(
    spotter: MaskRCNNSpotter, targets: Instances, *, characters: int
) -> Iterator[None]:
    """Within the context the spotter finds the words of one photograph, whatever its scale.

    Proposals, box head, suppression and mask head run as ever. What the box head found is then
    replaced by the words' boxes, the masks by ellipses, and every word is read for `characters`
    characters.
    """
    predictor, roi_heads = spotter.roi_heads.box_predictor, spotter.roi_heads
    inference = predictor.inference

    def found(predictions, proposals):
        _, kept = inference(predictions, proposals)
        return [_detections(targets, p.image_size) for p in proposals], kept

    def with_ellipses(module, args, instances):
        for image in instances:
            image.pred_masks = _ellipses(image.pred_masks)

    predictor.inference = found
    hook = roi_heads.mask_head.register_forward_hook(with_ellipses)
    try:
        with forced_length(roi_heads.text_head.decoder, characters):
            yield
    finally:
        del predictor.inference
        hook.remove()


def _detections(targets: Instances, size: tuple[int, int]) -> Instances:
    (height, width), (full_height, full_width) = size, targets.image_size
    boxes = targets.gt_boxes.tensor
    factors = boxes.new_tensor([width / full_width, height / full_height] * 2)
    detections = Instances(size)
    detections.pred_boxes = Boxes(boxes * factors)
    detections.scores = boxes.new_full((len(boxes),), 0.9)
    detections.pred_classes = torch.zeros_like(targets.gt_classes)
    return detections


def _ellipses(masks: Tensor) -> Tensor:
    side = torch.linspace(-1, 1, masks.shape[-1], device=masks.device)
    ellipse = (1.5 - side[:, None] ** 2 - side**2).clamp(0, 1)
    return ellipse.to(masks.dtype).expand_as(masks).contiguous()
