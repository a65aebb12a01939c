"""Region proposal network that leaves don't-care regions alone."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import PROPOSAL_GENERATOR_REGISTRY
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, Instances, pairwise_ioa
from detectron2.utils.memory import retry_if_cuda_oom
from torch import Tensor

__all__ = ["TextRPN", "anchor_overlaps", "covered_by_ignored"]

# Pairs at a time: on a CPU as many as its caches hold.
_PAIRS = {"cpu": 2**17}
_PAIRS_ELSEWHERE = 2**26


def anchor_overlaps(words: Boxes, anchors: Boxes) -> Tensor:
    """Intersection over union of all pairs, to the bit as Detectron2's `pairwise_iou`.

    That one makes several matrices of all pairs on its way, which takes half the time of a training
    step on a CPU where an image has a hundred words.

    Args:
        words: N boxes.
        anchors: M boxes, none of them empty.

    Returns:
        (N, M) of the boxes' dtype.
    """
    x0, y0, x1, y1 = (column.contiguous() for column in anchors.tensor.unbind(1))
    own, area = words.area()[:, None], anchors.area()
    overlaps = words.tensor.new_empty(len(words), len(anchors))
    pairs = _PAIRS.get(anchors.device.type, _PAIRS_ELSEWHERE)
    step = max(1, pairs // max(1, len(anchors)))
    for start in range(0, len(words), step):
        rows = slice(start, start + step)
        left, top, right, bottom = words.tensor[rows, :, None].unbind(1)
        width = (torch.minimum(right, x1) - torch.maximum(left, x0)).clamp_(min=0)
        height = (torch.minimum(bottom, y1) - torch.maximum(top, y0)).clamp_(min=0)
        shared = width.mul_(height)
        torch.div(shared, own[rows] + area - shared, out=overlaps[rows])
    return overlaps


def covered_by_ignored(boxes: Boxes, targets: Instances, threshold: float) -> Tensor:
    """Which boxes lie in a don't-care region.

    Args:
        boxes: N boxes.
        targets: ground truth of their image with `gt_boxes` and `gt_ignore`.
        threshold: fraction of a box's own area that a don't-care region must exceed in it.

    Returns:
        (N,) bool.
    """
    ignored = targets.gt_boxes[targets.gt_ignore]
    if len(ignored) == 0:
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    covered = retry_if_cuda_oom(pairwise_ioa)(ignored, boxes) > threshold
    return covered.any(dim=0).to(boxes.device)


@PROPOSAL_GENERATOR_REGISTRY.register()
class TextRPN(RPN):
    """Detectron2's RPN, where a don't-care region gives neither positives nor negatives.

    Args:
        ignore_ioa_thresh: an anchor that would be a negative is left out if a don't-care region
            covers more than this fraction of it.
        **kwargs: of `detectron2.modeling.proposal_generator.RPN`.
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

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Label all anchors of each image and sample among them.

        Args:
            anchors: per level.
            gt_instances: per image, with `gt_boxes` and `gt_ignore`.

        Returns:
            Per image (R,) labels, 1 positive, 0 negative, -1 left out; and (R, 4) boxes that the
            positives regress to.
        """
        anchors = Boxes.cat(anchors)
        labels, matched_boxes = [], []
        for targets in gt_instances:
            words = targets.gt_boxes[~targets.gt_ignore]
            # A row for each word, a column for each of hundreds of thousands of anchors: of images
            # full of words it is what memory ends at, and is worth a second try, if need be on the
            # CPU.
            overlaps = retry_if_cuda_oom(anchor_overlaps)(words, anchors)
            matches, label = retry_if_cuda_oom(self.anchor_matcher)(overlaps)
            matches = matches.to(anchors.device)
            label = label.to(anchors.device)
            if self.anchor_boundary_thresh >= 0:
                inside = anchors.inside_box(targets.image_size, self.anchor_boundary_thresh)
                label[~inside] = -1
            ignored = covered_by_ignored(anchors, targets, self.ignore_ioa_thresh)
            label[ignored & (label == 0)] = -1
            labels.append(self._subsample_labels(label))
            matched_boxes.append(
                words[matches].tensor if len(words) else torch.zeros_like(anchors.tensor)
            )
        return labels, matched_boxes
