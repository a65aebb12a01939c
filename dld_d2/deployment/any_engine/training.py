"""Teaching a selector what an engine gets wrong at each scale, on a CPU in minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dld_d2.data.images import as_bgr
from dld_d2.deployment.any_engine.examples import Example
from dld_d2.deployment.any_engine.network import STRIDE, MistakeMap, TextFeatures
from dld_d2.deployment.runtime.engines import Sides
from dld_d2.deployment.runtime.resizing import resize_by_area
from dld_d2.distillation.learning.losses import best_scale_loss
from dld_d2.structures.sizes import scaled_size

__all__ = ["Schedule", "View", "predict", "train", "views_of"]

_POINTS = 4  # along each side of a box, among which its words are shared out


@dataclass(frozen=True)
class View:
    """What the selector sees of an image, and what it shall say.

    Attributes:
        features: (2, C, h, w) float16, of the image and of its mirror image.
        density: (2, k, h, w) float32, the words that go wrong at each place.
        mistakes: (k,) float32, their sum.
    """

    features: Tensor
    density: Tensor
    mistakes: Tensor


@dataclass(frozen=True)
class Schedule:
    """How a selector learns.

    Attributes:
        epochs: passes over the images.
        batch_size: images of a step.
        learning_rate: at its highest, from where it falls to 0 along a cosine.
        weight_decay: of AdamW.
        choice_weight: of choosing the best scale, beside the map of what goes wrong; 0 for none.
        temperature: in words: scales that differ by less are nearly as good.
        cost_weights: in words for the reference's cost, among which each step draws one: what
            accuracy is weighed against.
        seed: of all that is random.
    """

    epochs: int = 60
    batch_size: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    choice_weight: float = 0.5
    temperature: float = 0.5
    cost_weights: tuple[float, float] = (0.3, 3.0)
    seed: int = 0


@torch.no_grad()
def views_of(
    examples: Iterable[Example], features: TextFeatures, sides: Sides, input_scale: float
) -> Iterator[View]:
    """Look at images.

    Args:
        examples: their images are read again.
        features: in evaluation mode.
        sides: of the full size.
        input_scale: of the full size, at which the selector looks.

    Raises:
        OSError: naming the file, if an image can no longer be read.
    """
    for example in examples:
        image = as_bgr(example.image)
        view = resize_by_area(image, scaled_size(sides.full(image.shape[:2]), input_scale))
        # Mirrored as an image, since the places of the features are no mirror images.
        both = torch.from_numpy(np.stack([view, view[:, ::-1]]))
        found = features(both).half()
        density = torch.from_numpy(_densities(example, view.shape[:2], tuple(found.shape[2:])))
        yield View(found, density, torch.from_numpy(example.mistakes).float())


def _densities(example: Example, view: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """(2, k, *shape) float32: each box's words, shared out among points within it."""
    k = len(example.mistakes)
    maps = np.zeros((2, k, *shape), dtype=np.float32)
    ratio = np.array([view[1] / example.size[1], view[0] / example.size[0]])
    steps = (np.arange(_POINTS) + 0.5) / _POINTS
    start, stop = example.boxes[:, :2] * ratio, example.boxes[:, 2:] * ratio
    points = start[:, None] + (stop - start)[:, None] * steps[None, :, None]  # M, P, 2
    for number in range(2):
        x = points[..., 0] if number == 0 else view[1] - points[..., 0]
        columns = np.clip(x / STRIDE, 0, shape[1] - 1).astype(int)  # M, P
        rows = np.clip(points[..., 1] / STRIDE, 0, shape[0] - 1).astype(int)
        places = rows[:, :, None], columns[:, None, :]
        share = np.broadcast_to(
            example.weights.T[:, :, None, None] / _POINTS**2, (k, len(points), _POINTS, _POINTS)
        )
        for scale in range(k):
            np.add.at(maps[number, scale], places, share[scale])
    return maps


def train(
    views: Sequence[View],
    relative_cost: Sequence[float],
    schedule: Schedule,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> MistakeMap:
    """Teach a map of mistakes.

    The loss is the Poisson likelihood of each place's words, which makes their sum over the image
    right, and the cross-entropy of choosing the scale with the least `mistakes + w cost`
    (`best_scale_loss`), for weights w of many budgets.

    Args:
        views: of the images to learn from, at least one.
        relative_cost: of the k scales.
        schedule: see there.
        progress: goes through the epochs.

    Returns:
        In evaluation mode.
    """
    generator = torch.Generator().manual_seed(schedule.seed)
    costs = torch.tensor(relative_cost, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(schedule.seed)
        model = MistakeMap(len(costs))
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        steps = schedule.epochs * -(-len(views) // schedule.batch_size)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in progress(range(schedule.epochs)):
            order = torch.randperm(len(views), generator=generator).tolist()
            for start in range(0, len(order), schedule.batch_size):
                batch = [views[i] for i in order[start : start + schedule.batch_size]]
                mirrored = torch.randint(2, (len(batch),), generator=generator).tolist()
                low, high = np.log(schedule.cost_weights)
                drawn = torch.rand(len(batch), 1, generator=generator)
                weight = (low + (high - low) * drawn).exp()
                loss = _loss(model, batch, mirrored, costs * weight, schedule)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                falling.step()
    return model.eval()


def _loss(
    model: MistakeMap,
    batch: Sequence[View],
    mirrored: Sequence[int],
    costs: Tensor,
    schedule: Schedule,
) -> Tensor:
    features, inside = _stacked([v.features[m] for v, m in zip(batch, mirrored, strict=True)])
    target, _ = _stacked([v.density[m] for v, m in zip(batch, mirrored, strict=True)])
    density = model(features.float()) * inside
    likelihood = density - target * density.clamp(min=1e-8).log()
    loss = likelihood.sum() / (len(batch) * density.shape[1])
    if schedule.choice_weight > 0:
        logits = -(density.sum(dim=(2, 3)) + costs) / schedule.temperature
        losses = torch.stack([view.mistakes for view in batch]) + costs
        loss = loss + schedule.choice_weight * best_scale_loss(
            logits, losses, schedule.temperature, regret_power=1.0
        )
    return loss


def _stacked(maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(B, C, H, W), with zeros beside smaller maps, and (B, 1, H, W), 1 where a map is."""
    height, width = (max(m.shape[i] for m in maps) for i in (1, 2))
    padded = [F.pad(m, (0, width - m.shape[2], 0, height - m.shape[1])) for m in maps]
    ones = [
        F.pad(torch.ones_like(m[:1]), (0, width - m.shape[2], 0, height - m.shape[1])) for m in maps
    ]
    return torch.stack(padded), torch.stack(ones).float()


@torch.no_grad()
def predict(model: MistakeMap, views: Sequence[View]) -> Tensor:
    """(N, k) float32 logits, as `WholeSelector` gives them."""
    logits = [-model(view.features[:1].float()).sum(dim=(2, 3)) for view in views]
    return torch.cat(logits)
