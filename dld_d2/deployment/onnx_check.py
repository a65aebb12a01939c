"""Whether exported networks read what the model reads that they were made of."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

import dld_d2.synthetic.builtin  # noqa: F401 (which registers)
from dld_d2.deployment.onnx_export import save_onnx
from dld_d2.deployment.predictor import TextSpotter
from dld_d2.deployment.result import SpottingResult
from dld_d2.deployment.runtime import OnnxSpotter
from dld_d2.deployment.runtime.description import FOCUS_FILE, Description
from dld_d2.deployment.runtime.focus import Focus
from dld_d2.engine.config_sources import ConfigError
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.structures.word import Word

__all__ = ["Comparison", "compare_networks", "differences", "export_networks"]

_PIXELS = 1.0  # by which outlines may differ
_CLOSE = 1e-3  # to its threshold, at which a confidence may fall on either side
_SHOWN = 3  # words of an image, in a message

# Parts of synthetic scenes, in units of their height and width, so that sizes differ.
_PARTS = ((1.0, 1.0), (0.5, 1.0), (1.0, 0.6), (0.45, 0.4))


class Comparison(NamedTuple):
    """What was read by both.

    Attributes:
        images: their number; one of them is empty.
        words: that the model read.
        different: a line on each image where the networks read something else.
    """

    images: int
    words: int
    different: list[str]


def export_networks(
    cfg: CfgNode,
    model: Spotter | DynamicSpotter,
    folder: str | os.PathLike[str],
    *,
    half: bool = False,
    focus: str | os.PathLike[str] | None = None,
) -> tuple[Description, Comparison]:
    """As `save_onnx`, but the folder gets the networks only if they read what the model reads.

    Both read whole images then; the file of a network that looks first, `focus`, is taken over as
    it is.

    Raises:
        ConfigError, ValueError: as `save_onnx`, and if they do not; the message says what they read
            instead.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as trial:
        if focus is not None:
            Focus(focus)  # says what is wrong with it before anything is exported
            shutil.copyfile(focus, Path(trial) / FOCUS_FILE)
        description = save_onnx(cfg, model, trial, half=half)
        comparison = compare_networks(cfg, model, trial)
        if comparison.different:
            raise ConfigError(
                f"{folder}: the networks were not kept: on {len(comparison.different)} of "
                f"{comparison.images} images they do not read what the model reads; "
                + "; ".join(comparison.different)
            )
        folder.mkdir(exist_ok=True)
        for name in description.graphs:
            os.replace(Path(trial) / f"{name}.onnx", folder / f"{name}.onnx")
        if focus is not None:
            os.replace(Path(trial) / FOCUS_FILE, folder / FOCUS_FILE)
            description = replace(description, focuses=True)
        description.save(folder)
        if focus is None:
            (folder / FOCUS_FILE).unlink(missing_ok=True)  # of an earlier export
    return description, comparison


def compare_networks(
    cfg: CfgNode,
    model: Spotter | DynamicSpotter,
    folder: str | os.PathLike[str],
    images: Sequence[np.ndarray] | None = None,
) -> Comparison:
    """Read images by a model and by its networks.

    Args:
        cfg: that the model was built of.
        model: with its weights.
        folder: that `save_onnx` wrote.
        images: (H, W, 3) uint8 in BGR; None for synthetic scenes of several sizes and one image
            without words.
    """
    spotter, runtime = TextSpotter(cfg, model=model), OnnxSpotter(folder, threads=0)
    runtime.focus = None
    close = [runtime.score_threshold, runtime.description.settings.get("text_threshold")]
    thresholds = [value for value in close if value is not None]
    number = words = 0
    different = []
    for image in _scenes() if images is None else images:
        expected, found = spotter(image), runtime(image)
        number += 1
        words += len(expected)
        if line := differences(expected, found, thresholds):
            height, width = image.shape[:2]
            different.append(f"{width} x {height} pixels: {line}")
    return Comparison(number, words, different)


def differences(
    expected: SpottingResult, found: SpottingResult, thresholds: Sequence[float] = ()
) -> str:
    """What two results differ in: scales, texts, outlines by more than a pixel.

    Args:
        expected, found: of one image.
        thresholds: of confidences; words that are close to one may be in one result alone.

    Returns:
        A line; empty if it is nothing.
    """
    if expected.scale != found.scale:
        return f"read at scale {found.scale:g} instead of {expected.scale:g}"
    rest, missing = list(found), []
    for word in expected:
        same = next((i for i, one in enumerate(rest) if _same(word, one)), None)
        if same is not None:
            del rest[same]
        elif not _close(word, thresholds):
            missing.append(word.text)
    extra = [word.text for word in rest if not _close(word, thresholds)]
    lines = (("not found", missing), ("found instead", extra))
    return "; ".join(f"{what}: {_several(texts)}" for what, texts in lines if texts)


def _several(texts: Sequence[str]) -> str:
    shown = ", ".join(map(repr, texts[:_SHOWN]))
    return shown if len(texts) <= _SHOWN else f"{shown} and {len(texts) - _SHOWN} more"


def _same(one: Word, other: Word) -> bool:
    if one.text != other.text:
        return False
    outlines = (shapely.LinearRing(word.polygon) for word in (one, other))
    return shapely.hausdorff_distance(*outlines) <= _PIXELS


def _close(word: Word, thresholds: Sequence[float]) -> bool:
    scores = (word.score, word.detection_score)
    return any(abs(score - value) < _CLOSE for score in scores for value in thresholds)


def _scenes() -> Iterator[np.ndarray]:
    dataset = DatasetCatalog.get("synthetic_test")
    for number, (rows, columns) in enumerate(_PARTS):
        scene = dataset[number]["read_image"]("BGR")
        height, width = scene.shape[:2]
        yield np.ascontiguousarray(scene[: round(rows * height), : round(columns * width)])
    yield np.full((200, 300, 3), 128, dtype=np.uint8)
