"""A trained model as ONNX networks, which `dld_d2.deployment.runtime` reads with.

The folder holds a network for each part, and `model.json`, which says how they fit together.
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

import dld_d2
from dld_d2.deployment.runtime.description import Choice, Description
from dld_d2.engine.config_sources import ConfigError
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.onnx_graphs import OnnxGraph
from dld_d2.modeling.selection.policies import DynamicScale
from dld_d2.modeling.selection.selector import ResolutionSelector
from dld_d2.modeling.spotters.contract import Spotter

__all__ = ["OPSET", "save_onnx", "write_graph"]

OPSET = 17
"""Of the networks. `GridSample` came with 16, `LayerNormalization` with 17."""


def save_onnx(
    cfg: CfgNode,
    model: Spotter | DynamicSpotter,
    folder: str | os.PathLike[str],
    *,
    half: bool = False,
) -> Description:
    """Write a model as networks.

    Args:
        cfg: that the model was built of.
        model: with its weights.
        folder: is made if it is not there; files of an earlier export are replaced, `model.json`
            last.
        half: store matrices and kernels in float16, so that the files are half as large. ONNX
            Runtime makes them float32 when it loads them, and computes in float32 as ever.

    Returns:
        What `model.json` says.

    Raises:
        ConfigError: if the spotter, or the way in which the model chooses scales, cannot be
            exported, or if the package onnx is missing.
        ValueError: naming a weight that is too large for `half`.
    """
    spotter = model.spotter if isinstance(model, DynamicSpotter) else model
    try:
        import onnx  # noqa: F401 (what torch.onnx writes with)

        parts = spotter.onnx()
    except ImportError:
        raise ConfigError("exporting to ONNX needs the package onnx: pip install onnx") from None
    except NotImplementedError as error:
        raise ConfigError(str(error)) from None
    graphs = dict(parts.graphs)
    choice = None
    if isinstance(model, DynamicSpotter):
        choice, selector = _choice(model)
        if selector is not None:
            graphs["selector"] = _selector_graph(selector)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, graph in graphs.items():
        write_graph(graph, folder / f"{name}.onnx", half=half)
    description = Description(
        kind=parts.kind,
        settings=dict(parts.settings),
        graphs=tuple(graphs),
        characters=spotter.vocabulary.characters,
        image_format=cfg.INPUT.FORMAT,
        short_side=cfg.INPUT.MIN_SIZE_TEST,
        long_side=cfg.INPUT.MAX_SIZE_TEST,
        pixel_mean=tuple(spotter.pixel_mean.flatten().tolist()),
        pixel_std=tuple(spotter.pixel_std.flatten().tolist()),
        multiple=spotter.size_divisibility,
        choice=choice,
        made_with=dld_d2.__version__,
    )
    description.save(folder)
    return description


def _choice(model: DynamicSpotter) -> tuple[Choice, ResolutionSelector | None]:
    policy, cost = model.policy, tuple(model.relative_cost.tolist())
    if isinstance(policy, DynamicScale):
        choice = Choice(
            scales=model.scales,
            relative_cost=cost,
            cost_bias=policy.cost_bias,
            input_scale=policy.selector.input_scale,
        )
        return choice, policy.selector
    return Choice(scales=model.scales, relative_cost=cost, fixed=policy.index), None


class _SelectorGraph(nn.Module):
    def __init__(self, selector: ResolutionSelector) -> None:
        super().__init__()
        self.selector = selector

    def forward(self, image: Tensor) -> Tensor:
        return self.selector.classifier(self.selector.features_of_shrunk(image))


def _selector_graph(selector: ResolutionSelector) -> OnnxGraph:
    """(1, 3, h, w), normalised, at the selector's scale and without padding -> (1, k)."""
    return OnnxGraph(
        _SelectorGraph(selector),
        {"image": torch.zeros(1, 3, 64, 96)},
        ("logits",),
        {"image": {2: "height", 3: "width"}},
    )


def write_graph(
    graph: OnnxGraph,
    path: Path,
    metadata: Mapping[str, str] = MappingProxyType({}),
    *,
    half: bool = False,
) -> None:
    """Write a network, at once.

    Args:
        graph: see there.
        path: of the file.
        metadata: by keys, what is written into the file beside the network.
        half: store matrices and kernels in float16.
    """
    # The exporter by tracing; the newer one needs one more package, and is the default since 2.9.
    options: dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    part = path.with_name(f".{path.name}.part")
    module = graph.module.eval()
    inputs = tuple(value.to(_device(module)) for value in graph.inputs.values())
    with warnings.catch_warnings(), torch.no_grad():
        # That it is deprecated, and that a condition on a size is constant: the runtime keeps it.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            inputs,
            str(part),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes=_axes(graph.dynamic),
            opset_version=OPSET,
            **options,
        )
    if half:
        _halve(part)
    if metadata:
        import onnx

        network = onnx.load(part)
        onnx.helper.set_model_props(network, dict(metadata))
        onnx.save(network, part)
    os.replace(part, path)


def _halve(path: Path) -> None:
    import onnx

    network = onnx.load(path)
    casts = []
    for weight in network.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        values = onnx.numpy_helper.to_array(weight)
        name = weight.name
        with np.errstate(over="ignore"):
            halved = values.astype(np.float16)
        if not np.isfinite(halved).all():
            raise ValueError(f"{name} holds values beyond the range of float16; export in full")
        weight.CopyFrom(onnx.numpy_helper.from_array(halved, f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=1))  # float32
    # Before all that takes them.
    nodes = [*casts, *network.graph.node]
    del network.graph.node[:]
    network.graph.node.extend(nodes)
    onnx.save(network, path)


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _axes(dynamic: Mapping[str, Mapping[int, str]]) -> dict[str, dict[int, str]]:
    return {name: dict(axes) for name, axes in dynamic.items()}
