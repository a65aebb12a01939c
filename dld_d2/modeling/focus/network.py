"""The network that looks first."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dld_d2.modeling.spotters.pp_ocr.backbone import LightBackbone

__all__ = ["FocusNetwork"]

_CHANNELS = (48, 96, 192)
# Of a word whose height is predicted as 0: in the middle of what there is, so that learning begins
# with small errors.
_USUAL_HEIGHT = 8.0


class FocusNetwork(nn.Module):
    """From an image at a low scale to a map of where words are, and one of how high they are.

    Its layers are the first three stages of PP-OCR's detector, whose weights it starts from where
    there are some, and a head that puts them together at a stride of 8.

    Args:
        width: channels of the head.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.backbone = LightBackbone(
            stem=24,
            channels=_CHANNELS,
            excited=((True, False), (True, False), (True, False, True, False)),
            strides=((2, 2), (2, 2)),
        )
        fine, middle, coarse = _CHANNELS
        self.fine = nn.Conv2d(2 * fine, width, 1)
        self.middle = nn.Conv2d(middle, width, 1)
        self.coarse = nn.Conv2d(coarse, width, 1)
        self.places = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.mix = nn.Conv2d(width, width, 1)
        self.output = nn.Conv2d(width, 2, 1)
        # Words are few: training begins with next to none.
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.constant_(self.output.bias, 0.0)
        with torch.no_grad():
            self.output.bias[0] = -3.0

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            image: (B, 3, H, W), normalised, H and W multiples of 16.

        Returns:
            (B, H / 8, W / 8) logits of there being a word; and of the same size, the height of the
            word there, in pixels of the input.
        """
        fine, middle, coarse = self.backbone(image)
        # Of the finest map the mean and the strongest of what lies under each place: a letter of
        # four pixels shows in one of them alone.
        fine = torch.cat([F.avg_pool2d(fine, 2), F.max_pool2d(fine, 2)], dim=1)
        coarse = F.interpolate(self.coarse(coarse), scale_factor=2.0, mode="nearest")
        x = F.relu(self.fine(fine) + self.middle(middle) + coarse)
        x = x + F.relu(self.mix(F.relu(self.places(x))))
        text, height = self.output(x).float().unbind(dim=1)
        # 2**x, which the exporter does not know.
        return text, _USUAL_HEIGHT * torch.exp(math.log(2) * height.clamp(-4, 6))

    def start_from(self, backbone: LightBackbone) -> None:
        """Take the weights of a detector's backbone, those of the stages that this one has."""
        theirs = backbone.state_dict()
        self.backbone.load_state_dict({name: theirs[name] for name in self.backbone.state_dict()})
