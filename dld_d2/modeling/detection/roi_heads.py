"""Box and mask heads that leave don't-care regions alone."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY, StandardROIHeads
from detectron2.structures import ImageList, Instances, pairwise_iou

from .rpn import covered_by_ignored

__all__ = ["TextROIHeads"]


@ROI_HEADS_REGISTRY.register()
class TextROIHeads(StandardROIHeads):
    """Detectron2's heads, where a don't-care region gives neither positives nor negatives.

    Args:
        ignore_ioa_thresh: a proposal that would be a negative is left out if a don't-care region
            covers more than this fraction of it.
        **kwargs: of `detectron2.modeling.StandardROIHeads`.
    """

    @configurable
    def __init__(self, *, ignore_ioa_thresh: float, **kwargs) -> None:
        super().__init__(**kwargs)
        self.ignore_ioa_thresh = ignore_ioa_thresh

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        return {
            **super().from_config(cfg, input_shape),
            "ignore_ioa_thresh": cfg.MODEL.IGNORE_IOA_THRESH,
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """As of `StandardROIHeads`."""
        # RoIAlign copies maps with channels last, each head again.
        features = {name: feature.contiguous() for name, feature in features.items()}
        return super().forward(images, features, proposals, targets)

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """Match proposals to words and sample among them.

        Args:
            proposals: per image, with `proposal_boxes` and `objectness_logits`.
            targets: per image, with `gt_boxes`, `gt_classes`, `gt_masks` and `gt_ignore`.

        Returns:
            Per image the sampled proposals with the ground truth each was matched to.
        """
        words = [_words(t) for t in targets]
        proposals = [
            p[~self._left_out(p, w, t)] for p, w, t in zip(proposals, words, targets, strict=True)
        ]
        return super().label_and_sample_proposals(proposals, words)

    def _left_out(self, proposals: Instances, words: Instances, targets: Instances) -> torch.Tensor:
        boxes = proposals.proposal_boxes
        _, labels = self.proposal_matcher(pairwise_iou(words.gt_boxes, boxes))
        negative = labels.to(boxes.device) != 1
        return negative & covered_by_ignored(boxes, targets, self.ignore_ioa_thresh)


def _words(targets: Instances) -> Instances:
    """The instances that are not don't-care, with what the heads need of them."""
    keep = ~targets.gt_ignore
    words = Instances(targets.image_size)
    for name in ("gt_boxes", "gt_classes", "gt_masks"):
        words.set(name, targets.get(name)[keep])
    return words
