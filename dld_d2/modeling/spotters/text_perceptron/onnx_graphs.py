"""Text Perceptron as networks: one that tells where words are, one that lays them straight and
encodes them, and one step of the decoder.

`dld_d2.deployment.runtime.text_perceptron` puts them together again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dld_d2.modeling.backbones.single_level import single_level_features
from dld_d2.modeling.onnx_graphs import OnnxGraph
from dld_d2.modeling.recognition.onnx_graphs import decoder_graph
from dld_d2.modeling.spotters.text_perceptron.side_regions import SideRegions
from dld_d2.modeling.spotters.text_perceptron.text_head import StraightenedTextHead

if TYPE_CHECKING:
    from dld_d2.modeling.spotters.text_perceptron.spotter import TextPerceptronSpotter

__all__ = ["graphs"]


class _DetectorGraph(nn.Module):
    def __init__(self, spotter: TextPerceptronSpotter) -> None:
        super().__init__()
        self.spotter = spotter

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            image: (1, 3, H, W), normalised and padded.

        Returns:
            (M, 16), see `words_of_cells`, and the feature map that is read, (1, C, h, w).
        """
        spotter = self.spotter
        features = single_level_features(spotter.backbone, image, spotter.in_feature)
        feature = features[spotter.in_feature]
        return spotter.packed_cells(spotter.head(feature))[:, 1:].float(), feature


class _EncoderGraph(nn.Module):
    def __init__(self, head: StraightenedTextHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, feature: Tensor, sides: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            feature: (1, C, h, w), the map that is read.
            sides: (N, 14, 2) of N >= 1 words in pixels.

        Returns:
            What the decoder attends to: (N, L, C), and its keys (N, L, D).
        """
        index = torch.zeros_like(sides[:, 0, 0], dtype=torch.int64)
        _, context = self.head.encode({self.head.in_feature: feature}, SideRegions(index, sides))
        return tuple(self.head.decoder.memory(context))


def graphs(spotter: TextPerceptronSpotter) -> dict[str, OnnxGraph]:
    """ "detector", see `_DetectorGraph`; "encoder", see `_EncoderGraph`; "decoder", see
    `dld_d2.modeling.recognition.onnx_graphs`."""
    head = spotter.text_head
    rows, columns, _ = head.feature_shapes["context"]
    shape = spotter.backbone.output_shape()[spotter.in_feature]
    image = torch.zeros(1, 3, 128, 160)
    feature = torch.zeros(1, shape.channels, *(side // shape.stride for side in image.shape[2:]))
    x = torch.linspace(8, 60, 7)
    upper, lower = (torch.stack([x, torch.full_like(x, y)], dim=1) for y in (8.0, 30.0))
    return {
        "detector": OnnxGraph(
            _DetectorGraph(spotter),
            {"image": image},
            ("cells", "feature"),
            {
                "image": {2: "height", 3: "width"},
                "cells": {0: "cells"},
                "feature": {2: "rows", 3: "columns"},
            },
        ),
        "encoder": OnnxGraph(
            _EncoderGraph(head),
            {"feature": feature, "sides": torch.cat([upper, lower]).repeat(2, 1, 1)},
            ("context", "keys"),
            {
                "feature": {2: "rows", 3: "columns"},
                "sides": {0: "words"},
                "context": {0: "words"},
                "keys": {0: "words"},
            },
        ),
        "decoder": decoder_graph(head.decoder, rows * columns),
    }
