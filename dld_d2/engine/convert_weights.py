"""Bring weights from elsewhere into a file that `SpotterCheckpointer` loads.

    python -m dld_d2.engine.convert_weights IN OUT.pth

IN is a `.pkl` file of Detectron2's model zoo, or a ResNet in torchvision's naming (`.pth`, `.pt`,
`.safetensors`; timm names its ResNets alike). OUT.pth can be MODEL.WEIGHTS. No code in IN is run.
"""

from __future__ import annotations

import argparse
import codecs
import pickle
import re
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from dld_d2.engine.weights_file import read_pth, read_safetensors
from dld_d2.engine.whole_files import write_whole

__all__ = ["convert", "from_torchvision", "read_arrays"]

# What pickles of arrays are made of, under the names that old and new NumPy have for it.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_SCALAR = np.float32(0).__reduce__()[0]
_ALLOWED = {
    ("numpy", "ndarray"): ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): codecs.encode,
    **{
        (f"numpy.{core}.multiarray", name): function
        for core in ("core", "_core")
        for name, function in (("_reconstruct", _RECONSTRUCT), ("scalar", _SCALAR))
    },
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"holds {module}.{name}, which is no array")
        return _ALLOWED[module, name]


def read_arrays(path: str | Path) -> Any:
    """Read a pickle of arrays and plain values, and of nothing else.

    Raises:
        ValueError: naming the file, if there is anything else in it.
    """
    with open(path, "rb") as stream:
        try:
            return _ArrayUnpickler(stream, encoding="latin1").load()
        except Exception as error:  # damaged pickles may raise anything
            raise ValueError(f"{path}: not a pickle of arrays alone: {error}") from None


def from_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the parameters of torchvision's ResNets as Detectron2's backbone has them.

    The classifier is left out. The first convolution is turned to BGR images, which is what this
    project's configurations feed; its means and deviations per channel agree with ImageNet's.

    Args:
        state: torchvision's state dict, for RGB images.
    """
    renamed = {}
    for name, value in state.items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            continue
        if name == "conv1.weight":
            value = value.flip(1)
        if not name.startswith("layer"):
            name = f"stem.{name}"
        name = re.sub(r"layer(\d)", lambda match: f"res{int(match[1]) + 1}", name)
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        renamed[re.sub(r"bn(\d)", r"conv\1.norm", name)] = value.clone()
    return renamed


def convert(source: str | Path, target: str | Path) -> int:
    """Convert a file; see the module.

    Returns:
        The number of parameters written.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is none of the kinds that are known, or `target` is no `.pth`.
    """
    source, target = Path(source), Path(target)
    if target.suffix != ".pth":
        raise ValueError(f"{target}: the result is a .pth file, name it so")
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file")
    checkpoint = _from_zoo(source) if source.suffix == ".pkl" else _from_resnet(source)
    # Detectron2 then finds a parameter's place by the end of its name.
    checkpoint["matching_heuristics"] = True
    write_whole(target, lambda stream: torch.save(checkpoint, stream))
    return len(checkpoint["model"])


def _from_zoo(source: Path) -> dict[str, Any]:
    data = read_arrays(source)
    if not isinstance(data, dict):
        raise ValueError(f"{source}: expected a dictionary, found a {type(data).__name__}")
    if "model" in data and "__author__" in data:
        arrays, author = data["model"], str(data["__author__"])
    else:
        arrays, author = data.get("blobs", data), "Caffe2"
    model = {
        name: torch.from_numpy(np.array(value))
        for name, value in arrays.items()
        if isinstance(value, ndarray) and not name.endswith("_momentum")
    }
    if not model:
        raise ValueError(f"{source}: there is no array in it")
    return {"model": model, "__author__": author}


def _from_resnet(source: Path) -> dict[str, Any]:
    if source.suffix == ".safetensors":
        state, _ = read_safetensors(source)
    else:
        state = read_pth(source)
    if not isinstance(state, dict) or "layer1.0.conv1.weight" not in state:
        raise ValueError(f"{source}: not a ResNet in torchvision's naming")
    return {"model": from_torchvision(state), "__author__": "torchvision"}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="IN")
    parser.add_argument("target", metavar="OUT.pth")
    args = parser.parse_args(argv)
    try:
        count = convert(args.source, args.target)
    except (OSError, ValueError, pickle.UnpicklingError, RuntimeError) as error:
        sys.exit(f"convert_weights: {error}")
    print(f"{args.target}: {count} parameters")


if __name__ == "__main__":
    main()
