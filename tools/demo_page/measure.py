"""What the models read in the scenes, how long that takes and what it costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from benchmark_suite.turns import fixed_scale
from detectron2.data import DatasetCatalog
from torch import Tensor

from dld_d2.commands.console import progress
from dld_d2.deployment.predictor import TextSpotter
from dld_d2.deployment.pretrained import names
from dld_d2.deployment.result import SpottingResult, Word
from dld_d2.evaluation import DONT_CARE, ImageLexicons, Lexicon
from dld_d2.modeling.cost.parts import PAPER_UNIT
from dld_d2.structures.word import Word as TrueWord
from dld_d2.synthetic import SceneConfig
from dld_d2.synthetic.catalog import scene_lexicon

__all__ = [
    "DATASET",
    "MODELS",
    "Model",
    "Reading",
    "Scene",
    "Sweep",
    "by_regime",
    "load_lexicons",
    "load_models",
    "load_scenes",
    "read_at_every_scale",
    "read_scene",
]

DATASET = "synthetic_test"


@dataclass(frozen=True)
class Model:
    """One row of the table.

    Attributes:
        key: what the code calls it.
        label: what the page calls it.
        weights: as `dld_d2.deployment.pretrained.names()` lists them.
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
        result: all that the model told; None where nobody asks for it.
    """

    words: tuple[Word, ...]
    scale: float
    published: float
    whole: float
    seconds: float
    result: SpottingResult | None = None


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


def read_scene(spotter: TextSpotter, scene: Scene) -> Reading:
    """Read a scene, and tell what that took."""
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
        result,
    )


def read_at_every_scale(
    spotter: TextSpotter,
    scenes: Sequence[Scene],
    chosen: Sequence[Reading],
) -> Sweep:
    """Read every scene at all scales of a student.

    Args:
        spotter: the student.
        scenes: to read.
        chosen: what it read at the scales that it chose, which is not read again.
    """
    readings: list[list[Reading]] = [[] for _ in spotter.scales]
    pairs = zip(scenes, chosen, strict=True)
    for scene, known in progress(pairs, "Reading", len(scenes)):
        for index, scale in enumerate(spotter.scales):
            if scale == known.scale:
                readings[index].append(known)
                continue
            with fixed_scale(spotter, index):
                readings[index].append(read_scene(spotter, scene))
    logits = [_raised(item) for item in spotter.scale_logits(scene.image for scene in scenes)]
    relative_cost = spotter.model.relative_cost.cpu()
    return Sweep(spotter.scales, relative_cost, torch.stack(logits), readings)


def by_regime(scenes: Sequence[Scene]) -> dict[str, list[int]]:
    """Regime -> indices of its scenes, for the regimes that there are."""
    members: dict[str, list[int]] = {name: [] for name in SceneConfig().regimes}
    for index, scene in enumerate(scenes):
        members[scene.regime].append(index)
    return {name: indices for name, indices in members.items() if indices}


def _scene(item: dict) -> Scene:
    truth = (
        TrueWord(
            np.asarray(word["segmentation"][0], dtype=np.float64).reshape(-1, 2),
            DONT_CARE if word["ignore"] else word["text"],
        )
        for word in item["annotations"]
    )
    return Scene(item["image_id"], item["read_image"]("BGR"), tuple(truth))


def _raised(item: Tensor | Exception) -> Tensor:
    if isinstance(item, Exception):
        raise item
    return item
