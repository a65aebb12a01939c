"""Text Perceptron: a spotter that segments words, and reads them laid straight."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import FPN, META_ARCH_REGISTRY, build_backbone
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor

from dld_d2.modeling.backbones.single_level import single_level_features
from dld_d2.modeling.backbones.unused_levels import drop_other_levels
from dld_d2.modeling.cost.multiply_adds import module_cost
from dld_d2.modeling.cost.parts import PartCost
from dld_d2.modeling.onnx_graphs import OnnxSpotter
from dld_d2.modeling.recognition.reading import Reading, ScoreMap
from dld_d2.modeling.spotters.backbone_spotter import BackboneSpotter
from dld_d2.modeling.spotters.contract import Look, Spotter
from dld_d2.modeling.spotters.rows import Rows
from dld_d2.modeling.spotters.text_perceptron.cells import RULES, STRIDE
from dld_d2.modeling.spotters.text_perceptron.found_words import (
    FoundWords,
    outlines_of,
    words_of_cells,
)
from dld_d2.modeling.spotters.text_perceptron.head import KINDS, DetectionMaps, OrderAwareHead
from dld_d2.modeling.spotters.text_perceptron.losses import (
    detection_loss_per_image,
    detection_losses,
)
from dld_d2.modeling.spotters.text_perceptron.onnx_graphs import graphs
from dld_d2.modeling.spotters.text_perceptron.side_regions import SideRegions
from dld_d2.modeling.spotters.text_perceptron.targets import draw_targets
from dld_d2.modeling.spotters.text_perceptron.text_head import StraightenedTextHead
from dld_d2.modeling.transfer import to_device

__all__ = ["TextPerceptronSpotter"]

# Where weights of a Mask R-CNN spotter have the reader.
_READER_OF_MASK_RCNN = "roi_heads.text_head."


@META_ARCH_REGISTRY.register()
class TextPerceptronSpotter(BackboneSpotter):
    """One feature map; a head that finds words on it, and a reader of words laid straight.

    Qiao et al., Text Perceptron: Towards End-to-End Arbitrary-Shaped Text Spotting, AAAI 2020, in
    the form of the code released with it (docs/text_perceptron.md).

    Args:
        backbone: an FPN; of its levels only `in_feature` is computed.
        in_feature: that level, of stride 4.
        head: finds words.
        text_head: reads them.
        targets: name of the rule by which maps are drawn, of `RULES`.
        thin_background: whether background is left out of the losses at random.
        loss_weights: factors of the detection losses, by their names.
        thresholds: from which probability on a cell is centre, head, tail, boundary.
        bond_threshold: see `find_words`.
        score_threshold: words with a lower score are left out.
        max_words: found in an image, at most; those of the highest scores stay.
        **kwargs: of `BackboneSpotter`.

    Raises:
        ValueError: naming the key, for a value that cannot be used.
    """

    inference_keys = (
        *Spotter.inference_keys,
        "MODEL.BACKBONE.NAME",
        "MODEL.RESNETS.*",
        "MODEL.FPN.*",
        "MODEL.TEXT_PERCEPTRON.IN_FEATURE",
        "MODEL.TEXT_PERCEPTRON.TARGETS",
        "MODEL.TEXT_PERCEPTRON.HEAD.*",
        "MODEL.TEXT_PERCEPTRON.*_TEST",
        "MODEL.ROI_TEXT_HEAD.NORM",
        "MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION",
        "MODEL.ROI_TEXT_HEAD.POOLER_CONV_*",
        "MODEL.ROI_TEXT_HEAD.*.*",
        "TEST.DETECTIONS_PER_IMAGE",
    )

    score_threshold = 0.0

    @configurable
    def __init__(
        self,
        *,
        backbone: FPN,
        in_feature: str,
        head: OrderAwareHead,
        text_head: StraightenedTextHead,
        targets: str,
        thin_background: bool,
        loss_weights: Mapping[str, float],
        thresholds: tuple[float, float, float, float],
        bond_threshold: float,
        score_threshold: float,
        max_words: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone=drop_other_levels(backbone, in_feature), **kwargs)
        key = "MODEL.TEXT_PERCEPTRON"
        if targets not in RULES:
            raise ValueError(f"{key}.TARGETS: {targets!r} is none of {', '.join(RULES)}")
        stride = backbone.output_shape()[in_feature].stride
        if stride != STRIDE:
            raise ValueError(
                f"{key}.IN_FEATURE: {in_feature} has a stride of {stride}; words are drawn and "
                f"found at a stride of {STRIDE}"
            )
        self.in_feature = in_feature
        self.head = head
        self.text_head = text_head
        self.targets = targets
        self.rule = RULES[targets]
        self.thin_background = thin_background
        self.loss_weights = dict(loss_weights)
        self.bond_threshold = bond_threshold
        self.score_threshold = score_threshold
        self.max_words = max_words
        self.register_buffer("thresholds", torch.tensor(thresholds).view(1, 4, 1, 1), False)
        self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node = cfg.MODEL.TEXT_PERCEPTRON
        backbone = build_backbone(cfg)
        shape = backbone.output_shape()
        if node.IN_FEATURE not in shape:
            raise ValueError(
                f"MODEL.TEXT_PERCEPTRON.IN_FEATURE: the backbone has no {node.IN_FEATURE!r}, only "
                f"{', '.join(shape)}"
            )
        seg = {f"loss_seg_{kind}": node.SEG_LOSS_WEIGHT for kind in KINDS}
        return {
            "backbone": backbone,
            "in_feature": node.IN_FEATURE,
            "head": OrderAwareHead(
                in_channels=shape[node.IN_FEATURE].channels,
                channels=node.HEAD.CONV_DIM,
                norm=node.HEAD.NORM,
            ),
            "text_head": StraightenedTextHead(cfg, shape),
            "targets": node.TARGETS,
            "thin_background": node.THIN_BACKGROUND,
            "loss_weights": {
                **seg,
                "loss_reg_head": node.HEAD_LOSS_WEIGHT,
                "loss_reg_tail": node.TAIL_LOSS_WEIGHT,
                "loss_reg_centre": node.CENTRE_LOSS_WEIGHT,
            },
            "thresholds": (
                node.CENTRE_THRESH_TEST,
                node.HEAD_THRESH_TEST,
                node.TAIL_THRESH_TEST,
                node.BOUNDARY_THRESH_TEST,
            ),
            "bond_threshold": node.BOND_THRESH_TEST,
            "score_threshold": node.SCORE_THRESH_TEST,
            "max_words": cfg.TEST.DETECTIONS_PER_IMAGE,
            **super().from_config(cfg),
        }

    @property
    def feature_shapes(self) -> Mapping[str, tuple[int, ...] | None]:
        return {**self.text_head.feature_shapes, "score_map": None, "detection_loss": None}

    def perturb(self, targets: list[Instances]) -> list[Instances]:
        return self.text_head.perturb(targets)

    def read_rows(self, images: ImageList, rows: Rows, want: Collection[str]) -> Reading:
        features = self.features(images)
        reading = self._read_rows(features, rows, want)
        if not {"score_map", "detection_loss"} & set(want):
            return reading
        return self._with_detection(reading, self._maps(features), images, rows, want)

    def losses_and_rows(
        self, images: ImageList, targets: list[Instances], rows: Rows, want: Collection[str]
    ) -> tuple[dict[str, Tensor], Reading]:
        """`loss_seg_*` and `loss_reg_*` of the head, see `detection_losses`; `loss_rec` and, if
        there is a CTC layer, `loss_ctc` of the reader."""
        features = self.features(images)
        reading = self._read_rows(features, rows, want)
        maps = self._maps(features)
        wanted = draw_targets(targets, tuple(maps.scores.shape[-2:]), self.rule)
        if self.thin_background and self.training:
            wanted = wanted.thinned()
        losses = detection_losses(maps, wanted)
        losses = {name: self.loss_weights[name] * loss for name, loss in losses.items()}
        losses |= self.text_head.losses(reading)
        return losses, self._with_detection(reading, maps, images, rows, want)

    def features(self, images: ImageList) -> dict[str, Tensor]:
        return single_level_features(self.backbone, images.tensor, self.in_feature)

    def find(self, images: ImageList, features: dict[str, Tensor]) -> list[Instances]:
        found = self._words(images, self._maps(features))
        index = np.arange(len(found)).repeat([len(words.scores) for words in found])
        sides = np.concatenate([words.sides for words in found])
        regions = SideRegions(to_device(index, self.device), to_device(sides, self.device))
        # Here the host waits for the device once more, for what was read.
        read = self.text_head.read(features, regions)
        results, begin = [], 0
        for size, words in zip(images.image_sizes, found, strict=True):
            end = begin + len(words.scores)
            result = _instances(size, words, self.device)
            result.pred_texts = read.texts[begin:end]
            result.text_scores = read.scores[begin:end]
            results.append(result)
            begin = end
        return results

    def read(self, look: Look, regions: Instances) -> list[str]:
        if len(regions) == 0:
            return []
        found = SideRegions.from_targets([regions]).in_image(look.index)
        return self.text_head.read(look.features, found).texts

    def onnx(self) -> OnnxSpotter:
        return OnnxSpotter(
            kind="text_perceptron",
            graphs=graphs(self),
            settings={
                "score_threshold": self.score_threshold,
                "targets": self.targets,
                "bond_threshold": self.bond_threshold,
                "max_words": self.max_words,
                "max_length": self.max_length,
            },
        )

    @torch.no_grad()
    def score_maps(self, images: ImageList) -> list[Tensor]:
        """What the head sees, for pictures.

        Returns:
            Per image (4, h, w) probabilities of `KINDS`, without padding.
        """
        scores = self._maps(self.features(images)).scores.sigmoid()
        return [
            image[:, :height, :width]
            for image, (height, width) in zip(scores, _in_cells(images), strict=True)
        ]

    def image_cost(self, image: Tensor) -> list[PartCost]:
        feature = single_level_features(self.backbone, image, self.in_feature)[self.in_feature]
        whole = module_cost(single_level_features, self.backbone, image, self.in_feature)
        bottom_up = module_cost(self.backbone.bottom_up, image)
        head = module_cost(self.head, feature)
        return [
            PartCost("backbone, bottom-up", per_image=bottom_up, published=True),
            PartCost("FPN", per_image=whole - bottom_up, published=True),
            PartCost("head", per_image=head, published=True),
            *self.text_head.map_cost(feature),
        ]

    def region_cost(self) -> list[PartCost]:
        return self.text_head.region_cost()

    def _maps(self, features: dict[str, Tensor]) -> DetectionMaps:
        return self.head(features[self.in_feature])

    def _read_rows(self, features: dict[str, Tensor], rows: Rows, want: Collection[str]) -> Reading:
        return self.text_head(features, SideRegions.from_targets(rows.targets), rows.texts, want)

    def _with_detection(
        self,
        reading: Reading,
        maps: DetectionMaps,
        images: ImageList,
        rows: Rows,
        want: Collection[str],
    ) -> Reading:
        """With what is wanted of detection."""
        if "score_map" in want:
            sizes = [(height / STRIDE, width / STRIDE) for height, width in images.image_sizes]
            reading = reading.with_feature("score_map", ScoreMap(maps.scores, sizes))
        if "detection_loss" in want:
            with torch.no_grad():
                wanted = draw_targets(rows.truth, tuple(maps.scores.shape[-2:]), self.rule)
                loss = detection_loss_per_image(maps.scores, wanted)
            reading = reading.with_feature("detection_loss", loss)
        return reading

    def labelled_maps(self, maps: DetectionMaps) -> Tensor:
        """(B, 14, h, w): the label of each cell, 0 for background, its score, and 12 offsets."""
        scores = maps.scores.sigmoid()
        kinds = torch.arange(1, 5, device=scores.device).view(1, 4, 1, 1)
        labels = torch.where(scores >= self.thresholds, kinds, 0).amax(dim=1, keepdim=True)
        return torch.cat([labels, scores[:, :1], maps.offsets], dim=1)

    def packed_cells(self, maps: DetectionMaps) -> Tensor:
        """(M, 17) float64: of each cell that is no background its image, row, column, label, score
        and 12 offsets. What an exported network gives; counting the cells waits for the device."""
        together = self.labelled_maps(maps)
        place = together[:, 0].nonzero()
        index, row, column = place.unbind(dim=1)
        return torch.cat([place, together[index, :, row, column].double()], dim=1)

    def _words(self, images: ImageList, maps: DetectionMaps) -> list[FoundWords]:
        """Per image; the host waits for the device once, for the maps of the batch."""
        together = self.labelled_maps(maps).cpu().numpy()
        found = []
        for seen, size in zip(together, images.image_sizes, strict=True):
            place = np.argwhere(seen[0])
            packed = np.concatenate([place, seen[:, place[:, 0], place[:, 1]].T], axis=1)
            found.append(
                words_of_cells(
                    packed.astype(np.float64),
                    size,
                    self.rule,
                    self.bond_threshold,
                    self.score_threshold,
                    self.max_words,
                )
            )
        return found

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        # A trained reader of a Mask R-CNN spotter is a better beginning than none.
        own = self.text_head.state_dict()
        for name in [name for name in state_dict if name.startswith(prefix)]:
            here = name.removeprefix(prefix)
            if not here.startswith(_READER_OF_MASK_RCNN):
                continue
            here = here.removeprefix(_READER_OF_MASK_RCNN)
            if here in own and own[here].shape == state_dict[name].shape:
                state_dict[f"{prefix}text_head.{here}"] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _in_cells(images: ImageList) -> list[tuple[int, int]]:
    """Height and width of each image's part of a map."""
    return [(-(-height // STRIDE), -(-width // STRIDE)) for height, width in images.image_sizes]


def _instances(size: tuple[int, int], words: FoundWords, device: torch.device) -> Instances:
    """Without texts."""
    polygons = outlines_of(words, size)
    boxes = np.concatenate([polygons.min(axis=1), polygons.max(axis=1)], axis=1)
    found = Instances(size)
    found.pred_boxes = Boxes(to_device(boxes, device))
    found.scores = to_device(words.scores, device)
    found.pred_classes = torch.zeros(len(polygons), dtype=torch.int64, device=device)
    found.pred_polygons = list(polygons)
    return found
