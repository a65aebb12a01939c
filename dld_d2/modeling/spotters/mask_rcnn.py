"""Mask R-CNN with a recognition branch: the paper's two-stage spotter."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import (
    META_ARCH_REGISTRY,
    Backbone,
    build_backbone,
    build_proposal_generator,
    build_roi_heads,
)
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from dld_d2.modeling.detection import polygons_from_masks, single_level_features
from dld_d2.modeling.recognition import (
    Reading,
    RecognitionBranch,
    RecognitionOutput,
    Regions,
    jitter_targets,
    recognition_loss,
)

from .postprocess import rescale_instances
from .word_counts import log_words

__all__ = ["MaskRCNNSpotter"]


@META_ARCH_REGISTRY.register()
class MaskRCNNSpotter(nn.Module):
    """Backbone, proposals, box and mask heads, recognition branch.

    Fulfils `dld_d2.modeling.spotters.Spotter`.

    Args:
        backbone: gives the feature maps.
        proposal_generator: an RPN.
        roi_heads: box and mask heads.
        recognition: reads regions.
        recognition_weight: factor of the recognition loss.
        ctc_weight: factor of `RecognitionBranch.ctc_loss`; 0 leaves it out.
        region_jitter: of the regions that the recognition loss is taken on, see `jitter_targets`.
        mask_thresh: probability above which a pixel belongs to a word.
        polygon_tolerance: of the polygons' simplification, as a fraction of their perimeter.
        pixel_mean, pixel_std: (3,) for the normalisation of the image.

    Raises:
        ValueError: if `region_jitter` is not in [0, 0.5).
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module,
        roi_heads: nn.Module,
        recognition: RecognitionBranch,
        recognition_weight: float,
        ctc_weight: float,
        region_jitter: float,
        mask_thresh: float,
        polygon_tolerance: float,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
    ) -> None:
        super().__init__()
        if not 0 <= region_jitter < 0.5:
            raise ValueError(
                f"MODEL.RECOGNITION.ROI.JITTER is {region_jitter}; it must be in [0, 0.5), so that "
                "opposite sides of a box cannot meet"
            )
        self.backbone = backbone
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        self.recognition = recognition
        self.recognition_weight = recognition_weight
        self.ctc_weight = ctc_weight
        self.region_jitter = region_jitter
        self.mask_thresh = mask_thresh
        self.polygon_tolerance = polygon_tolerance
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)
        # Convolutions are faster with channels last, on CPUs by a third and more, on GPUs in mixed
        # precision; RoI masking reads rows of channels anyway.
        self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        backbone = build_backbone(cfg)
        shape = backbone.output_shape()
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, shape),
            "roi_heads": build_roi_heads(cfg, shape),
            "recognition": RecognitionBranch(cfg, shape),
            "recognition_weight": cfg.MODEL.RECOGNITION.LOSS_WEIGHT,
            "ctc_weight": cfg.MODEL.RECOGNITION.CTC_WEIGHT,
            "region_jitter": cfg.MODEL.RECOGNITION.ROI.JITTER,
            "mask_thresh": cfg.TEST.MASK_THRESH,
            "polygon_tolerance": cfg.TEST.POLYGON_TOLERANCE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def size_divisibility(self) -> int:
        return self.backbone.size_divisibility

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Detectron2's interface.

        Args:
            batched_inputs: what `dld_d2.data.TextDatasetMapper` gives.

        Returns:
            In training the losses. Else, per input, `{"instances": ...}` as `inference` gives
            them, in pixels of the input's original "height" and "width".
        """
        if self.training:
            log_words([x["instances"] for x in batched_inputs])
        images, targets = self.preprocess(batched_inputs)
        if self.training:
            return self.losses(images, targets)[0]
        instances = self.inference(images)
        return [
            {"instances": rescale_instances(i, (x["height"], x["width"]))}
            for i, x in zip(instances, batched_inputs, strict=True)
        ]

    def preprocess(self, batched_inputs: list[dict]) -> tuple[ImageList, list[Instances] | None]:
        """Normalise and pad images; move them and their targets, if any, to the model's device."""
        images = [
            (x["image"].to(self.device, non_blocking=True) - self.pixel_mean) / self.pixel_std
            for x in batched_inputs
        ]
        images = ImageList.from_tensors(
            images,
            self.size_divisibility,
            padding_constraints=self.backbone.padding_constraints,
        )
        images.tensor = images.tensor.contiguous(memory_format=torch.channels_last)
        if "instances" not in batched_inputs[0]:
            return images, None
        return images, [x["instances"].to(self.device) for x in batched_inputs]

    def recognize(self, images: ImageList, targets: list[Instances]) -> RecognitionOutput:
        """See `Spotter.recognize`."""
        features = self._reading_features(images)
        return self._recognize(features, images, targets)[0]

    def losses(
        self, images: ImageList, targets: list[Instances]
    ) -> tuple[dict[str, Tensor], RecognitionOutput]:
        """See `Spotter.losses`. The losses of detection have Detectron2's names."""
        features = self.backbone(images.tensor)
        proposals, rpn_losses = self.proposal_generator(images, features, targets)
        _, roi_losses = self.roi_heads(images, features, proposals, targets)
        if self.region_jitter > 0 and not targets[0].has("gt_jitter"):
            targets = jitter_targets(targets, self.region_jitter)
        output, texts = self._recognize(features, images, targets)
        losses = {**rpn_losses, **roi_losses}
        losses["loss_rec"] = self.recognition_weight * recognition_loss(output.logits, texts)
        if self.ctc_weight > 0:
            losses["loss_ctc"] = self.ctc_weight * self.recognition.ctc_loss(output.context, texts)
        return losses, output

    @torch.no_grad()
    def inference(self, images: ImageList) -> list[Instances]:
        """See `Spotter.inference`."""
        features = self.backbone(images.tensor)
        proposals, _ = self.proposal_generator(images, features, None)
        instances, _ = self.roi_heads(images, features, proposals, None)
        regions = Regions.from_predictions(instances, self.mask_thresh)
        reading = self.recognition.read(features, regions)
        return self._assemble(instances, reading)

    @torch.no_grad()
    def read_regions(self, batched_inputs: list[dict]) -> list[list[str]]:
        """Texts of all ground-truth regions that are not don't-care, per input in target order."""
        return self.read_targets(*self.preprocess(batched_inputs))

    @torch.no_grad()
    def read_targets(self, images: ImageList, targets: list[Instances]) -> list[list[str]]:
        """As `read_regions`, for what `preprocess` gives."""
        keep = [~t.gt_ignore for t in targets]
        features = self._reading_features(images)
        reading = self.recognition.read(features, Regions.from_targets(targets, keep))
        return _split(reading.texts, [int(k.sum()) for k in keep])

    def _reading_features(self, images: ImageList) -> dict[str, Tensor]:
        return single_level_features(self.backbone, images.tensor, self.recognition.in_feature)

    def _recognize(
        self, features: dict[str, Tensor], images: ImageList, targets: list[Instances]
    ) -> tuple[RecognitionOutput, Tensor]:
        keep = [t.gt_readable for t in targets]
        texts = torch.cat([t.gt_texts[k] for t, k in zip(targets, keep, strict=True)])
        if len(texts) == 0:
            # The whole first image stands in, with nothing to read in it: the loss is 0, yet all
            # parameters get a gradient, as distributed training needs.
            regions = Regions.whole_image(images.image_sizes[0], self.device)
            texts = texts.new_full((1, 1), self.recognition.vocabulary.PADDING)
        else:
            regions = Regions.from_targets(targets, keep)
            # Steps after the longest word's end would be ignored by every loss.
            texts = texts[:, : int((texts >= 0).sum(dim=1).max())]
        return self.recognition(features, regions, texts), texts

    def _assemble(self, instances: list[Instances], reading: Reading) -> list[Instances]:
        counts = [len(i) for i in instances]
        masks = torch.cat([i.pred_masks[:, 0] for i in instances]).float().cpu().numpy()
        boxes = torch.cat([i.pred_boxes.tensor for i in instances]).float().cpu().numpy()
        polygons = polygons_from_masks(
            masks, boxes, threshold=self.mask_thresh, tolerance=self.polygon_tolerance
        )
        results = []
        for instance, polygon, text, score in zip(
            instances,
            _split(polygons, counts),
            _split(reading.texts, counts),
            reading.scores.split(counts),
            strict=True,
        ):
            result = Instances(instance.image_size)
            for name in ("pred_boxes", "scores", "pred_classes"):
                result.set(name, instance.get(name))
            result.pred_polygons = polygon
            result.pred_texts = text
            result.text_scores = score
            results.append(result)
        return results


def _split(items: list, counts: list[int]) -> list[list]:
    iterator = iter(items)
    return [[next(iterator) for _ in range(count)] for count in counts]
