"""MANGO: a one-stage spotter, in which each cell of a grid attends to all characters of a word."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

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
from dld_d2.modeling.recognition.encoder import ContextEncoder
from dld_d2.modeling.recognition.positional_decoder import PositionalDecoder
from dld_d2.modeling.recognition.reading import Reading, ScoreMap
from dld_d2.modeling.spotters.backbone_spotter import BackboneSpotter
from dld_d2.modeling.spotters.contract import Look, Spotter
from dld_d2.modeling.spotters.mango.cell_reader import CellReader, ReaderMaps
from dld_d2.modeling.spotters.mango.cell_rows import CellRows, one_cell_each, several_cells
from dld_d2.modeling.spotters.mango.character_attention import CharacterAttention
from dld_d2.modeling.spotters.mango.detection_heads import (
    CategoryHead,
    CenterLineHead,
    convolutions,
)
from dld_d2.modeling.spotters.mango.found_words import FoundWords, find_words
from dld_d2.modeling.spotters.mango.gathering import Gathered
from dld_d2.modeling.spotters.mango.grid import Grid, grid_of
from dld_d2.modeling.spotters.mango.losses import category_loss, center_line_loss, mask_loss
from dld_d2.modeling.spotters.mango.onnx_graphs import graphs
from dld_d2.modeling.spotters.mango.options import Options
from dld_d2.modeling.spotters.mango.targets import center_line_targets, word_cells
from dld_d2.modeling.spotters.mango.voting import gather_cells, vote
from dld_d2.modeling.spotters.rows import Rows
from dld_d2.modeling.transfer import to_device

__all__ = ["MANGOSpotter"]


class _Maps(NamedTuple):
    """What is computed of a batch before anything is known of its words.

    Attributes:
        features: (B, C, h, w), the level that all look at.
        sampled: (B, C, S, S), the same at the cells.
        reader: what reading begins with.
        grid: over the batch.
    """

    features: Tensor
    sampled: Tensor
    reader: ReaderMaps
    grid: Grid


@META_ARCH_REGISTRY.register()
class MANGOSpotter(BackboneSpotter):
    """Centre lines and the cells of a grid find words; kernels of the cells attend to their
    characters; what is there is read in parallel.

    Qiao et al., MANGO: A Mask Attention Guided One-Stage Scene Text Spotter, AAAI 2021, in the form
    of the code released with it, which has no attention to instances (docs/mango.md).

    Args:
        backbone: an FPN; of its levels only `in_feature` is computed.
        in_feature: that level.
        center_line: finds words on the map.
        category: finds the cells that read words.
        reader: reads them.
        options: all that is no size of a layer.
        **kwargs: of `BackboneSpotter`.

    Raises:
        ValueError: if the backbone has no such level.
    """

    inference_keys = (
        *Spotter.inference_keys,
        "MODEL.BACKBONE.NAME",
        "MODEL.RESNETS.*",
        "MODEL.FPN.*",
        "MODEL.MANGO.IN_FEATURE",
        "MODEL.MANGO.GRID_*",
        "MODEL.MANGO.NORM",
        "MODEL.MANGO.*.*",
        "MODEL.MANGO.*_TEST",
    )

    @configurable
    def __init__(
        self,
        *,
        backbone: FPN,
        in_feature: str,
        center_line: CenterLineHead,
        category: CategoryHead,
        reader: CellReader,
        options: Options,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone=drop_other_levels(backbone, in_feature), **kwargs)
        self.in_feature = in_feature
        self.center_line = center_line
        self.category = category
        self.reader = reader
        self.options = options
        self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        shared, mango = super().from_config(cfg), cfg.MODEL.MANGO
        options, norm = Options.from_config(mango), mango.NORM
        backbone = build_backbone(cfg)
        levels = backbone.output_shape()
        if mango.IN_FEATURE not in levels:
            raise ValueError(
                f"MODEL.MANGO.IN_FEATURE: the backbone has no {mango.IN_FEATURE!r}, only "
                f"{', '.join(levels)}"
            )
        channels = levels[mango.IN_FEATURE].channels
        line, category, attention = mango.CENTER_LINE, mango.CATEGORY, mango.ATTENTION
        fusion, sequence = mango.FUSION, mango.SEQUENCE
        reader = CellReader(
            attention=CharacterAttention(
                channels,
                attention.CONV_DIM,
                num_conv=attention.NUM_CONV,
                norm=norm,
                length=shared["max_length"] + 1,
                local=attention.LOCAL,
            ),
            fusion=convolutions(channels, fusion.CONV_DIM, fusion.NUM_CONV, norm),
            context=ContextEncoder(
                channels=fusion.CONV_DIM,
                hidden_dim=sequence.HIDDEN_DIM,
                num_layers=sequence.NUM_LAYERS,
            ),
            decoder=PositionalDecoder(
                channels=fusion.CONV_DIM,
                hidden_dims=sequence.FC_DIMS,
                vocabulary=shared["vocabulary"],
            ),
            pooling=options.pooling,
        )
        return {
            "backbone": backbone,
            "in_feature": mango.IN_FEATURE,
            "center_line": CenterLineHead(channels, line.CONV_DIM, wide=line.WIDE, norm=line.NORM),
            "category": CategoryHead(
                channels, category.CONV_DIM, num_conv=category.NUM_CONV, norm=norm
            ),
            "reader": reader,
            "options": options,
            **shared,
        }

    @property
    def feature_shapes(self) -> Mapping[str, tuple[int, ...] | None]:
        channels, length = self.reader.context.channels, self.reader.length
        return {
            "roi": (channels, 1, length),
            "context": (1, length, channels),
            "score_map": None,
            "detection_loss": None,
        }

    @property
    def score_threshold(self) -> float:
        return self.options.score_threshold

    @score_threshold.setter
    def score_threshold(self, value: float) -> None:
        self.options.score_threshold = value

    def features(self, images: ImageList) -> _Maps:
        level = single_level_features(self.backbone, images.tensor, self.in_feature)
        features = level[self.in_feature]
        grid = grid_of(
            images,
            side=self.options.grid_size,
            shape=tuple(features.shape[-2:]),
            over=self.options.grid_over,
        )
        sampled = grid.sample(features)
        return _Maps(features, sampled, self.reader.maps(features, sampled, grid), grid)

    def read_rows(self, images: ImageList, rows: Rows, want: Collection[str]) -> Reading:
        maps = self.features(images)
        cells = one_cell_each(rows, word_cells(rows.truth, maps.grid), maps.grid)
        gathered = self.reader.gather(maps.reader, maps.grid, cells.number, cells.counts)
        reading, _ = self._read(cells, gathered, want)
        return self._with_detection(reading, maps, rows, want)

    def losses_and_rows(
        self, images: ImageList, targets: list[Instances], rows: Rows, want: Collection[str]
    ) -> tuple[dict[str, Tensor], Reading]:
        """`loss_center_line` and `loss_category` of detection, `loss_masks` of where characters
        are, if it has a weight, and `loss_rec` of reading."""
        options, reader, maps = self.options, self.reader, self.features(images)
        owners = word_cells(targets, maps.grid)
        cells = several_cells(rows, owners, maps.grid, every=options.rows == "cells")
        compared, forced = (
            options.mask_loss_weight > 0,
            options.draw_forced(len(cells), self.device),
        )
        slices = cells.slices(maps.grid) if compared or forced is not None else None
        gathered = reader.gather(
            maps.reader, maps.grid, cells.number, cells.counts, slices if compared else None
        )
        losses = {}
        if compared:
            wanted = slices.counts(len(cells), reader.length)
            judged = cells.judged_positions(reader.length, options.empty_after_end)
            losses["loss_masks"] = options.mask_loss_weight * mask_loss(gathered, wanted, judged)
        if forced is not None:
            gathered = reader.forced(gathered, forced, slices, maps.reader, cells.image_index)
        reading, nll = self._read(cells, gathered, want)
        number = (cells.texts != self.vocabulary.PADDING).sum().clamp(min=1)
        losses["loss_rec"] = options.reading_loss_weight * nll.sum() / number

        center_line = self.center_line(maps.features)
        lines = center_line_targets(targets, maps.grid, options.shrink_ratio)
        loss = center_line_loss(center_line, lines).mean()
        losses["loss_center_line"] = options.center_line_loss_weight * loss
        loss = category_loss(self.category(maps.sampled), owners)
        losses["loss_category"] = options.category_loss_weight * loss
        return losses, self._with_detection(reading, maps, rows, want, center_line)

    def find(self, images: ImageList, features: _Maps) -> list[Instances]:
        grid, options = features.grid, self.options
        lines = self.center_line(features.features).float().sigmoid()
        category = self.category(features.sampled).float().sigmoid()
        # All in one: the host waits for the device here, and once more for what was read.
        parts = [lines, category, grid.extent]
        together = torch.cat([part.flatten(1) for part in parts], dim=1).cpu().numpy()
        stops = np.cumsum([part[0].numel() for part in parts])[:-1]
        lines, category, extent = np.split(together, stops, axis=1)
        found = []
        for index in range(len(images)):
            rows, columns = grid.visible(index)
            words = find_words(
                lines[index].reshape(grid.shape)[:rows, :columns],
                category[index].reshape(grid.side, grid.side),
                extent=tuple(extent[index]),
                stride=grid.stride,
                **options.finding(),
            )
            found.append(words.at_least(options.score_threshold))
        return self._read_found(features, found)

    def read(self, look: Look, regions: Instances) -> list[str]:
        if len(regions) == 0:
            return []
        grid, maps = look.features.grid.image(look.index), look.features.reader.image(look.index)
        # What a word says does not matter, nor whether it can be read.
        given = Instances(regions.image_size, **regions.get_fields())
        given.gt_readable = torch.ones_like(regions.gt_readable)
        cells = one_cell_each(Rows.of([given]), word_cells([given], grid), grid)
        gathered = self.reader.gather(maps, grid, cells.number, cells.counts)
        context = self.reader.context(gathered.pooled(self.options.pooling))
        classes, _ = self.reader.decoder.greedy(context, self.max_length)
        return [self.vocabulary.decode(row) for row in classes.tolist()]

    @torch.no_grad()
    def attention_maps(self, images: ImageList, targets: list[Instances]) -> list[Tensor]:
        """Where the cells of ground-truth words look, for pictures.

        Returns:
            Per image (N, L, h, w) in [0, 1], of its readable words in target order, without
            padding.
        """
        maps, rows = self.features(images), Rows.of(targets)
        cells = one_cell_each(rows, word_cells(rows.truth, maps.grid), maps.grid)
        attention = []
        for image, number in enumerate(cells.number.split(cells.counts)):
            height, width = maps.grid.visible(image)
            seen = self.reader.attention_of(maps.reader, maps.grid, number, image)
            attention.append(seen[: 0 if rows.stand_in else None, :, :height, :width])
        return attention

    def onnx(self) -> OnnxSpotter:
        options = self.options
        return OnnxSpotter(
            kind="mango",
            graphs=graphs(self),
            settings={
                "score_threshold": options.score_threshold,
                "center_threshold": options.center_threshold,
                "category_threshold": options.category_threshold,
                "min_area": options.min_area,
                "unclip_ratio": options.unclip_ratio,
                "stride": self.backbone.output_shape()[self.in_feature].stride,
                "length": min(self.max_length, self.reader.length),
            },
        )

    def image_cost(self, image: Tensor) -> list[PartCost]:
        backbone, level, reader = self.backbone, self.in_feature, self.reader
        bottom_up = module_cost(backbone.bottom_up, image)
        whole = module_cost(lambda x: single_level_features(backbone, x, level), image)
        features = single_level_features(backbone, image, level)[level]
        grid = grid_of(
            ImageList(image, [tuple(image.shape[-2:])]),
            side=self.options.grid_size,
            shape=tuple(features.shape[-2:]),
            over="padded",
        )
        sampled = grid.sample(features)
        costs = {
            "backbone, bottom-up": bottom_up,
            "FPN": whole - bottom_up,
            "centre lines": module_cost(self.center_line, features),
            "grid category": module_cost(self.category, sampled),
            "kernels": module_cost(reader.attention.cells, sampled, grid),
            "mask features": module_cost(reader.attention.masks, features, grid),
            "fusion": module_cost(reader.fusion, features),
        }
        parts = [PartCost(name, per_image=cost, published=True) for name, cost in costs.items()]
        maps = reader.maps(features, sampled, grid)
        number = torch.zeros(1, dtype=torch.int64, device="meta")
        per_word = module_cost(reader.gather, maps, grid, number, [1]) - self._kernel_cost()
        return [*parts, PartCost("attention", per_region=per_word)]

    def region_cost(self) -> list[PartCost]:
        reader = self.reader
        word = torch.empty(1, reader.length, reader.context.channels, device="meta")
        return [
            PartCost("kernels of cells", per_region=self._kernel_cost()),
            PartCost("context", per_region=module_cost(reader.context, word)),
            PartCost("characters", per_region=module_cost(reader.decoder.layers, word)),
        ]

    def _kernel_cost(self) -> int:
        attention = self.reader.attention
        cell = torch.empty(1, attention.kernel.in_features, device="meta")
        number = torch.zeros(1, dtype=torch.int64, device="meta")
        return module_cost(attention.kernels, cell, number, self.options.grid_size)

    def _read(
        self, cells: CellRows, gathered: Gathered, want: Collection[str]
    ) -> tuple[Reading, Tensor]:
        """The reading of one row for each word, and (R,) -log p(text) of all rows."""
        fused = gathered.pooled(self.options.pooling)
        context = self.reader.context(fused)
        logits = self.reader.decoder(context, cells.texts)
        nll = self.reader.decoder.negative_log_likelihood(logits, cells.texts)
        first = cells.first
        known = {"roi": fused[first].transpose(1, 2)[:, :, None], "context": context[first]}
        reading = Reading(
            logits=logits[first],
            texts=cells.texts[first],
            image_index=cells.image_index[first],
            context=context[first],
            decoder=self.reader.decoder,
            features={name: value for name, value in known.items() if name in want},
        )
        return reading, nll

    def _with_detection(
        self,
        reading: Reading,
        maps: _Maps,
        rows: Rows,
        want: Collection[str],
        center_line: Tensor | None = None,
    ) -> Reading:
        """With what is wanted of detection; `center_line` is its map, if it is computed already."""
        if center_line is None and {"score_map", "detection_loss"} & set(want):
            center_line = self.center_line(maps.features)
        if "score_map" in want:
            sizes = [
                (height / maps.grid.stride, width / maps.grid.stride)
                for height, width in maps.grid.sizes
            ]
            reading = reading.with_feature("score_map", ScoreMap(center_line[:, None], sizes))
        if "detection_loss" in want:
            with torch.no_grad():
                wanted = center_line_targets(rows.truth, maps.grid, self.options.shrink_ratio)
                loss = center_line_loss(center_line, wanted)
            reading = reading.with_feature("detection_loss", loss)
        return reading

    def _read_found(self, maps: _Maps, found: list[FoundWords]) -> list[Instances]:
        classes, scores = self._vote(maps, found)
        texts = [self.vocabulary.decode(row) for row in classes.tolist()]
        numbers = [len(words.scores) for words in found]
        stops = np.cumsum(numbers).tolist()
        return [
            _instances(size, words, texts[stop - number : stop], scores[stop - number : stop])
            for size, words, number, stop in zip(
                maps.grid.sizes, found, numbers, stops, strict=True
            )
        ]

    def _vote(self, maps: _Maps, found: list[FoundWords]) -> tuple[Tensor, Tensor]:
        """Classes (W, max_length) and scores (W,) of all words of a batch."""
        number, word, weight, num_words = gather_cells(found, self.device)
        if num_words == 0:
            return number.new_zeros(0, self.max_length), weight
        counts = [len(words.cells) for words in found]
        gathered = self.reader.gather(maps.reader, maps.grid, number, counts)
        context = self.reader.context(gathered.pooled(self.options.pooling))
        decoder = self.reader.decoder
        logits = decoder.positions(context)[:, : self.max_length]
        return vote(logits, word, weight, num_words, decoder.end)


def _instances(
    size: tuple[int, int], words: FoundWords, texts: list[str], text_scores: Tensor
) -> Instances:
    device, (height, width) = text_scores.device, size
    polygons = np.clip(words.polygons, 0, np.array([width, height], dtype=np.float32))
    boxes = np.concatenate([polygons.min(axis=1), polygons.max(axis=1)], axis=1)
    found = Instances(size)
    found.pred_boxes = Boxes(to_device(boxes, device))
    found.scores = to_device(words.scores, device)
    found.pred_classes = torch.zeros(len(texts), dtype=torch.int64, device=device)
    found.pred_polygons = list(polygons)
    found.pred_texts = texts
    found.text_scores = text_scores
    return found
