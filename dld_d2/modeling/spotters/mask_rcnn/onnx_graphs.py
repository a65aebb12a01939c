"""Mask R-CNN with the published text head as networks: one that finds words and their masks, one
that lays down and encodes what is to be read, and one step of the decoder.

`dld_d2.deployment.runtime.mask_rcnn` puts them together again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from detectron2.export.torchscript_patch import patch_builtin_len
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference_single_image
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from dld_d2.modeling.onnx_graphs import OnnxGraph
from dld_d2.modeling.recognition.onnx_graphs import decoder_graph
from dld_d2.modeling.recognition.regions import BoxMasks, Regions
from dld_d2.modeling.spotters.attention_text_head import AttentionTextHead

if TYPE_CHECKING:
    from dld_d2.modeling.spotters.mask_rcnn.spotter import MaskRCNNSpotter

__all__ = ["graphs"]


class _DetectorGraph(nn.Module):
    def __init__(self, spotter: MaskRCNNSpotter) -> None:
        super().__init__()
        self.spotter = spotter

    def forward(self, image: Tensor, size: Tensor, threshold: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            image: (1, 3, H, W), normalised and padded.
            size: (2,) int64, height and width without padding.
            threshold: (1,), the least score of a word.

        Returns:
            (N, 4) boxes, (N,) scores and (N, S, S) masks of N >= 0 words, and the feature map that
            the text head reads, (1, C, h, w).
        """
        heads = self.spotter.roi_heads
        size = size[0], size[1]
        features = self.spotter.backbone(image)
        # Detectron2's own way to keep the number of boxes free.
        with patch_builtin_len():
            images = ImageList(image, [size])
            proposals, _ = self.spotter.proposal_generator(images, features, None)
            boxes, scores = self._boxes(features, proposals, size, threshold)
        # A word more, which is taken off again: not every layer of ONNX Runtime takes none.
        masks = self._masks(features, torch.cat([boxes, boxes.new_zeros(1, 4)]))[:-1]
        return boxes, scores, masks, features[heads.text_head.in_feature]

    def _boxes(
        self,
        features: dict[str, Tensor],
        proposals: list[Instances],
        size: tuple[Tensor, Tensor],
        threshold: Tensor,
    ) -> tuple[Tensor, Tensor]:
        heads = self.spotter.roi_heads
        predictor = heads.box_predictor
        maps = [features[name] for name in heads.box_in_features]
        pooled = heads.box_pooler(maps, [proposals[0].proposal_boxes])
        predictions = predictor(heads.box_head(pooled))
        found, _ = fast_rcnn_inference_single_image(
            predictor.predict_boxes(predictions, proposals)[0],
            predictor.predict_probs(predictions, proposals)[0],
            size,
            threshold,
            predictor.test_nms_thresh,
            predictor.test_topk_per_image,
        )
        return found.pred_boxes.tensor, found.scores

    def _masks(self, features: dict[str, Tensor], boxes: Tensor) -> Tensor:
        heads = self.spotter.roi_heads
        maps = [features[name] for name in heads.mask_in_features]
        pooled = heads.mask_pooler(maps, [Boxes(boxes)])
        return heads.mask_head.layers(pooled)[:, 0].sigmoid()


class _EncoderGraph(nn.Module):
    def __init__(self, head: AttentionTextHead, threshold: float) -> None:
        super().__init__()
        self.head = head
        self.threshold = threshold

    def forward(self, feature: Tensor, boxes: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            feature: (1, C, h, w), the map that is read.
            boxes: (N, 4) of N >= 1 words in pixels.
            masks: (N, S, S).

        Returns:
            What the decoder attends to: (N, L, C), and its keys (N, L, D).
        """
        index = torch.zeros_like(boxes[:, 0], dtype=torch.int64)
        regions = Regions(index, boxes, BoxMasks(masks, boxes, self.threshold))
        _, context = self.head.encode({self.head.in_feature: feature}, regions)
        return tuple(self.head.decoder.memory(context))


def graphs(spotter: MaskRCNNSpotter) -> dict[str, OnnxGraph]:
    """ "detector", see `_DetectorGraph`; "encoder", see `_EncoderGraph`; "decoder", see
    `dld_d2.modeling.recognition.onnx_graphs`.

    Raises:
        NotImplementedError: with another text head than the published one, and for several classes
            of words.
    """
    heads = spotter.roi_heads
    head = heads.text_head
    if type(head) is not AttentionTextHead:
        raise NotImplementedError(
            f"MODEL.ROI_TEXT_HEAD.NAME: a {type(head).__name__} is not exported to ONNX yet; "
            "AttentionTextHead is"
        )
    if heads.num_classes != 1:
        raise NotImplementedError(
            f"MODEL.ROI_HEADS.NUM_CLASSES: {heads.num_classes} classes are not exported to ONNX; "
            "one is"
        )
    shape = spotter.backbone.output_shape()[head.in_feature]
    side = heads.mask_pooler.output_size[0] * 2
    image = torch.zeros(1, 3, 256, 320)
    rows, columns, _ = head.feature_shapes["context"]
    boxes = torch.tensor([[8.0, 8, 72, 40], [80, 16, 100, 90]])
    return {
        "detector": OnnxGraph(
            _DetectorGraph(spotter),
            {
                "image": image,
                "size": torch.tensor(image.shape[2:]),
                "threshold": torch.tensor([spotter.score_threshold]),
            },
            ("boxes", "scores", "masks", "feature"),
            {
                "image": {2: "height", 3: "width"},
                "boxes": {0: "words"},
                "scores": {0: "words"},
                "masks": {0: "words"},
                "feature": {2: "rows", 3: "columns"},
            },
        ),
        "encoder": OnnxGraph(
            _EncoderGraph(head, heads.mask_thresh),
            {
                "feature": torch.zeros(
                    1, shape.channels, *(s // shape.stride for s in image.shape[2:])
                ),
                "boxes": boxes,
                "masks": torch.ones(len(boxes), side, side),
            },
            ("context", "keys"),
            {
                "feature": {2: "rows", 3: "columns"},
                "boxes": {0: "words"},
                "masks": {0: "words"},
                "context": {0: "words"},
                "keys": {0: "words"},
            },
        ),
        "decoder": decoder_graph(head.decoder, rows * columns),
    }
