"""The spotter of photographs as two networks: one that finds words, and one that reads them.

`dld_d2.deployment.runtime.pp_ocr` puts them together again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dld_d2.modeling.onnx_graphs import OnnxGraph
from dld_d2.modeling.recognition.ctc_decoder import CTCDecoder
from dld_d2.modeling.spotters.pp_ocr.detector import Detector
from dld_d2.modeling.spotters.pp_ocr.lines import HEIGHT
from dld_d2.modeling.spotters.pp_ocr.recogniser import Recogniser
from dld_d2.modeling.spotters.pp_ocr.straightening import cut_rectangles

__all__ = ["detector_graph", "reader_graph"]


class _DetectorGraph(nn.Module):
    """(1, 3, H, W), normalised, sides multiples of 32 -> (H, W) probabilities."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> Tensor:
        return self.detector(image)[0].sigmoid()


class _ReaderGraph(nn.Module):
    """Reads rectangles of one width."""

    def __init__(self, recogniser: Recogniser, decoder: CTCDecoder) -> None:
        super().__init__()
        self.recogniser = recogniser
        self.decoder = decoder

    def forward(self, image: Tensor, corners: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            image: (1, 3, H, W), normalised.
            corners: (N, 4, 2) in pixels, clockwise from where the word begins, N >= 1.
            u: (K * width,) where samples lie along the word, in (0, 1).
            v: (K * 48,) where they lie across it; K by K samples are averaged.

        Returns:
            (N, width / 8) int64, the most probable class of each position, and its probability,
            float32.
        """
        words = cut_rectangles(image, corners, u, v, HEIGHT)
        logits = self.decoder(self.recogniser(words).context)
        probability, best = logits.softmax(dim=-1).max(dim=-1)
        return best, probability


def detector_graph(detector: Detector) -> OnnxGraph:
    """See `_DetectorGraph`."""
    return OnnxGraph(
        _DetectorGraph(detector),
        {"image": torch.zeros(1, 3, 64, 96)},
        ("scores",),
        {"image": {2: "height", 3: "width"}, "scores": {0: "height", 1: "width"}},
    )


def reader_graph(recogniser: Recogniser, decoder: CTCDecoder) -> OnnxGraph:
    """See `_ReaderGraph`."""
    corners = torch.tensor([[[8.0, 8], [40, 8], [40, 20], [8, 20]]])
    return OnnxGraph(
        _ReaderGraph(recogniser, decoder),
        {
            "image": torch.zeros(1, 3, 64, 96),
            "corners": corners.repeat(2, 1, 1),
            "u": (torch.arange(2 * 64) + 0.5) / (2 * 64),
            "v": (torch.arange(2 * HEIGHT) + 0.5) / (2 * HEIGHT),
        },
        ("classes", "probabilities"),
        {
            "image": {2: "height", 3: "width"},
            "corners": {0: "words"},
            "u": {0: "samples_along"},
            "v": {0: "samples_across"},
            "classes": {0: "words", 1: "positions"},
            "probabilities": {0: "words", 1: "positions"},
        },
    )
