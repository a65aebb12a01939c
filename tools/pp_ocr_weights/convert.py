"""From the weights of two ONNX graphs to those of our modules.

The graphs name their weights by numbers. Their nodes stand in the order in which they run, and so
do our modules below: weight by weight, with every shape checked, one is assigned to the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from dld_d2.modeling.recognition.ctc_decoder import CTCDecoder
from dld_d2.modeling.spotters.pp_ocr.detector import Detector
from dld_d2.modeling.spotters.pp_ocr.recogniser import Recogniser
from dld_d2.structures.vocabulary import Vocabulary
from pp_ocr_weights.wheel import Weights

__all__ = ["Characters", "convert", "load_detector", "load_recogniser"]


class Characters(NamedTuple):
    """The layer that tells characters apart, and which they are.

    Attributes:
        weight, bias: (classes, 120) and (classes,), the blank first.
        names: of the classes after the blank.
    """

    weight: Tensor
    bias: Tensor
    names: list[str]


def convert(weights: Weights, vocabulary: Vocabulary, path: Path) -> None:
    """Write the weights of `PPOCRSpotter`, and the notice of their licence beside them.

    The head that only training has starts from PyTorch's random weights, of a fixed seed.

    Raises:
        ValueError: for a character that PP-OCRv6 does not know, or if the graphs are not as
            expected.
    """
    torch.manual_seed(0)
    detector, recogniser = Detector(), Recogniser()
    load_detector(detector, weights.detector)
    characters = load_recogniser(recogniser, weights.recogniser)
    decoder = choose_characters(characters, vocabulary)
    parts = {"detector": detector, "recogniser": recogniser, "decoder": decoder}
    state = {
        f"{part}.{name}": value
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": state}, path)
    path.with_suffix(".NOTICE.md").write_text(weights.notice, encoding="utf-8")


def load_detector(detector: Detector, graph: bytes) -> None:
    """Give a detector the weights of the graph; its head `border` stays as it is."""
    neck = detector.neck
    down = list(reversed(range(len(neck.lateral))))
    modules = [
        detector.backbone,
        *(neck.lateral[level] for level in down),
        *(part[level] for level in down for part in (neck.places, neck.output)),
        detector.score,
    ]
    _assign([p for module in modules for p in module.parameters()], _weights(graph))


def load_recogniser(recogniser: Recogniser, graph: bytes) -> Characters:
    """Give a recogniser the weights of the graph, batch norms folded in.

    Returns:
        The layer after it.
    """
    weights = _weights(graph)
    backbone = list(recogniser.backbone.parameters())
    _assign(backbone, weights[: len(backbone)])
    rest = iter(weights[len(backbone) :])
    for part in (recogniser.short, recogniser.reduce, recogniser.local):
        _assign(list(part.conv.parameters()), _folded(*(next(rest) for _ in range(5))))
    sequence = [*recogniser.layers.parameters(), *recogniser.norm.parameters()]
    _assign(sequence, [next(rest) for _ in sequence])
    weight, bias = (torch.from_numpy(np.array(value)) for value in rest)
    names = _metadata(graph)["character"].splitlines()
    names.append(" ")
    if len(bias) != len(names) + 1:
        raise ValueError(f"the recogniser has {len(bias)} classes for {len(names)} characters")
    return Characters(weight, bias, names)


def choose_characters(characters: Characters, vocabulary: Vocabulary) -> CTCDecoder:
    """A decoder that knows the vocabulary's characters alone.

    Among them the order of probabilities stays as it is: what was read with all characters, and
    consists of these, is read.

    Raises:
        ValueError: for a character that is not among them.
    """
    row_of = {name: row for row, name in enumerate(characters.names, start=1)}
    unknown = [c for c in vocabulary.characters if c not in row_of]
    if unknown:
        raise ValueError(f"PP-OCRv6 does not know these characters: {' '.join(unknown)}")
    rows = [*(row_of[c] for c in vocabulary.characters), 0]
    decoder = CTCDecoder(characters.weight.shape[1], vocabulary)
    with torch.no_grad():
        decoder.classifier.weight.copy_(characters.weight[rows])
        decoder.classifier.bias.copy_(characters.bias[rows])
    return decoder


def _weights(content: bytes) -> list[np.ndarray]:
    """Of all layers, in the order in which they run, as PyTorch lays them out."""
    graph = onnx.load_from_string(content).graph
    values = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    same: dict[str, str] = {}
    found = []
    for node in graph.node:
        inputs = [same.get(name, name) for name in node.input]
        if node.op_type == "Identity":
            same[node.output[0]] = inputs[0]
        elif node.op_type == "Constant":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        else:
            found += _of_node(node.op_type, [values[name] for name in inputs if name in values])
    return found


def _of_node(kind: str, values: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Those of one node; numbers that are no weights, such as slopes of a gate, left out."""
    for value in values:
        if kind == "MatMul":
            yield np.ascontiguousarray(value.T)
        elif kind == "Add" and value.ndim == 4:
            yield value.reshape(-1)
        elif kind in ("Conv", "ConvTranspose", "BatchNormalization") or (
            kind in ("Add", "Mul") and value.size > 4
        ):
            yield value


def _folded(
    weight: np.ndarray, scale: np.ndarray, shift: np.ndarray, mean: np.ndarray, var: np.ndarray
) -> list[np.ndarray]:
    """A convolution and the batch norm after it as one convolution with a bias."""
    factor = scale / np.sqrt(var + 1e-5)
    return [weight * factor[:, None, None, None], shift - mean * factor]


def _metadata(content: bytes) -> dict[str, str]:
    return {item.key: item.value for item in onnx.load_from_string(content).metadata_props}


@torch.no_grad()
def _assign(parameters: Sequence[nn.Parameter], values: Sequence[np.ndarray]) -> None:
    if len(parameters) != len(values):
        raise ValueError(f"the graph has {len(values)} weights, the module {len(parameters)}")
    for parameter, value in zip(parameters, values, strict=True):
        if tuple(parameter.shape) != value.shape:
            raise ValueError(f"a weight is {value.shape}, expected {tuple(parameter.shape)}")
        parameter.copy_(torch.from_numpy(np.array(value)))
