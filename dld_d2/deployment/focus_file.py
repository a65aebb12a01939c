"""Writing a network that looks first as one ONNX file."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn

import dld_d2
from dld_d2.deployment.onnx_export import write_graph
from dld_d2.deployment.runtime.focus import FocusCard
from dld_d2.deployment.runtime.network_file import METADATA_KEY
from dld_d2.engine.config_sources import ConfigError
from dld_d2.modeling.cost.multiply_adds import module_cost
from dld_d2.modeling.focus.focus_map import FocusMap
from dld_d2.modeling.onnx_graphs import OnnxGraph

__all__ = ["NOTICE", "save_focus"]

NOTICE = (
    "Its first layers may come from PP-OCRv6 small (Apache-2.0, the PaddlePaddle authors), tuned."
)
_COSTED = (320, 320)  # pixels; what a pixel costs hardly depends on their number


class _Whole(nn.Module):
    """(1, H, W, 3) uint8 in the format that the model was trained with, H and W multiples of 16 ->
    the probability of a word at each place, and its height, both (1, H / 8, W / 8)."""

    def __init__(self, model: FocusMap) -> None:
        super().__init__()
        self.network = model.network
        self.register_buffer("mean", model.pixel_mean)
        self.register_buffer("std", model.pixel_std)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        text, height = self.network((image.permute(0, 3, 1, 2).float() - self.mean) / self.std)
        return text.sigmoid(), height


def save_focus(
    model: FocusMap, path: str | os.PathLike[str], *, image_format: str, half: bool = False
) -> FocusCard:
    """Write a network with its card, at once.

    Args:
        model: with its weights.
        path: of the file.
        image_format: order of the channels that it learnt with; only "BGR" is what is read later.
        half: see `dld_d2.deployment.onnx_export.save_onnx`.

    Raises:
        ConfigError: for another order of the channels, and if the package onnx is missing.
        OSError: if the file cannot be written.
    """
    if image_format != "BGR":
        raise ConfigError(f"INPUT.FORMAT: {image_format}; a network that looks first takes BGR")
    try:
        import onnx  # noqa: F401 (what torch.onnx writes with)
    except ImportError:
        raise ConfigError("exporting to ONNX needs the package onnx: pip install onnx") from None
    pixels = torch.zeros(1, 3, *_COSTED, device=model.device)
    card = FocusCard(
        input_scale=model.input_scale,
        rule=model.rule,
        multiply_adds=module_cost(model.network, pixels) / (_COSTED[0] * _COSTED[1]),
        made_with=dld_d2.__version__,
        notice=NOTICE,
    )
    graph = OnnxGraph(
        _Whole(model),
        {"image": torch.zeros(1, 64, 96, 3, dtype=torch.uint8)},
        ("text", "height"),
        {
            "image": {1: "height", 2: "width"},
            "text": {1: "rows", 2: "columns"},
            "height": {1: "rows", 2: "columns"},
        },
    )
    write_graph(graph, Path(path), {METADATA_KEY: card.to_json()}, half=half)
    return card
