"""The selector of an engine that is not ours: how many words each scale would get wrong, and where.

It learns from some hundred photographs, which are too few for what tells text from all else. That
it has from the first layers of the detector of photographs (PP-OCRv6 small, tuned, Apache-2.0),
which stay as they are; what learns are the few layers upon them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dld_d2.deployment.model_file import load_spotter
from dld_d2.deployment.pretrained import weights_file
from dld_d2.modeling.spotters.pp_ocr.backbone import LightBackbone

__all__ = ["STRIDE", "MistakeMap", "TextFeatures", "WholeSelector"]

STRIDE = 8
"""Of the features, in pixels of what the selector looks at."""

_MEAN = _STD = 127.5
_CHANNELS = (48, 96)


class TextFeatures(nn.Module):
    """The first layers of `photo_teacher`'s detector, which do not learn."""

    num_channels = 2 * _CHANNELS[0] + _CHANNELS[1]

    def __init__(self) -> None:
        super().__init__()
        self.backbone = LightBackbone(
            stem=24,
            channels=_CHANNELS,
            excited=((True, False), (True, False)),
            strides=((2, 2),),
        )
        self.requires_grad_(False)

    @classmethod
    def pretrained(cls) -> TextFeatures:
        """With the weights that come with the package."""
        _, spotter = load_spotter(weights_file("photo_teacher"), ["MODEL.DEVICE", "cpu"])
        weights = spotter.detector.backbone.state_dict()
        features = cls()
        features.backbone.load_state_dict({k: weights[k] for k in features.backbone.state_dict()})
        return features

    def forward(self, image: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 in BGR -> (B, C, ceil(H / 8), ceil(W / 8))."""
        x = (image.permute(0, 3, 1, 2).float() - _MEAN) / _STD
        fine, coarse = self.backbone(x)
        # Of the finer map the mean and the strongest of what lies under each place of the coarser.
        fine = F.pad(fine, (0, fine.shape[3] % 2, 0, fine.shape[2] % 2))
        return torch.cat([F.avg_pool2d(fine, 2), F.max_pool2d(fine, 2), coarse], dim=1)


class MistakeMap(nn.Module):
    """From features to the words that go wrong at each place, for each of k scales.

    Args:
        num_scales: k.
        num_channels: of the features.
        width: of the layers between.
        dropout: share of the channels that are left out at random in training.
    """

    def __init__(
        self,
        num_scales: int,
        num_channels: int = TextFeatures.num_channels,
        width: int = 48,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.reduce = nn.Conv2d(num_channels, width, 1)
        self.places = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.mix = nn.Conv2d(width, width, 1)
        self.density = nn.Conv2d(width, num_scales, 1)
        # Words are few: training begins with next to none.
        nn.init.normal_(self.density.weight, std=0.01)
        nn.init.constant_(self.density.bias, -6.0)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, k, h, w), words, all above 0."""
        x = F.relu(self.reduce(self.dropout(features)))
        x = x + F.relu(self.mix(F.relu(self.places(x))))
        return F.softplus(self.density(x).float())


class WholeSelector(nn.Module):
    """(1, H, W, 3) uint8 in BGR -> (1, k), minus the words that go wrong at each scale."""

    def __init__(self, features: TextFeatures, mistakes: MistakeMap) -> None:
        super().__init__()
        self.features, self.mistakes = features, mistakes

    def forward(self, image: Tensor) -> Tensor:
        return -self.mistakes(self.features(image)).sum(dim=(2, 3))
