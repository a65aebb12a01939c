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
from torch import Tensor, nn

from dld_d2.modeling.distillation import DynamicResolutionDistiller, DynamicScale, ScalePolicy
from dld_d2.modeling.recognition import AttentionDecoder
from dld_d2.modeling.spotters import MaskRCNNSpotter

__all__ = ["ForcedScale", "force_scale", "forced_detections", "forced_length"]


class ForcedScale(ScalePolicy):
    """Runs the selector, then takes the given candidate; gradients flow as ever."""

    learned = True

    def __init__(self, policy: DynamicScale, index: int) -> None:
        super().__init__()
        self.policy = policy
        self.index = index

    @property
    def selector(self) -> nn.Module:
        return self.policy.selector

    def sample(self, images: ImageList) -> Tensor:
        return self.sample_with_logits(images)[0]

    def sample_with_logits(self, images: ImageList) -> tuple[Tensor, Tensor]:
        logits = self.policy.logits(images).float()
        soft = (logits / self.policy.temperature).softmax(dim=1)
        hard = F.one_hot(torch.full((len(soft),), self.index, device=soft.device), soft.shape[1])
        return hard + (soft - soft.detach()), logits

    def choose(self, images: ImageList) -> Tensor:
        return torch.full_like(self.policy.choose(images), self.index)


def force_scale(distiller: DynamicResolutionDistiller, scale: float) -> None:
    """Let the distiller take this scale from now on.

    Raises:
        ValueError: if it is not among the candidates.
    """
    if scale not in distiller.scales:
        known = ", ".join(f"{s:g}" for s in distiller.scales)
        raise ValueError(f"--scale {scale:g} is not among MODEL.DISTILL.SCALES: {known}")
    policy = distiller.policy
    if isinstance(policy, ForcedScale):
        policy = policy.policy
    distiller.policy = ForcedScale(policy, distiller.scales.index(scale))


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

    def with_ellipses(module, args, output):
        for instances in output[0]:
            instances.pred_masks = _ellipses(instances.pred_masks)
        return output

    predictor.inference = found
    hook = roi_heads.register_forward_hook(with_ellipses)
    try:
        with forced_length(spotter.recognition.decoder, characters):
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
