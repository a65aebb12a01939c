"""MANGO as two networks: one that finds words and makes what reading begins with, and one that
reads by cells.

`dld_d2.deployment.runtime.mango` puts them together again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from detectron2.layers import shapes_to_tensor
from torch import Tensor, nn

from dld_d2.modeling.backbones.single_level import single_level_features
from dld_d2.modeling.onnx_graphs import OnnxGraph
from dld_d2.modeling.spotters.mango.gathering import gather_in_image
from dld_d2.modeling.spotters.mango.grid import Grid

if TYPE_CHECKING:
    from dld_d2.modeling.spotters.mango.spotter import MANGOSpotter

__all__ = ["graphs"]

_MAPS = ("cells", "masks", "values", "coordinates", "seen")


class _DetectorGraph(nn.Module):
    def __init__(self, spotter: MANGOSpotter) -> None:
        super().__init__()
        self.spotter = spotter

    def forward(self, image: Tensor, size: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            image: (1, 3, H, W), normalised and padded.
            size: (2,) int64, height and width without padding.

        Returns:
            Probabilities of centre lines (h, w) and of cells (S, S); (2,) width and height in
            pixels of what the cells divide; and what `CellReader` reads with, of the cells and the
            P = h * w pixels of the map: cells (S * S, D), masks (D, P), values (C, P), coordinates
            (2, P), and seen (P,) bool.
        """
        spotter, options = self.spotter, self.spotter.options
        features = single_level_features(spotter.backbone, image, spotter.in_feature)
        features = features[spotter.in_feature]
        padded = shapes_to_tensor([image.shape[2], image.shape[3]], image.device)
        divided = size if options.grid_over == "image" else padded
        grid = Grid(
            options.grid_size,
            divided.flip(0)[None].to(image.dtype),
            [(size[0], size[1])],
            (features.shape[2], features.shape[3]),
            spotter.backbone.output_shape()[spotter.in_feature].stride,
        )
        sampled = grid.sample(features)
        maps = spotter.reader.maps(features, sampled, grid)
        lines = spotter.center_line(features).float().sigmoid()
        category = spotter.category(sampled).float().sigmoid()
        coordinates = (grid.map_coordinates() + 1) / 2 * grid.side
        return (
            lines.reshape(features.shape[2], features.shape[3]),
            category.reshape(grid.side, grid.side),
            grid.extent[0],
            maps.cells[0],
            maps.masks[0],
            maps.values[0],
            coordinates[0].flatten(1),
            grid.seen()[0].flatten(),
        )


class _ReaderGraph(nn.Module):
    def __init__(self, spotter: MANGOSpotter) -> None:
        super().__init__()
        self.spotter = spotter

    def forward(
        self,
        number: Tensor,
        cells: Tensor,
        masks: Tensor,
        values: Tensor,
        coordinates: Tensor,
        seen: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            number: (N,) int64 of N >= 1 cells.
            cells, masks, values, coordinates, seen: what `_DetectorGraph` gives.

        Returns:
            (N, L) int64, the most probable class of each position, and its probability, float32.
        """
        reader, options = self.spotter.reader, self.spotter.options
        kernels = reader.attention.kernels(cells[number], number, options.grid_size)
        gathered = gather_in_image(kernels, masks, values, coordinates, seen)
        context = reader.context(gathered.pooled(options.pooling))
        logits = reader.decoder.positions(context)[:, : self.spotter.max_length]
        probability, classes = logits.softmax(dim=-1).max(dim=-1)
        return classes, probability


def graphs(spotter: MANGOSpotter) -> dict[str, OnnxGraph]:
    """ "detector", see `_DetectorGraph`, and "reader", see `_ReaderGraph`."""
    image = torch.zeros(1, 3, 128, 160)
    detector = _DetectorGraph(spotter)
    inputs = {"image": image, "size": torch.tensor([120, 150])}
    with torch.no_grad():
        made = detector(*(value.to(spotter.device) for value in inputs.values()))
    free = {"masks": {1: "pixels"}, "values": {1: "pixels"}, "coordinates": {1: "pixels"}}
    free["seen"] = {0: "pixels"}
    return {
        "detector": OnnxGraph(
            detector,
            inputs,
            ("lines", "category", "extent", *_MAPS),
            {
                "image": {2: "height", 3: "width"},
                "lines": {0: "rows", 1: "columns"},
                **free,
            },
        ),
        "reader": OnnxGraph(
            _ReaderGraph(spotter),
            {"number": torch.tensor([0, 1]), **dict(zip(_MAPS, made[3:], strict=True))},
            ("classes", "probabilities"),
            {
                "number": {0: "cells_that_read"},
                **free,
                "classes": {0: "cells_that_read"},
                "probabilities": {0: "cells_that_read"},
            },
        ),
    }
