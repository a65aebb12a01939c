"""What the models read in the scenes, how long that takes and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from torch import Tensor

import dld_d2.data.builtin  # noqa: F401 (registers the data sets)
from dld_d2.analysis.cost_table import PAPER_UNIT
from dld_d2.data.synthetic.catalog import scene_lexicon
from dld_d2.evaluation import DONT_CARE, ImageLexicons, Lexicon
from dld_d2.evaluation.words import Word as TrueWord
from dld_d2.modeling.distillation import FixedScale
from dld_d2.predictor import TextSpotter
from dld_d2.spotting_result import Word
from dld_d2.weights import names

__all__ = [
    "DATASET",
    "MODELS",
    "Model",
    "Reading",
    "Scene",
    "Sweep",
    "fixed_scale",
    "load_lexicons",
    "load_models",
    "load_scenes",
    "read_at_every_scale",
    "read_in_turn",
]

DATASET = "synthetic_test"


@dataclass(frozen=True)
class Model:
    """One row of the table.

    Attributes:
        key: what the code calls it.
        label: what the page calls it.
        weights: as `dld_d2.weights.names()` lists them.
        resolution: of its input, as a fraction of the scenes' own.
        colour: in plots.
    """

    key: str
    label: str
    weights: str
    resolution: float = 1.0
    colour: str = "#000000"


MODELS = (
    Model("teacher", "Teacher", "tiny_teacher", colour="#222222"),
    Model("half", "Teacher at half resolution", "tiny_teacher", 0.5, "#8a8a8a"),
    Model("dld_0.1", "DLD, γ\u00a0=\u00a00.1", "tiny_dld", colour="#0072b2"),
    Model("dld_0.3", "DLD, γ\u00a0=\u00a00.3", "tiny_dld_gamma0.3", colour="#d55e00"),
)


@dataclass(frozen=True, eq=False)
class Scene:
    """A scene with its ground truth.

    Attributes:
        image_id: `test_00012_REGIME`.
        image: (H, W, 3) uint8, BGR.
        truth: polygons in pixels; those with the text `DONT_CARE` do not count.
    """

    image_id: str
    image: np.ndarray
    truth: tuple[TrueWord, ...]

    @property
    def regime(self) -> str:
        """How large its words are: "large", "medium", "small" or "mixed"."""
        return self.image_id.rpartition("_")[2]


@dataclass(frozen=True, eq=False)
class Reading:
    """What one model made of one scene.

    Attributes:
        words: found, polygons in pixels of the scene.
        scale: of the scene's sides at which the words were looked for.
        published: 2^30 multiply-adds of backbone, FPN and RPN head, as the paper counts.
        whole: 2^30 multiply-adds of everything, selector and words included.
        seconds: from the image in memory to the words.
    """

    words: tuple[Word, ...]
    scale: float
    published: float
    whole: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Sweep:
    """A student's readings at each of its scales.

    Attributes:
        scales: the k candidates.
        relative_cost: (k,) of each, the full resolution's being 1.
        logits: (N, k) of the selector.
        readings: for each scale those of the N scenes.
    """

    scales: tuple[float, ...]
    relative_cost: Tensor
    logits: Tensor
    readings: list[list[Reading]]


def load_scenes(number: int) -> list[Scene]:
    """The first scenes of the frozen test set, drawn now.

    Raises:
        ValueError: if the set does not have so many, or for none.
    """
    dataset = DatasetCatalog.get(DATASET)
    if not 1 <= number <= len(dataset):
        raise ValueError(f"--images {number}: {DATASET} has 1 to {len(dataset)} scenes to give")
    return [_scene(dataset[index]) for index in range(number)]


def load_lexicons() -> dict[str, Lexicon | ImageLexicons | None]:
    """Those of the whole test set, so that scores on a part of it compare with scores on all."""
    kinds = ("strong", "weak", "generic")
    return {"none": None} | {kind: scene_lexicon(DATASET, kind) for kind in kinds}


def load_models(models: Sequence[Model], size: int) -> dict[str, TextSpotter]:
    """The models by key, on the CPU.

    Args:
        models: which.
        size: short side of the scenes in pixels.

    Raises:
        FileNotFoundError: if weights are missing.
    """
    missing = sorted({model.weights for model in models} - set(names()))
    if missing:
        raise FileNotFoundError(
            f"the weights {', '.join(missing)} are not in dld_d2/weights; they come with the "
            "repository as .safetensors files: take a complete copy of it"
        )
    return {
        model.key: TextSpotter.pretrained(
            model.weights,
            device="cpu",
            opts=("INPUT.MIN_SIZE_TEST", str(round(size * model.resolution))),
        )
        for model in models
    }


def read_in_turn(
    spotters: Mapping[str, TextSpotter],
    scenes: Sequence[Scene],
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, list[Reading]]:
    """Read every scene with every model, one image at a time, model after model.

    So all models see the same machine, whatever else it does; who begins changes from scene to
    scene. What a model does for the first time, it does before.

    Args:
        spotters: by key.
        scenes: to read.
        progress: is told how many scenes are done.
    """
    for spotter in spotters.values():
        _warm_up(spotter, scenes[0])
    keys = list(spotters)
    readings: dict[str, list[Reading]] = {key: [] for key in keys}
    for number, scene in enumerate(scenes):
        first = number % len(keys)
        for key in keys[first:] + keys[:first]:
            readings[key].append(_read(spotters[key], scene))
        progress(number + 1)
    return readings


def read_at_every_scale(
    spotter: TextSpotter,
    scenes: Sequence[Scene],
    chosen: Sequence[Reading],
    progress: Callable[[int], None] = lambda done: None,
) -> Sweep:
    """Read every scene at all scales of a student.

    Args:
        spotter: the student.
        scenes: to read.
        chosen: what it read at the scales that it chose, which is not read again.
        progress: is told how many scenes are done.
    """
    readings: list[list[Reading]] = [[] for _ in spotter.scales]
    for number, (scene, known) in enumerate(zip(scenes, chosen, strict=True)):
        for index, scale in enumerate(spotter.scales):
            if scale == known.scale:
                readings[index].append(known)
                continue
            with fixed_scale(spotter, index):
                readings[index].append(_read(spotter, scene))
        progress(number + 1)
    logits = [_raised(item) for item in spotter.scale_logits(scene.image for scene in scenes)]
    relative_cost = spotter.model.relative_cost.cpu()
    return Sweep(spotter.scales, relative_cost, torch.stack(logits), readings)


def _scene(item: dict) -> Scene:
    truth = (
        TrueWord(
            np.asarray(word["segmentation"][0], dtype=np.float64).reshape(-1, 2),
            DONT_CARE if word["ignore"] else word["text"],
        )
        for word in item["annotations"]
    )
    return Scene(item["image_id"], item["read_image"]("BGR"), tuple(truth))


def _read(spotter: TextSpotter, scene: Scene) -> Reading:
    start = time.perf_counter()
    result = spotter(scene.image)
    seconds = time.perf_counter() - start
    cost = spotter.cost(result)
    resolution = result.input_size[0] / result.image_size[0]
    return Reading(
        result.words,
        result.scale * resolution,
        cost.published / PAPER_UNIT,
        cost.total / PAPER_UNIT,
        seconds,
    )


def _warm_up(spotter: TextSpotter, scene: Scene) -> None:
    _read(spotter, scene)
    if len(spotter.scales) > 1:
        for index in range(len(spotter.scales)):
            with fixed_scale(spotter, index):
                spotter(scene.image)
    spotter(scene.image)


@contextmanager
def fixed_scale(spotter: TextSpotter, index: int) -> Iterator[None]:
    """Within the context a student reads at one scale, and its selector does not run."""
    policy = spotter.model.policy
    spotter.model.policy = FixedScale(index, len(spotter.scales))
    try:
        yield
    finally:
        spotter.model.policy = policy


def _raised(item: Tensor | Exception) -> Tensor:
    if isinstance(item, Exception):
        raise item
    return item
