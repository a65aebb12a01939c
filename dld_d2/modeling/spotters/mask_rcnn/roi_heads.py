"""Box, mask and text heads of Mask R-CNN, which leave don't-care regions alone."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY, StandardROIHeads
from detectron2.structures import ImageList, Instances, pairwise_iou
from torch import Tensor

from dld_d2.modeling.recognition.reading import Reading
from dld_d2.modeling.recognition.regions import Regions
from dld_d2.modeling.spotters.mask_rcnn.mask_polygons import polygons_from_masks
from dld_d2.modeling.spotters.mask_rcnn.rpn import covered_by_ignored
from dld_d2.modeling.spotters.rows import Rows
from dld_d2.modeling.spotters.text_head import ROITextHead, build_text_head

__all__ = ["TextROIHeads"]


@ROI_HEADS_REGISTRY.register()
class TextROIHeads(StandardROIHeads):
    """Detectron2's heads and one that reads; a don't-care region gives neither positives nor
    negatives.

    Args:
        text_head: reads regions.
        ignore_ioa_thresh: a proposal that would be a negative is left out if a don't-care region
            covers more than this fraction of it.
        mask_thresh: probability above which a pixel belongs to a word.
        polygon_tolerance: of the polygons' simplification, as a fraction of their perimeter.
        **kwargs: of `detectron2.modeling.StandardROIHeads`.
    """

    @configurable
    def __init__(
        self,
        *,
        text_head: ROITextHead,
        ignore_ioa_thresh: float,
        mask_thresh: float,
        polygon_tolerance: float,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.text_head = text_head
        self.ignore_ioa_thresh = ignore_ioa_thresh
        self.mask_thresh = mask_thresh
        self.polygon_tolerance = polygon_tolerance

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        return {
            **super().from_config(cfg, input_shape),
            "text_head": build_text_head(cfg, input_shape),
            "ignore_ioa_thresh": cfg.MODEL.IGNORE_IOA_THRESH,
            "mask_thresh": cfg.TEST.MASK_THRESH,
            "polygon_tolerance": cfg.TEST.POLYGON_TOLERANCE,
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """As of `StandardROIHeads`, with reading: losses of it in training, else `pred_polygons`,
        `pred_texts` and `text_scores` in place of `pred_masks`."""
        if self.training:
            losses, _ = self.losses(images, features, proposals, targets, Rows.of(targets))
            return proposals, losses
        instances, _ = super().forward(images, _contiguous(features), proposals)
        return self._read_instances(features, instances), {}

    def losses(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances],
        rows: Rows,
        want: Collection[str] = (),
    ) -> tuple[dict[str, Tensor], Reading]:
        """Losses of all heads, and what was read of the ground truth."""
        _, losses = super().forward(images, _contiguous(features), proposals, targets)
        reading = self.read_rows(features, rows, want)
        return losses | self.text_head.losses(reading), reading

    def read_rows(
        self, features: dict[str, Tensor], rows: Rows, want: Collection[str] = ()
    ) -> Reading:
        """Read ground-truth regions along their texts."""
        return self.text_head(features, Regions.from_targets(rows.targets), rows.texts, want)

    def _read_instances(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        regions = Regions.from_predictions(instances, self.mask_thresh)
        found = self.text_head.read(features, regions)
        polygons = polygons_from_masks(
            torch.cat([i.pred_masks[:, 0] for i in instances]).detach().float().cpu().numpy(),
            regions.boxes.detach().float().cpu().numpy(),
            threshold=self.mask_thresh,
            tolerance=self.polygon_tolerance,
        )
        results, begin = [], 0
        for instance in instances:
            end = begin + len(instance)
            result = Instances(instance.image_size)
            for name in ("pred_boxes", "scores", "pred_classes"):
                result.set(name, instance.get(name))
            result.pred_polygons = _PerInstance(polygons[begin:end])
            result.pred_texts = _PerInstance(found.texts[begin:end])
            result.text_scores = found.scores[begin:end]
            results.append(result)
            begin = end
        return results

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

    def _left_out(self, proposals: Instances, words: Instances, targets: Instances) -> Tensor:
        boxes = proposals.proposal_boxes
        _, labels = self.proposal_matcher(pairwise_iou(words.gt_boxes, boxes))
        negative = labels.to(boxes.device) != 1
        return negative & covered_by_ignored(boxes, targets, self.ignore_ioa_thresh)


class _PerInstance(list):
    """A field of instances that is no tensor. Detectron2's models select instances by masks, and
    index every field with them."""

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, Tensor) and item.dim() == 1:
            rows = item.nonzero().flatten() if item.dtype == torch.bool else item
            return _PerInstance(list.__getitem__(self, row) for row in rows.tolist())
        found = super().__getitem__(item)
        return _PerInstance(found) if isinstance(item, slice) else found


def _contiguous(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """RoIAlign copies maps with channels last, box and mask head each again."""
    return {name: feature.contiguous() for name, feature in features.items()}


def _words(targets: Instances) -> Instances:
    """The instances that are not don't-care, with what the heads need of them."""
    keep = ~targets.gt_ignore
    words = Instances(targets.image_size)
    for name in ("gt_boxes", "gt_classes", "gt_masks"):
        words.set(name, targets.get(name)[keep])
    return words
