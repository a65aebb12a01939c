"""How the scale of each image is chosen."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from detectron2.structures import ImageList
from torch import Tensor, nn

from dld_d2.modeling.selection.selector import ResolutionSelector, select

__all__ = ["DynamicScale", "FixedScale", "RandomScale", "ScalePolicy"]


class ScalePolicy(nn.Module, ABC):
    """Chooses among k candidate scales for each image of a batch, at full resolution."""

    def logits(self, images: ImageList) -> Tensor | None:
        """(B, k), by which scales are chosen; None for a policy that does not look at images."""
        return None

    @abstractmethod
    def choose(self, images: ImageList, relative_cost: Tensor) -> Tensor:
        """Choices for inference, deterministic.

        Args:
            images: at full resolution.
            relative_cost: (k,) cost of each candidate in units of the full resolution's.

        Returns:
            (B,) int64.
        """

    def draw(self, images: ImageList) -> Tensor:
        """Choices for training where nothing is learnt of choosing, (B,) int64."""
        raise TypeError(f"a {type(self).__name__} chooses as it has learnt; it does not draw")


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

    def choose(self, images: ImageList, relative_cost: Tensor) -> Tensor:
        return self.draw(images)

    def draw(self, images: ImageList) -> Tensor:
        return torch.full((len(images),), self.index, device=images.device)


class RandomScale(FixedScale):
    """Any candidate in training, always the same one at inference."""

    def choose(self, images: ImageList, relative_cost: Tensor) -> Tensor:
        return FixedScale.draw(self, images)

    def draw(self, images: ImageList) -> Tensor:
        return torch.randint(self.num_candidates, (len(images),), device=images.device)


class DynamicScale(ScalePolicy):
    """What the selector finds best.

    Args:
        selector: gives logits of the candidates.
        cost_bias: at inference this times the relative cost is subtracted from the logits.
    """

    def __init__(self, selector: ResolutionSelector, *, cost_bias: float = 0.0) -> None:
        super().__init__()
        self.selector = selector
        self.cost_bias = cost_bias
        self.prior: np.ndarray | None = None  # (k,) float32, is added to the logits at inference

    def logits(self, images: ImageList) -> Tensor:
        return self.selector(images.tensor, images.image_sizes)

    @torch.no_grad()
    def choose(self, images: ImageList, relative_cost: Tensor) -> Tensor:
        logits = self.logits(images)
        if self.prior is not None:
            logits = logits + torch.from_numpy(self.prior).to(logits)
        return select(logits, self.cost_bias, relative_cost)
