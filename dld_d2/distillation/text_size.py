"""Teaching the selector what it must see, before it has to choose: how large the words are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor, nn

from dld_d2.modeling.build import build_selector
from dld_d2.modeling.selection.selector import ResolutionSelector
from dld_d2.structures.polygons import word_heights

__all__ = ["SIZE_EDGES", "TextSizeEstimator", "size_classes"]

SIZE_EDGES = tuple(6 * 2 ** (i / 2) for i in range(11))
"""Borders between the classes of word heights, in pixels: half octaves from 6 to 192."""


@META_ARCH_REGISTRY.register()
class TextSizeEstimator(nn.Module):
    """Which sizes of words are in an image: a first task for the selector's layers.

    The loss of choosing, L_DRS, says little about each image, so that from random weights a
    selector needs many passes over a data set before it tells small words from large ones.
    Annotations say it directly. What is learnt here serves `MODEL.DISTILL.SELECTOR.WEIGHTS`; which
    size calls for which scale is still for L_DRS to find out. (Ours; the paper trains the selector
    from random weights, in some hundred epochs.)

    Args:
        selector: whose layers are trained, but for the last one.
        pixel_mean, pixel_std: (3,) for the normalisation of the image, as the spotter's.
        size_divisibility: images are padded to multiples of it.
    """

    @configurable
    def __init__(
        self,
        *,
        selector: ResolutionSelector,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        size_divisibility: int = 32,
    ) -> None:
        super().__init__()
        self.selector = selector
        # It learns by L_DRS alone, and its size is the number of scales, which text sizes are not
        # about: what is learnt here serves selectors of any scales.
        self.selector.classifier = nn.Identity()
        self.head = nn.Linear(selector.num_features, len(SIZE_EDGES) + 1)
        self.size_divisibility = size_divisibility
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)
        self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return {
            "selector": build_selector(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | Tensor:
        """Detectron2's interface.

        Args:
            batched_inputs: what `dld_d2.data.TextDatasetMapper` gives, at full resolution.

        Returns:
            In training the loss: binary cross-entropy, averaged over images and classes. Else (B,
            C) float32, the probability that there is a word of each class of size.
        """
        images = [
            (x["image"].to(self.device, non_blocking=True) - self.pixel_mean) / self.pixel_std
            for x in batched_inputs
        ]
        images = ImageList.from_tensors(images, self.size_divisibility)
        tensor = images.tensor.contiguous(memory_format=torch.channels_last)
        logits = self.head(self.selector.features(tensor, images.image_sizes)).float()
        if not self.training:
            return logits.sigmoid()
        targets = torch.stack(
            [size_classes(x["instances"].to(self.device)) for x in batched_inputs]
        )
        if has_event_storage():
            correct = (logits.detach() > 0) == (targets > 0)
            get_event_storage().put_scalar("text_size/accuracy", correct.float().mean().item())
        return {"loss_text_size": F.binary_cross_entropy_with_logits(logits, targets)}


def size_classes(target: Instances) -> Tensor:
    """(C,) float32: 1 for each class of `SIZE_EDGES` of which there is a word that is not
    don't-care."""
    polygons = target.gt_masks[~target.gt_ignore]
    edges = torch.tensor(SIZE_EDGES, device=polygons.device)
    present = torch.zeros(len(SIZE_EDGES) + 1, device=polygons.device)
    present[torch.bucketize(word_heights(polygons.vertices), edges)] = 1
    return present
