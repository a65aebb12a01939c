"""How a selector learns to choose: what all ways of it share, and how they are found by name."""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from detectron2.config import CfgNode
from detectron2.structures import ImageList
from torch import Tensor

from dld_d2.modeling.recognition.reading import Reading
from dld_d2.modeling.selection.policies import ScalePolicy

__all__ = [
    "Candidate",
    "Choice",
    "ScaleLearning",
    "SelectorLearning",
    "Unlearned",
    "find_learning",
    "known_learnings",
    "register_learning",
]

_LEARNINGS: dict[str, type[SelectorLearning]] = {}


class Choice(NamedTuple):
    """Scales that were drawn for B images, and by what.

    Attributes:
        index: (B,) int64, which of the k candidates.
        selection: h, (B, k) one-hot, whose gradient reaches the selector; None if nothing is learnt
            by it.
        logits: the selector's, (B, k), likewise.
    """

    index: Tensor
    selection: Tensor | None = None
    logits: Tensor | None = None

    def of_first_images(self, count: int) -> Choice:
        return Choice(*(None if x is None else x[:count] for x in self))


class Candidate(NamedTuple):
    """What the student makes of B images at one of the k scales, without gradient.

    Attributes:
        reading: of their ground-truth regions; None where the learning does not read.
        spotting_errors: (B,) words that go wrong where they have to be found as well, see
            `dld_d2.distillation.spotting_errors`; None where it does not look at that.
    """

    reading: Reading | None
    spotting_errors: Tensor | None = None


class ScaleLearning(ABC):
    """Draws the scales of a training step, and says what choosing learns from it."""

    needs_teacher = False
    """Whether `losses` reads the teacher's reading."""

    needs: frozenset[str] = frozenset()
    """Features that the candidates' readings must hold, see `Reading`."""

    reads = True
    """Whether candidates shall have a reading."""

    by_spotting = False
    """Whether candidates shall have their spotting errors."""

    by_image = False
    """Whether `losses` are `losses_of` an `accuracy` that is each image's own, so that it can be
    remembered."""

    @abstractmethod
    def draw(self, policy: ScalePolicy, images: ImageList) -> Choice:
        """Draw a scale for each image, at full resolution."""

    def num_images(self, batch_size: int) -> int:
        """From how many of a batch's images, the first ones, something is learnt; 0: nothing is,
        and no candidates are passed."""
        return 0

    def losses(
        self,
        choice: Choice,
        candidates: Sequence[Candidate],
        teacher: Reading | None,
        relative_cost: Tensor,
    ) -> dict[str, Tensor]:
        """Weighted losses of choosing; they reach the policy alone.

        Args:
            choice: for the images from which something is learnt.
            candidates: of these images, at each of the k scales.
            teacher: of these images; None unless `needs_teacher`.
            relative_cost: (k,).
        """
        return {}

    def accuracy(
        self, candidates: Sequence[Candidate], teacher: Reading | None, num_images: int
    ) -> Tensor:
        """L_acc of each image at each scale, (B, k), without gradient."""
        raise TypeError(f"a {type(self).__name__} does not know images one by one")

    def losses_of(
        self, choice: Choice, accuracy: Tensor, relative_cost: Tensor
    ) -> dict[str, Tensor]:
        """`losses`, where `accuracy` is known."""
        raise TypeError(f"a {type(self).__name__} does not know images one by one")


class Unlearned(ScaleLearning):
    """For a policy that has nothing to learn."""

    def draw(self, policy: ScalePolicy, images: ImageList) -> Choice:
        return Choice(policy.draw(images))


class SelectorLearning(ScaleLearning):
    """What the ways in which a selector learns share: L_DRS = L_acc + gamma L_flops.

    Args:
        loss_weight: lambda 2.
        gamma: how much cost weighs.
        accuracy_target: what L_acc is: the divergence of reading from the "teacher" or from the
            "ground_truth"; or "spotting", the number of words that go wrong where they have to be
            found as well, and then gamma is in words.
        detection_weight: how much the detection loss of an image weighs in L_acc beside the
            divergence of its reading; at 0 detection is not looked at.
        batch_fraction: of a batch's images, at least one, from which the selector learns.
        temperature: of the Gumbel-softmax; the trainer lowers it from epoch to epoch.
    """

    name: str

    def __init__(
        self,
        *,
        loss_weight: float = 1.0,
        gamma: float = 0.1,
        accuracy_target: str = "teacher",
        detection_weight: float = 0.0,
        batch_fraction: float = 1.0,
        temperature: float = 5.0,
    ) -> None:
        key = "MODEL.DISTILL.SELECTOR"
        if not loss_weight > 0:
            raise ValueError(
                f"{key}.LOSS_WEIGHT is {loss_weight}; the selector learns from L_DRS alone, so it "
                'must be above 0. Without a selector, take MODEL.DYNAMIC.POLICY "fixed" or "random"'
            )
        if gamma < 0:
            raise ValueError(
                f"{key}.GAMMA is {gamma}; it must be at least 0, where cost does not matter"
            )
        if accuracy_target not in ("teacher", "ground_truth", "spotting"):
            raise ValueError(
                f'{key}.ACCURACY_TARGET must be "teacher", "ground_truth" or "spotting", got '
                f"{accuracy_target!r}"
            )
        if detection_weight < 0:
            raise ValueError(
                f"{key}.DETECTION_WEIGHT is {detection_weight}; it must be at least 0, where "
                "detection does not matter"
            )
        if not 0 < batch_fraction <= 1:
            raise ValueError(f"{key}.BATCH_FRACTION must be in (0, 1], got {batch_fraction}")
        if not temperature > 0:
            raise ValueError(f"{key}.TAU_INIT is {temperature}; a temperature is above 0")
        self.loss_weight = loss_weight
        self.gamma = gamma
        self.needs_teacher = accuracy_target == "teacher"
        self.by_spotting = accuracy_target == "spotting"
        self.detection_weight = detection_weight
        if detection_weight > 0:
            self.needs = frozenset({"detection_loss"})
        self.reads = not self.by_spotting or detection_weight > 0
        self.batch_fraction = batch_fraction
        self.temperature = temperature

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        """Add the keys of this way alone to its section of MODEL.DISTILL."""

    @classmethod
    def from_config(cls, cfg: CfgNode) -> SelectorLearning:
        """Build it of MODEL.DISTILL.

        Raises:
            ValueError: naming the key, for a value that cannot be used.
        """
        return cls(**cls.shared_arguments(cfg))

    @staticmethod
    def shared_arguments(cfg: CfgNode) -> dict:
        selector = cfg.MODEL.DISTILL.SELECTOR
        return {
            "loss_weight": selector.LOSS_WEIGHT,
            "gamma": selector.GAMMA,
            "accuracy_target": selector.ACCURACY_TARGET,
            "detection_weight": selector.DETECTION_WEIGHT,
            "batch_fraction": selector.BATCH_FRACTION,
            "temperature": selector.TAU_INIT,
        }

    def num_images(self, batch_size: int) -> int:
        return max(1, round(self.batch_fraction * batch_size))

    @staticmethod
    def stack(candidates: Sequence[Candidate]) -> Tensor:
        """(k, N, P, V) logits."""
        return torch.stack([candidate.reading.logits for candidate in candidates])

    def per_image(self, candidates: Sequence[Candidate]) -> Tensor | None:
        """(B, k) the part of L_acc that is known image by image, of detection and of spotting; None
        if neither is looked at."""
        known = None
        if self.by_spotting:
            known = torch.stack([c.spotting_errors for c in candidates], dim=1)
        if self.detection_weight > 0:
            losses = [c.reading.features["detection_loss"] for c in candidates]
            detection = self.detection_weight * torch.stack(losses, dim=1)
            known = detection if known is None else known + detection
        return known


def register_learning(name: str) -> Callable[[type[SelectorLearning]], type[SelectorLearning]]:
    """Make a way of learning known under a name, that of its section in capitals."""

    def register(learning: type[SelectorLearning]) -> type[SelectorLearning]:
        learning.name = name
        _LEARNINGS[name] = learning
        return learning

    return register


def known_learnings() -> dict[str, type[SelectorLearning]]:
    """All of them by name; each module of this package may register one."""
    package = importlib.import_module("dld_d2.distillation.learning")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    return dict(_LEARNINGS)


def find_learning(name: str) -> type[SelectorLearning]:
    """The way of learning that MODEL.DISTILL.SELECTOR.LEARNING names.

    Raises:
        ValueError: if there is none of that name.
    """
    known = known_learnings()
    if name not in known:
        raise ValueError(
            f"MODEL.DISTILL.SELECTOR.LEARNING: {name!r} is none of {', '.join(sorted(known))}"
        )
    return known[name]
