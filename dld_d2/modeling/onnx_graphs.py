"""The networks of a spotter as ONNX Runtime shall run them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

__all__ = ["OnnxGraph", "OnnxSpotter"]


class OnnxGraph(NamedTuple):
    """A network to export.

    Attributes:
        module: takes and gives tensors alone.
        inputs: examples, by the names that the inputs get, in the order in which `module` takes
            them. Their values do not matter, their types do.
        outputs: names of what `module` gives.
        dynamic: of inputs and outputs the dimensions that are free, each with a name.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    dynamic: Mapping[str, Mapping[int, str]]


class OnnxSpotter(NamedTuple):
    """A spotter as networks, and what else `dld_d2.deployment.runtime` has to know.

    Attributes:
        kind: names the module there that finds and reads words by them.
        graphs: by name.
        settings: thresholds and the like, values that JSON can hold.
    """

    kind: str
    graphs: Mapping[str, OnnxGraph]
    settings: Mapping[str, Any]
