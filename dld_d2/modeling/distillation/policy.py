"""How the scale of each image is chosen."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from detectron2.structures import ImageList
from torch import Tensor, nn

from .selector import ResolutionSelector, gumbel_select, select

__all__ = ["DynamicScale", "FixedScale", "RandomScale", "ScalePolicy"]


class ScalePolicy(nn.Module, ABC):
    """Chooses among k candidate scales for each image of a batch."""

    learned = False

    @abstractmethod
    def sample(self, images: ImageList) -> Tensor:
        """Choices for training, (B, k) one-hot; a learned policy's carry gradients into it."""

    def sample_with_logits(self, images: ImageList) -> tuple[Tensor, Tensor | None]:
        """What `sample` gives, and the logits (B, k) that it was drawn by, if there are any."""
        return self.sample(images), None

    @abstractmethod
    def choose(self, images: ImageList) -> Tensor:
        """Choices for inference, (B,) int64, deterministic."""


class FixedScale(ScalePolicy):
    """Always the same candidate.

    Args:
        index: of the candidate.
        num_candidates: k.
    """

    def __init__(self, index: int, num_candidates: int) -> None:
        super().__init__()
        self.index = index
        self.num_candidates = num_candidates

    def sample(self, images: ImageList) -> Tensor:
        return F.one_hot(self.choose(images), self.num_candidates).to(images.tensor.dtype)

    def choose(self, images: ImageList) -> Tensor:
        return torch.full((len(images),), self.index, device=images.device)


class RandomScale(FixedScale):
    """Any candidate in training, always the same one at inference."""

    def sample(self, images: ImageList) -> Tensor:
        choice = torch.randint(self.num_candidates, (len(images),), device=images.device)
        return F.one_hot(choice, self.num_candidates).to(images.tensor.dtype)


class DynamicScale(ScalePolicy):
    """What the selector says: drawn by Gumbel-softmax in training, the best at inference.

    Args:
        selector: gives logits of the candidates.
        relative_cost: (k,) cost of each candidate in units of the full resolution.
        cost_bias: at inference this times the cost is subtracted from the logits.

    Attributes:
        temperature: of the Gumbel-softmax; the trainer lowers it from epoch to epoch.
    """

    learned = True

    def __init__(
        self,
        selector: ResolutionSelector,
        relative_cost: Tensor,
        *,
        temperature: float,
        cost_bias: float = 0.0,
    ) -> None:
        super().__init__()
        self.selector = selector
        self.register_buffer("relative_cost", relative_cost, persistent=False)
        self.temperature = temperature
        self.cost_bias = cost_bias

    def logits(self, images: ImageList) -> Tensor:
        """(B, k)."""
        return self.selector(images.tensor, images.image_sizes)

    def sample(self, images: ImageList) -> Tensor:
        return self.sample_with_logits(images)[0]

    def sample_with_logits(self, images: ImageList) -> tuple[Tensor, Tensor]:
        logits = self.logits(images).float()
        return gumbel_select(logits, self.temperature), logits

    @torch.no_grad()
    def choose(self, images: ImageList) -> Tensor:
        return select(self.logits(images), self.cost_bias, self.relative_cost)
