"""Which of a batch's words are read in training, and what stands in where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from dld_d2.structures.polygons import Polygons
from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["Rows"]


@dataclass(frozen=True)
class Rows:
    """The readable words of a batch, N >= 1, in target order.

    Attributes:
        targets: per image its readable words alone, with all their fields.
        texts: (N, T) int64 as `Vocabulary.encode` gives them; T is the length of the longest.
        image_index: (N,) int64, the image of each.
        stand_in: whether the batch has no readable word at all. Then the first image has one that
            covers it, with a text of nothing but padding: what is computed of it gives a loss of 0,
            and yet every parameter takes part, as distributed training needs it.
        truth: per image all of its ground truth, for what is learnt of detection.
    """

    targets: list[Instances]
    texts: Tensor
    image_index: Tensor
    stand_in: bool
    truth: list[Instances]

    @classmethod
    def of(cls, targets: Sequence[Instances]) -> Rows:
        """Those of a batch's ground truth, see `dld_d2.modeling.spotters.contract.Spotter`."""
        readable = [target[target.gt_readable] for target in targets]
        stand_in = not any(len(target) for target in readable)
        if stand_in:
            readable[0] = _whole_image(targets[0])
        texts = torch.cat([target.gt_texts for target in readable])
        # Steps after the longest word's end would be ignored by every loss.
        longest = max(1, int((texts != Vocabulary.PADDING).sum(dim=1).max()))
        images = torch.arange(len(readable), device=texts.device)
        counts = torch.tensor([len(target) for target in readable], device=texts.device)
        image_index = images.repeat_interleave(counts, output_size=len(texts))
        return cls(readable, texts[:, :longest], image_index, stand_in, list(targets))


def _whole_image(target: Instances) -> Instances:
    height, width = target.image_size
    device = target.gt_texts.device
    corners = torch.tensor([[0, 0], [width, 0], [width, height], [0, height]], device=device)
    instance = Instances(target.image_size)
    for name, value in target.get_fields().items():
        # Fields that only some spotters know, such as the sides of a word.
        if isinstance(value, Tensor):
            instance.set(name, value.new_zeros(1, *value.shape[1:]))
    instance.gt_boxes = Boxes(torch.tensor([[0.0, 0.0, width, height]], device=device))
    instance.gt_masks = Polygons(corners[None].float())
    instance.gt_texts = target.gt_texts.new_full((1, target.gt_texts.shape[1]), Vocabulary.PADDING)
    return instance
