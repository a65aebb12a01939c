"""The network that looks first, as a model of Detectron2's that learns."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList
from torch import Tensor, nn

from dld_d2.modeling.focus.chips import ChipRule, chips_of
from dld_d2.modeling.focus.network import FocusNetwork
from dld_d2.modeling.focus.targets import FocusTargets, focus_targets
from dld_d2.modeling.selection.views import scale_images
from dld_d2.structures.polygons import word_heights

__all__ = ["FocusMap"]

_DIVISIBILITY = 16


@META_ARCH_REGISTRY.register()
class FocusMap(nn.Module):
    """Learns where words are, and how high, from images at a low scale.

    Args:
        network: see there.
        input_scale: of the full resolution, at which it looks.
        rule: how chips are cut.
        freeze_at: parts of its backbone that do not learn, see `MODEL.FOCUS.FREEZE_AT`.
        positive_weight: of a place with a word in the loss.
        height_loss_weight: factor of the height's loss.
        pixel_mean, pixel_std: (3,) for the normalisation of the image, as the spotter's.
    """

    @configurable
    def __init__(
        self,
        *,
        network: FocusNetwork,
        input_scale: float,
        rule: ChipRule,
        freeze_at: int,
        positive_weight: float,
        height_loss_weight: float,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.network = network
        self.input_scale = input_scale
        self.rule = rule
        self.positive_weight = positive_weight
        self.height_loss_weight = height_loss_weight
        backbone = network.backbone
        for part in (backbone.stem, *backbone.stages)[:freeze_at]:
            part.requires_grad_(False)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)
        self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        focus = cfg.MODEL.FOCUS
        return {
            "network": FocusNetwork(),
            "input_scale": focus.INPUT_SCALE,
            "rule": ChipRule(threshold=focus.THRESHOLD, text_height=focus.TEXT_HEIGHT),
            "freeze_at": focus.FREEZE_AT,
            "positive_weight": focus.POSITIVE_WEIGHT,
            "height_loss_weight": focus.HEIGHT_LOSS_WEIGHT,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Detectron2's interface.

        Args:
            batched_inputs: what `dld_d2.data.TextDatasetMapper` gives, at full resolution.

        Returns:
            In training the losses: `loss_focus`, the cross-entropy of there being a word, averaged
            over the known places by their weights, and `loss_focus_height`, the distance of heights
            in octaves, averaged over the places with words. Else for each image "chips", see
            `chips_of`.
        """
        full = [
            (x["image"].to(self.device, non_blocking=True) - self.pixel_mean) / self.pixel_std
            for x in batched_inputs
        ]
        views = scale_images(full, [self.input_scale] * len(full))
        images = ImageList.from_tensors(views, _DIVISIBILITY)
        tensor = images.tensor.contiguous(memory_format=torch.channels_last)
        text, height = self.network(tensor)
        if self.training:
            targets = [x["instances"].to(self.device) for x in batched_inputs]
            heights = [word_heights(target.gt_masks.vertices) for target in targets]
            wanted = focus_targets(targets, heights, self.input_scale, tuple(tensor.shape[-2:]))
            return self._losses(text, height, wanted)
        text, height = (x.detach().cpu().numpy() for x in (text.sigmoid(), height))
        return [
            {"chips": chips_of(*maps, tuple(image.shape[-2:]), self.input_scale, self.rule)}
            for image, *maps in zip(full, text, height, strict=True)
        ]

    def _losses(self, text: Tensor, height: Tensor, wanted: FocusTargets) -> dict[str, Tensor]:
        weight = wanted.known * (1 + (self.positive_weight - 1) * wanted.text)
        each = F.binary_cross_entropy_with_logits(text, wanted.text, reduction="none")
        octaves = (height.log2() - wanted.height.clamp(min=1e-3).log2()).abs()
        learnt = wanted.known * wanted.text
        return {
            "loss_focus": (each * weight).sum() / weight.sum().clamp(min=1),
            "loss_focus_height": self.height_loss_weight
            * (octaves * learnt).sum()
            / learnt.sum().clamp(min=1),
        }
