"""Writing a trained selector as one ONNX file."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from dld_d2.deployment.any_engine.network import MistakeMap, TextFeatures, WholeSelector
from dld_d2.deployment.onnx_export import write_graph
from dld_d2.deployment.runtime.network_file import METADATA_KEY
from dld_d2.deployment.runtime.scale_selector import SelectorCard
from dld_d2.engine.config_sources import ConfigError
from dld_d2.modeling.onnx_graphs import OnnxGraph

__all__ = ["NOTICE", "save_selector"]

NOTICE = "The first layers are of PP-OCRv6 small (Apache-2.0, the PaddlePaddle authors), tuned."


def save_selector(
    features: TextFeatures,
    mistakes: MistakeMap,
    card: SelectorCard,
    path: str | os.PathLike[str],
) -> None:
    """Write the whole selector with its card, at once.

    Raises:
        ConfigError: if the package onnx is missing.
        OSError: if the file cannot be written.
    """
    try:
        import onnx  # noqa: F401 (what torch.onnx writes with)
    except ImportError:
        raise ConfigError("writing a selector needs the package onnx: pip install onnx") from None
    graph = OnnxGraph(
        WholeSelector(features, mistakes),
        {"image": torch.zeros(1, 64, 96, 3, dtype=torch.uint8)},
        ("logits",),
        {"image": {1: "height", 2: "width"}},
    )
    write_graph(graph, Path(path), {METADATA_KEY: card.to_json()})
