"""A light spotter of photographs: a detector that segments, and a recogniser that reads by CTC."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor

from dld_d2.modeling.cost.multiply_adds import module_cost
from dld_d2.modeling.cost.parts import PartCost
from dld_d2.modeling.onnx_graphs import OnnxSpotter
from dld_d2.modeling.recognition.ctc_decoder import IMPOSSIBLE, CTCDecoder
from dld_d2.modeling.recognition.reading import Reading, ScoreMap
from dld_d2.modeling.spotters.contract import Look, Spotter
from dld_d2.modeling.spotters.pp_ocr.detection_losses import (
    detection_loss_per_image,
    detection_losses,
)
from dld_d2.modeling.spotters.pp_ocr.detector import Detector
from dld_d2.modeling.spotters.pp_ocr.lines import HEIGHT, PIXELS_PER_POSITION, parts_of_line
from dld_d2.modeling.spotters.pp_ocr.onnx_graphs import detector_graph, reader_graph
from dld_d2.modeling.spotters.pp_ocr.recogniser import Recogniser
from dld_d2.modeling.spotters.pp_ocr.regions import regions_of
from dld_d2.modeling.spotters.pp_ocr.score_map_targets import batch_targets
from dld_d2.modeling.spotters.pp_ocr.straightening import extend
from dld_d2.modeling.spotters.pp_ocr.words import (
    encode_words,
    jitter_sides,
    sides_of_boxes,
    widths,
)
from dld_d2.modeling.spotters.rows import Rows

__all__ = ["PPOCRSpotter"]

_PARTS = ("detector", "recogniser")
# Of the word whose cost stands for all: some five characters.
_TYPICAL_WIDTH = 128


@META_ARCH_REGISTRY.register()
class PPOCRSpotter(Spotter):
    """PP-OCR's detector and recogniser.

    They share no features: words are cut out of the image itself, at the scale at which it is
    looked at, and reading given regions needs no detection at all.

    Args:
        detector: gives a map of scores.
        recogniser: gives the features of straightened words.
        decoder: tells their characters.
        learn: names of what is trained, of "detector" and "recogniser" (with its decoder).
        jitter: how far ground-truth regions move inwards and outwards in training, see
            `jitter_sides`.
        shrink_ratio, min_word_size: of the score map's targets.
        loss_weights: factors of "loss_score", "loss_border", "loss_binary" and "loss_rec".
        pixel_threshold, score_threshold, unclip_ratio, min_size: see `regions_of`; an unclip ratio
            of 0 undoes the shrinking.
        text_threshold: words read with less confidence are left out.
        **kwargs: of `Spotter`.

    Raises:
        ValueError: naming the key, for a value that cannot be used.
    """

    inference_keys = (*Spotter.inference_keys, "MODEL.PP_OCR.*_TEST", "MODEL.PP_OCR.SHRINK_RATIO")

    @configurable
    def __init__(
        self,
        *,
        detector: Detector,
        recogniser: Recogniser,
        decoder: CTCDecoder,
        learn: Sequence[str],
        jitter: tuple[float, float],
        shrink_ratio: float,
        min_word_size: float,
        loss_weights: Mapping[str, float],
        pixel_threshold: float,
        score_threshold: float,
        unclip_ratio: float,
        min_size: float,
        text_threshold: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not learn or not set(learn) <= set(_PARTS):
            raise ValueError(f"MODEL.PP_OCR.LEARN: {tuple(learn)} are not some of {_PARTS}")
        if len(jitter) != 2 or not all(0 <= amount < 0.5 for amount in jitter):
            raise ValueError(f"MODEL.PP_OCR.JITTER: {jitter} are not two numbers in [0, 0.5)")
        self.detector = detector
        self.recogniser = recogniser
        self.decoder = decoder
        self.learn = frozenset(learn)
        self.jitter = tuple(jitter)
        self.target_rule = {"shrink_ratio": shrink_ratio, "min_size": min_word_size}
        self.loss_weights = dict(loss_weights)
        self.region_rule = {
            "threshold": pixel_threshold,
            "box_threshold": score_threshold,
            "unclip_ratio": unclip_ratio or None,
            "shrink_ratio": shrink_ratio,
            "min_size": min_size,
        }
        self.text_threshold = text_threshold
        self.detector.requires_grad_("detector" in self.learn)
        for part in (self.recogniser, self.decoder):
            part.requires_grad_("recogniser" in self.learn)
        self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        shared = super().from_config(cfg)
        pp_ocr = cfg.MODEL.PP_OCR
        recogniser = Recogniser()
        return {
            "detector": Detector(),
            "recogniser": recogniser,
            "decoder": CTCDecoder(recogniser.dim, shared["vocabulary"]),
            "learn": pp_ocr.LEARN,
            "jitter": pp_ocr.JITTER,
            "shrink_ratio": pp_ocr.SHRINK_RATIO,
            "min_word_size": pp_ocr.MIN_WORD_SIZE,
            "loss_weights": {
                "loss_score": pp_ocr.SCORE_LOSS_WEIGHT,
                "loss_border": pp_ocr.BORDER_LOSS_WEIGHT,
                "loss_binary": pp_ocr.BINARY_LOSS_WEIGHT,
                "loss_rec": pp_ocr.READING_LOSS_WEIGHT,
            },
            "pixel_threshold": pp_ocr.PIXEL_THRESH_TEST,
            "score_threshold": pp_ocr.SCORE_THRESH_TEST,
            "unclip_ratio": pp_ocr.UNCLIP_RATIO_TEST,
            "min_size": pp_ocr.MIN_SIZE_TEST,
            "text_threshold": pp_ocr.TEXT_THRESH_TEST,
            **shared,
        }

    @property
    def feature_shapes(self) -> Mapping[str, tuple[int, ...] | None]:
        return {"roi": None, "context": None, "score_map": None, "detection_loss": None}

    @property
    def score_threshold(self) -> float:
        return self.region_rule["box_threshold"]

    @score_threshold.setter
    def score_threshold(self, value: float) -> None:
        self.region_rule["box_threshold"] = value

    def perturb(self, targets: list[Instances]) -> list[Instances]:
        """With outlines that move at random, and the width at which each word is read by all."""
        perturbed = []
        for target in targets:
            sides = _sides_in_pixels(target)
            if any(self.jitter):
                sides = jitter_sides(sides, *self.jitter)
            fields = target.get_fields() | {
                "gt_sides": sides / _width_and_height(target),
                "gt_width": widths(sides),
            }
            perturbed.append(Instances(target.image_size, **fields))
        return perturbed

    def read_rows(self, images: ImageList, rows: Rows, want: Collection[str]) -> Reading:
        reading = self._read_rows(images, rows, want)
        return self._with_detection(reading, images, rows, want)

    def losses_and_rows(
        self, images: ImageList, targets: list[Instances], rows: Rows, want: Collection[str]
    ) -> tuple[dict[str, Tensor], Reading]:
        """`loss_score`, `loss_border` and `loss_binary` of the detector (equation 6 of Liao et al.,
        2020), `loss_rec` of the recogniser."""
        reading = self._read_rows(images, rows, want)
        losses, score = {}, None
        if "recogniser" in self.learn:
            # The end counts, as it does for readers that have to predict it.
            length = (reading.texts != self.vocabulary.PADDING).sum().clamp(min=1)
            nll = reading.negative_log_likelihood()
            # What a word's positions cannot hold is not to be learnt.
            losses["loss_rec"] = nll.masked_fill(nll >= IMPOSSIBLE, 0).sum() / length
        if "detector" in self.learn:
            features = self.detector.features(images.tensor)
            score, border = self.detector.score(features), self.detector.border(features)
            wanted = batch_targets(targets, tuple(score.shape[-2:]), **self.target_rule)
            losses |= detection_losses(score, border, wanted)
        reading = self._with_detection(reading, images, rows, want, score)
        return {name: self.loss_weights[name] * loss for name, loss in losses.items()}, reading

    def features(self, images: ImageList) -> Tensor:
        """The images themselves."""
        return images.tensor

    def find(self, images: ImageList, features: Tensor) -> list[Instances]:
        maps = self.detector(features).sigmoid().float().cpu().numpy()
        found = [
            regions_of(score[:height, :width], **self.region_rule)
            for score, (height, width) in zip(maps, images.image_sizes, strict=True)
        ]
        counts = [len(corners) for corners, _ in found]
        sides = sides_of_boxes(torch.from_numpy(np.concatenate([corners for corners, _ in found])))
        image_index = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        device = features.device
        lines = self._read_lines(features, image_index.to(device), sides.to(device))
        stops = np.cumsum(counts).tolist()
        return [
            self._instances(size, lines[stop - len(scores) : stop], scores)
            for size, (_, scores), stop in zip(images.image_sizes, found, stops, strict=True)
        ]

    def read(self, look: Look, regions: Instances) -> list[str]:
        if len(regions) == 0:
            return []
        sides = _sides_in_pixels(regions)
        image_index = torch.full((len(sides),), look.index, device=sides.device)
        context = encode_words(
            self.recogniser, look.features, image_index, sides, widths(sides)
        ).context
        classes, _ = self.decoder.greedy(context, self.max_length)
        return [self.vocabulary.decode(row).strip() for row in classes.tolist()]

    def image_cost(self, image: Tensor) -> list[PartCost]:
        detector = self.detector
        features = detector.backbone(image)
        return [
            PartCost("backbone", per_image=module_cost(detector.backbone, image), published=True),
            PartCost("neck", per_image=module_cost(detector.neck, features), published=True),
            PartCost(
                "score map",
                per_image=module_cost(detector.score, detector.neck(features)),
                published=True,
            ),
        ]

    def region_cost(self) -> list[PartCost]:
        word = torch.empty(1, 3, HEIGHT, _TYPICAL_WIDTH, device="meta")
        context = self.recogniser(word).context
        return [
            PartCost("recogniser", per_region=module_cost(self.recogniser, word)),
            PartCost("characters", per_region=module_cost(self.decoder.classifier, context)),
        ]

    def onnx(self) -> OnnxSpotter:
        return OnnxSpotter(
            kind="pp_ocr",
            graphs={
                "detector": detector_graph(self.detector),
                "reader": reader_graph(self.recogniser, self.decoder),
            },
            settings={"region_rule": self.region_rule, "text_threshold": self.text_threshold},
        )

    def _read_rows(self, images: ImageList, rows: Rows, want: Collection[str]) -> Reading:
        """Recognition alone."""
        sides = [_sides_in_pixels(target) for target in rows.targets]
        width = [
            target.gt_width if target.has("gt_width") else widths(side)
            for target, side in zip(rows.targets, sides, strict=True)
        ]
        # A stand-in has no sides, and no width either.
        width = torch.cat(width).clamp(min=4 * PIXELS_PER_POSITION)
        encoded = encode_words(
            self.recogniser,
            images.tensor,
            rows.image_index,
            torch.cat(sides),
            width,
            early="roi" in want,
        )
        known = {"roi": encoded.early, "context": encoded.context}
        return Reading(
            logits=self.decoder(encoded.context, rows.texts),
            texts=rows.texts,
            image_index=rows.image_index,
            context=encoded.context,
            decoder=self.decoder,
            features={name: value for name, value in known.items() if name in want},
        )

    def _with_detection(
        self,
        reading: Reading,
        images: ImageList,
        rows: Rows,
        want: Collection[str],
        score: Tensor | None = None,
    ) -> Reading:
        """With what is wanted of detection; `score` is the map, if it was computed already."""
        if score is None and {"score_map", "detection_loss"} & set(want):
            score = self.detector(images.tensor)
        if "score_map" in want:
            sizes = [(float(height), float(width)) for height, width in images.image_sizes]
            reading = reading.with_feature("score_map", ScoreMap(score[:, None], sizes))
        if "detection_loss" in want:
            with torch.no_grad():
                wanted = batch_targets(rows.truth, tuple(score.shape[-2:]), **self.target_rule)
                loss = detection_loss_per_image(score, wanted)
            reading = reading.with_feature("detection_loss", loss)
        return reading

    def _read_lines(self, images: Tensor, image_index: Tensor, sides: Tensor) -> list[list[tuple]]:
        """For each region its words: corners (4, 2) as an array, text and score."""
        if len(sides) == 0:
            return []
        width = widths(sides)
        context = encode_words(self.recogniser, images, image_index, sides, width).context
        path = self.decoder.best_path(self.decoder(context))
        lengths = (width // PIXELS_PER_POSITION).tolist()
        lines = [
            parts_of_line(*row, self.vocabulary.characters, length)
            for *row, length in zip(*(values.tolist() for values in path), lengths, strict=True)
        ]
        counts = torch.tensor([len(parts) for parts in lines])
        every = [part for parts in lines for part in parts]
        start = torch.tensor([part.start for part in every])
        stop = torch.tensor([part.stop for part in every])
        whole = sides.cpu().repeat_interleave(counts, dim=0)
        zero = torch.zeros_like(start)
        corners = extend(whole, -start, zero, stop - 1, zero)[:, [0, 6, 13, 7]].numpy()
        words = [
            (polygon, part.text, part.score) for polygon, part in zip(corners, every, strict=True)
        ]
        ends = counts.cumsum(0).tolist()
        return [words[end - count : end] for end, count in zip(ends, counts.tolist(), strict=True)]

    def _instances(
        self, size: tuple[int, int], lines: list[list[tuple]], scores: np.ndarray
    ) -> Instances:
        kept = [
            (polygon, text, text_score, float(score))
            for words, score in zip(lines, scores, strict=True)
            for polygon, text, text_score in words
            if text_score >= self.text_threshold
        ]
        limit = np.array([size[1], size[0]], dtype=np.float32)
        polygons = [np.clip(polygon, 0, limit).astype(np.float32) for polygon, *_ in kept]
        stacked = np.stack(polygons) if kept else np.zeros((0, 4, 2), dtype=np.float32)
        boxes = np.concatenate([stacked.min(axis=1), stacked.max(axis=1)], axis=1)
        found = Instances(size)
        found.pred_boxes = Boxes(torch.from_numpy(boxes).to(self.device))
        found.scores = torch.tensor([score for *_, score in kept], device=self.device)
        found.pred_classes = torch.zeros(len(kept), dtype=torch.int64, device=self.device)
        found.pred_polygons = polygons
        found.pred_texts = [text for _, text, _, _ in kept]
        found.text_scores = torch.tensor(
            [text_score for _, _, text_score, _ in kept], device=self.device
        )
        return found


def _width_and_height(target: Instances) -> Tensor:
    height, width = target.image_size
    return torch.tensor([width, height], dtype=torch.float32, device=target.gt_sides.device)


def _sides_in_pixels(target: Instances) -> Tensor:
    """(N, 14, 2)."""
    if not target.has("gt_sides"):
        raise ValueError(
            "the ground truth has no gt_sides, which PPOCRSpotter reads words by; "
            "dld_d2.data.mapper.TextDatasetMapper gives them"
        )
    return target.gt_sides * _width_and_height(target)
